"""A trained model: its file, its scores on a split."""
