"""Weights of samples, and orders that draw samples in proportion to weights."""

import torch
from torch import Tensor

from bench.streams import RandomStreams
from bench.training.groups import group_counts


def mean_one(w: Tensor) -> Tensor:
    """Scale weights to a mean of 1 over the batch.

    Args:
        w: [.., B], of at least 0.

    Returns:
        [.., B]. Weights that are all 0 stay 0.
    """
    total = w.sum(-1, keepdim=True)
    return w.shape[-1] * w / (total + (total == 0))


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Weights of classes by the effective numbers of their samples, (1 - beta) / (1 - beta^n).

    Source: Cui et al. 2019, Class-Balanced Loss Based on Effective Number of Samples, equation 7 and section 4 (the
    weights sum to the number of classes).

    Args:
        counts: [.., K], the number of samples of each class.
        beta: in [0, 1). 0 gives all classes the same weight; towards 1 the weights become inversely proportional to the
            counts.

    Returns:
        [.., K] float64, of mean 1 over the classes that have samples. A class without samples has weight 0.
    """
    n = counts.double()
    weights = ((1 - beta) / (1 - beta**n)).where(n > 0, 0.0)
    return weights * (n > 0).sum(-1, keepdim=True) / weights.sum(-1, keepdim=True)


def label_balanced(label: Tensor, q: float = 0.0) -> Tensor:
    """The probabilities of samples with which a label of n samples is drawn in proportion to n^q.

    Source: Kang et al. 2020, Decoupling Representation and Classifier for Long-Tailed Recognition, equation 1.

    Args:
        label: [.., N], class or group of each sample.
        q: 0 draws all labels equally often, 1 draws them in proportion to their sizes.

    Returns:
        [.., N] float64, on the CPU. The samples of a label have equal parts of its probability.
    """
    label = label.cpu()
    each = group_counts(label, int(label.max()) + 1).double().gather(-1, label) ** (q - 1)
    return each / each.sum(-1, keepdim=True)


def drawn_order(weight: Tensor, streams: RandomStreams, epoch: int) -> Tensor:
    """The samples of one epoch, drawn with replacement in proportion to weights, for `Task.batches`.

    The distribution function is inverted at uniform random numbers that depend on the seed and the epoch alone.

    Args:
        weight: [.., N] float64 of at least 0, on the CPU.
        streams: the run's.
        epoch: the epoch that the order is for.

    Returns:
        [.., N] int64, positions of samples, on the CPU.
    """
    n = weight.shape[-1]
    uniform = streams.draw(lambda g: torch.rand(n, generator=g, dtype=torch.float64), "method", epoch)
    total = weight.cumsum(-1)
    return torch.searchsorted(total / total[..., -1:], uniform, right=True)
