"""Measurements of this project, each by one command; results as JSON in ``results/``."""
