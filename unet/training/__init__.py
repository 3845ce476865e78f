"""Training: the loop, its optimisers, checkpoints, several devices."""
