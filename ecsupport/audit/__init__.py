"""What the paper prints: its numbers and claims as data, and the rules that hold them against each other."""
