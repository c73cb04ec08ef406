"""Pictures of records: pure functions to a matplotlib Figure, one module for each kind. Nothing is trained here, and
torch is not needed.
"""
