"""Room 3: classifiers that turn ultrasound images into scores (Results, "Performance Evaluation of LSNet")."""
