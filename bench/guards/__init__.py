"""What keeps runs of one process apart: its state, the data they share, its memory, and a clock for those that hang."""
