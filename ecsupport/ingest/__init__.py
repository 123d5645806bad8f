"""Images from a hospital: DICOM and pictures in; 8-bit PNG, a manifest and nobody's name out."""
