"""The training losses of samples. Leading dimensions, if any, are stacked runs."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import NotApplicableError
from bench.recipe import Recipe


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy of each sample: logits [.., B, C] and classes y [.., B] -> [.., B].

    Instead of classes, y may be probabilities of them, [.., B, C] float.
    """
    if y.shape == logits.shape:
        return -(y * logits.log_softmax(-1)).sum(-1)
    if logits.dim() == 2:
        return F.cross_entropy(logits, y, reduction="none")
    return F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none").view(y.shape)


def hinge(logits: Tensor, y: Tensor) -> Tensor:
    """The hinge loss of each sample, max(0, 1 - (z_y - max of the other z)): logits z [.., B, C], y [.., B] -> [.., B].

    It is Crammer and Singer's multi-class hinge. With the logits (0, z) of two classes it is the usual
    max(0, 1 - (+-1) z). Instead of classes, y may be probabilities of them, [.., B, C] float: then it is the expected
    loss.
    """
    if y.shape == logits.shape:
        classes = torch.arange(y.shape[-1], device=y.device)
        losses = torch.stack([hinge(logits, c.expand(y.shape[:-1])) for c in classes], -1)
        return (y * losses).sum(-1)
    of_class = logits.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    of_others = logits.scatter(-1, y.unsqueeze(-1), -torch.inf).amax(-1)
    return F.relu(1 - (of_class - of_others))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": cross_entropy, "hinge": hinge}


def jensen_shannon(logits: Tensor) -> Tensor:
    """How much several predictions for one sample differ: the Jensen-Shannon divergence of their distributions.

    Args:
        logits: [V, B, C], for V views of each sample.

    Returns:
        [B]: the mean Kullback-Leibler divergence of a view from the mean of the views, in nats.
    """
    log_p = logits.log_softmax(-1)
    log_mean = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_mean)).sum(-1).mean(0)


def require_cross_entropy(method: str, recipe: Recipe) -> None:
    """Refuse a recipe with another loss than the cross-entropy.

    Args:
        method: the method's name, with which the message begins.
        recipe: the run's.

    Raises:
        NotApplicableError: if the recipe trains with another loss.
    """
    if recipe.loss != "cross_entropy":
        raise NotApplicableError(f"{method} changes the cross-entropy, and the recipe's loss is {recipe.loss}")
