"""Helper package of the notebooks: cohort, statistics and reporting behind every figure. Not for clinical use."""
