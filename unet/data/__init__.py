"""The dataset: where it comes from, what it looks like on disk, how a batch is made from it."""
