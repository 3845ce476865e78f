"""Experiments on the software itself: bad input, kills, full disks and the like."""
