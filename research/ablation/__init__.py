"""The ablation: every combination of the factors, over seeds, and what follows from it."""
