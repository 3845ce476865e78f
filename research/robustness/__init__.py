"""Experiments on the software itself: what it does with bad input, and when it is killed."""
