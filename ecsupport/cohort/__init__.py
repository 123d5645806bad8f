"""Room 2: the phantom cohort, manifests, the patient-level split and image loading (Results, "Data")."""
