"""Data sets, their files, and the batches that are drawn from them."""
