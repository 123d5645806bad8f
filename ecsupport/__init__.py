"""Helper package of the notebooks: cohort, statistics and reporting behind each figure and table. Not for clinical use."""
