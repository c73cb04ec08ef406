"""One training: the method, its loop, what is measured in it, and its checkpoints."""
