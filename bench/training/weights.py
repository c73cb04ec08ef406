"""Sample weights."""

from torch import Tensor


def mean_one(w: Tensor) -> Tensor:
    """[.., B] weights of at least 0, scaled to mean 1 over the batch; where all are 0 they stay so."""
    total = w.sum(-1, keepdim=True)
    return w.shape[-1] * w / (total + (total == 0))
