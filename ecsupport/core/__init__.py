"""Paths, profiles, seeds, code digests, artefacts and jobs. Imports nothing from the rooms above it."""
