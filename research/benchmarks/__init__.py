"""Benchmarks of this project, one command each; the results are JSON files in ``results/``."""
