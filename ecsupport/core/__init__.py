"""Paths, profiles, seeds, training loops and jobs. Imports nothing from the rooms above it."""
