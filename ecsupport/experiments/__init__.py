"""What is trained: every training by name, its recipe, inputs and resources."""
