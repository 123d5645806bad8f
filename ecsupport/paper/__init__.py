"""What the paper prints and claims, as data: read and checked here for every other room. Imports `core` alone."""
