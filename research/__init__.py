"""What tests the project beyond its suite: an ablation over seeds, speed, bad input."""
