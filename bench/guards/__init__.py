"""What keeps runs of one process apart: its state, the data they share, and a clock for those that hang."""
