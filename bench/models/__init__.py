"""What is done to any model: initial weights, normalisation, precision, stacking, averaging, predictions."""
