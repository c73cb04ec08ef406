"""What is kept of a run: its settings, its result and the folder of all of them."""
