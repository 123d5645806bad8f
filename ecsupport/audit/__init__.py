"""The rules that hold what the paper prints against itself."""
