"""What networks of several methods share: MobileViT, the scaling and augmentation of images, and optimisers."""
