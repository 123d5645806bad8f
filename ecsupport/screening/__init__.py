"""Classifiers that turn ultrasound images into scores (Results, on LSNet; Tables 2 to 5)."""
