"""One training: the method, its loop, what is measured in it and kept of it."""
