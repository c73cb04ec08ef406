"""Which process makes which run: one of its own for each, or several that are given the next one until none is left."""
