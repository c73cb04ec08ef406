"""What opens below a row: its command, seeds, rates, curve, weights and samples. Nothing here imports torch."""
