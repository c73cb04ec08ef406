"""The records of a folder as columns, from which tables and pictures are made: one entry for each run in each column.

Nothing here imports torch, and pyarrow, numpy and pandas are imported where they are needed.
"""
