"""What follows from the values of runs: the rules are those of `docs/statistics.md`. Importing it takes neither torch,
numpy nor scipy; the functions that need the last two import them.
"""
