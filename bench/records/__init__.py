"""What is kept of a run: its settings, its record, and what lies beside it."""
