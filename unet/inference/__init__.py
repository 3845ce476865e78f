"""A trained model: its file, its scores on a split, what it finds in photographs."""
