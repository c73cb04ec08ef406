"""The folder of all records: what it holds, who makes a run for it, and what is left of trainings that were cut off."""
