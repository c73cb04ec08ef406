"""Data sets: what they are, where their files are, and the batches that are drawn from them."""
