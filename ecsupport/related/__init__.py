"""Two neighbouring systems, reconstructed on this companion's images: what is published of each, and what is ours."""
