"""The ablation: every combination of the factors, over several seeds, and its conclusions."""
