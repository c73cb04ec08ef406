"""What a model predicts: the form in which it is stored, and what is counted of it: confusion and rates.

Predictions are stored as float16, and every metric is defined on these stored values, so that what is computed from a
file is what the run has computed.

A rate whose denominator is zero, such as the true positive rate of a group without positives, is undefined: it is
NaN. This module does not import torch, because `bench.metrics` imports it, which tables read.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, ProtocolError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MOST = 65504.0
"""The largest number of float16."""
NEAREST_TO_ZERO = -(2.0**-24)
"""The negative number of float16 that is nearest to 0."""


def stored_logits(logits: Tensor) -> Tensor:
    """The form in which logits are stored: how far each is below the largest one of its sample, in float16.

    The predicted class is the same, and so is the set of largest logits: a logit below the largest one never becomes
    0. The softmax changes by the rounding alone, which is 0.05 % of the distance, and a distance above 65,504 becomes
    65,504.

    Args:
        logits: [.., N, C] float.

    Returns:
        [.., N, C] float16, at most 0, on the device of the logits, which is not waited for. NaN for all logits of a
        sample that has one that is not finite.
    """
    largest = logits.amax(-1, keepdim=True)
    finite = largest.isfinite() & logits.amin(-1, keepdim=True).isfinite()
    below = (logits - largest).clamp_(-MOST, NEAREST_TO_ZERO).half()
    return below.masked_fill_(logits == largest, 0.0).masked_fill_(~finite, nan)


def whole_numbers(numbers: Tensor) -> np.ndarray[Any, Any]:
    """Whole numbers as an array of the smallest type that holds all of them.

    Args:
        numbers: integers on any device.

    Returns:
        The array, of uint8, int16, int32 or int64.
    """
    array = numbers.cpu().numpy()
    least, most = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for kind, bottom, top in (("uint8", 0, 2**8), ("int16", -(2**15), 2**15), ("int32", -(2**31), 2**31)):
        if bottom <= least and most < top:
            return array.astype(kind)
    return array


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for the samples of a split, with their labels.

    Attributes:
        logits: [.., N, C] float. The predicted class is that of the greatest logit, the first one of equals.
        y: [.., N] int64, the class of each sample.
        group: [.., N] int64, the group of each sample, in [0, groups).
        groups: number G of groups.
        group_is_class: whether the group of a sample is its class, because there is no sensitive attribute.

    Raises:
        BenchError: for shapes that do not belong together, and for `group_is_class` with other than C groups.
    """

    logits: Tensor
    y: Tensor
    group: Tensor
    groups: int
    group_is_class: bool = False

    def __post_init__(self) -> None:
        if not self.logits.shape[:-1] == self.y.shape == self.group.shape:
            raise BenchError(
                f"predictions need logits [.., N, C] with y and group [.., N]: logits {list(self.logits.shape)}, "
                f"y {list(self.y.shape)}, group {list(self.group.shape)}"
            )
        if self.group_is_class and self.groups != self.classes:
            raise BenchError(f"where the group is the class, {self.classes} logits need as many groups: {self.groups}")

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return self.logits.shape[-1]


def confusion(p: Predictions) -> Tensor:
    """The confusion matrix of each group.

    Returns:
        [.., G, C, C] int64, numbers of samples by group, class and predicted class. If the group is the class, the row
        of a class holds the counts of its group, and the result is [.., 1, C, C]: with one matrix for each of a
        thousand classes it would take 8 GB. A sample whose class or group does not exist (`outside`) is in no cell.
    """
    groups = 1 if p.group_is_class else p.groups
    group: Tensor | int = 0 if p.group_is_class else p.group
    cell = (group * p.classes + p.y) * p.classes + p.logits.argmax(-1)
    inside = ~_outside(p)
    # Not bincount, which reads its largest input on the host. Sums of integers are exact in any order.
    counts = cell.new_zeros(*cell.shape[:-1], groups * p.classes**2).scatter_add_(-1, cell * inside, inside.long())
    return counts.view(*cell.shape[:-1], groups, p.classes, p.classes)


