"""Paths, profiles, seeds, code digests and artefacts. Imports nothing from the rooms above it."""
