"""Studies beyond the test suite: an ablation over seeds, the labels, speed, bad input."""
