"""The phantom cohort, manifests, the patient-level split and image loading (Results, "Data")."""
