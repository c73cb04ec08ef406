"""Per-sample training losses. Leading dimensions, if any, are stacked runs."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """[.., B, C], [.., B] -> [.., B]"""
    if logits.dim() == 2:
        return F.cross_entropy(logits, y, reduction="none")
    return F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none").view(y.shape)


def hinge(logits: Tensor, y: Tensor) -> Tensor:
    """[.., B, C], [.., B] -> [.., B]: max(0, 1 - (z_y - max of the other z)).

    Crammer and Singer's multi-class hinge; with logits (0, z) of two classes, the usual max(0, 1 - (+-1) z).
    """
    own = logits.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    others = logits.scatter(-1, y.unsqueeze(-1), -torch.inf).amax(-1)
    return F.relu(1 - (own - others))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy, "hinge": hinge}