def outside(p: Predictions) -> Tensor:
    """The number of samples whose class is not in [0, C), or whose group is not in [0, G).

    Returns:
        [..] int64, on the device of the predictions.
    """
    return _outside(p).sum(-1)


def not_finite(p: Predictions) -> Tensor:
    """The number of samples with a logit that is not finite: such a sample has no predicted class.

    Returns:
        [..] int64, on the device of the predictions.
    """
    least, most = p.logits.amin(-1), p.logits.amax(-1)  # NaN where there is one; far faster than to ask each logit
    return (~(least.isfinite() & most.isfinite())).sum(-1)


def _outside(p: Predictions) -> Tensor:
    """[.., N] bool."""
    group: Tensor | int = 0 if p.group_is_class else p.group
    return (p.y < 0) | (p.y >= p.classes) | (group < 0) | (group >= p.groups)


@dataclass(frozen=True)
class Rates:
    """The true positive rate, the false positive rate and so on of each group.

    The rates are [.., G] float64: NaN for a group that has no sample in the rate's denominator.

    Attributes:
        tp, fn, fp, tn: [.., G] int64, numbers of true positives, false negatives, false positives and true negatives.
    """

    tp: Tensor
    fn: Tensor
    fp: Tensor
    tn: Tensor

    @classmethod
    def of(cls, p: Predictions, counts: Tensor) -> Rates:
        """The rates of predictions.

        With a sensitive attribute, class 1 of the two classes is the positive one. If the group is the class, each
        class is taken against the rest: its positives are its own samples, its negatives those of all other classes
        (as Yan, Seto, Apostoloff 2022, "FORML", Table 1, reports the TPR disparity across classes).

        Args:
            counts: confusion(p).

        Raises:
            ProtocolError: for a sensitive attribute with other than two classes.
        """
        if not p.group_is_class:
            if p.classes != 2:
                raise ProtocolError(f"rates over a sensitive attribute need a task with two classes, not {p.classes}")
            tn, fp, fn, tp = counts.flatten(-2).unbind(-1)
            return cls(tp, fn, fp, tn)
        matrix = counts.sum(-3)
        tp = diagonal(matrix)
        fn, fp = matrix.sum(-1) - tp, matrix.sum(-2) - tp
        return cls(tp, fn, fp, matrix.sum((-2, -1)).unsqueeze(-1) - tp - fn - fp)

    def counted(self, rate: str) -> tuple[Tensor, Tensor]:
        """The numerators and denominators [.., G] of a rate.

        Args:
            rate: `tpr`, `fnr`, `fpr` or `selection_rate`.
        """
        positives, negatives, chosen = self.tp + self.fn, self.fp + self.tn, self.tp + self.fp
        known = {
            "tpr": (self.tp, positives),
            "fnr": (self.fn, positives),
            "fpr": (self.fp, negatives),
            "selection_rate": (chosen, positives + negatives),
        }
        return known[rate]

    @property
    def tpr(self) -> Tensor:
        """True positive rates [.., G]."""
        return ratio(*self.counted("tpr"))

    @property
    def fnr(self) -> Tensor:
        """False negative rates [.., G]."""
        return ratio(*self.counted("fnr"))

    @property
    def fpr(self) -> Tensor:
        """False positive rates [.., G]."""
        return ratio(*self.counted("fpr"))

    @property
    def selection_rate(self) -> Tensor:
        """Fractions [.., G] of the samples that are predicted to be positive."""
        return ratio(*self.counted("selection_rate"))


def diagonal(matrix: Tensor) -> Tensor:
    """The entries [.., C] of matrices [.., C, C] that count right predictions."""
    return matrix.diagonal(dim1=-2, dim2=-1)


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """The quotient in float64; 0 / 0 is NaN."""
    return part.double() / whole
