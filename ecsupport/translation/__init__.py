"""Translation between MRI and ultrasound: one interface, several translators, one trainer (Methods, SG-CycleGAN)."""
