"""Guards that keep the runs of one process apart: its state, the data that runs share, memory, and a clock."""
