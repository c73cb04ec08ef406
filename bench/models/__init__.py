"""What a run does with any model: initial weights, normalisation, precision, stacking, averaging, predictions."""
