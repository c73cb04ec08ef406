"""What the weights that lie beside a record say of its training samples. Nothing here imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.records.sidecar import Arrays

Array = NDArray[np.float64]
TRUE_CLASS = "given/true_class"
SHOWN = 10
"""So many samples are shown at each end of the weights."""
BINS = 40
WIDE = 20
"""The largest over the smallest weight from which an axis is logarithmic."""
RARE = 0.005
"""The part of the samples on either side whose weights the axis leaves out."""


@dataclass(frozen=True)
class Weights:
    """The weights of the last epoch of a run, of its training samples.

    Attributes:
        relative: [N], over the mean of those that are known; NaN for a sample that was never drawn.
        given: [N], whether a sample is one of the given; else the method has made it.
        y, group: [N], class and group.
        true: [N], the class before a protocol changed labels; -1 where it is not known.
    """

    relative: Array
    given: NDArray[np.bool_]
    y: NDArray[np.int64]
    group: NDArray[np.int64]
    true: NDArray[np.int64]

    @classmethod
    def of(cls, stored: Arrays, classes: int, groups: int) -> "Weights | None":
        """The weights that lie beside a record.

        Args:
            stored: the arrays of a run.
            classes, groups: how many there are.

        Returns:
            None where there are none, or they are not what is stored: finite numbers with a mean above zero, each of
            one of the classes and groups.
        """
        try:
            return cls._of(stored, classes, groups)
        except (LookupError, ValueError, TypeError):
            return None

    @classmethod
    def _of(cls, stored: Arrays, classes: int, groups: int) -> "Weights | None":
        weights = stored["train/weight"].astype(np.float64)
        y, group = (stored[f"train/{part}"].astype(np.int64) for part in ("y", "group"))
        true, origin = true_classes(stored), stored.get("train/origin", np.zeros(len(weights)))
        true = np.full(len(weights), -1) if true is None else true
        if not (weights.ndim == 1 and weights.shape == y.shape == group.shape == origin.shape == true.shape):
            return None
        in_range = _within(y, 0, classes) and _within(group, 0, groups) and _within(true, -1, classes)
        if not in_range or np.isinf(weights).any() or not np.nansum(weights) > 0:
            return None
        return cls(weights / np.nanmean(weights), origin >= 0, y, group, true)

    @cached_property
    def known(self) -> Array:
        """The weights without those that are not known."""
        return self.relative[~np.isnan(self.relative)]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the label of each sample with a known weight is wrong."""
        wrong: NDArray[np.bool_] = (self.true >= 0) & (self.true != self.y)
        return wrong[~np.isnan(self.relative)]

    @property
    def effective(self) -> float:
        """Kish's effective sample size, as a share of the samples."""
        return float(self.known.mean() ** 2 / (self.known**2).mean())


def _within(values: NDArray[np.int64], low: int, end: int) -> bool:
    return bool(len(values)) and low <= values.min() and int(values.max()) < end


def known(stored: Arrays) -> NDArray[Any]:
    """Which samples have a weight: those that were drawn in any epoch."""
    mask: NDArray[Any] = ~np.isnan(stored["train/weight"])
    return mask


def weights_of_given(stored: Arrays) -> Array:
    """The weights of a run, NaN for samples that are none of the given, which the method has made.

    Args:
        stored: the arrays of a run.
    """
    weights: Array = stored["train/weight"].astype(np.float64)
    if "train/origin" in stored:
        weights[stored["train/origin"] < 0] = np.nan
    return weights


def relative_weights(stored: Arrays) -> Array:
    """The weights of a run over their mean, of the samples that have one."""
    weights: Array = stored["train/weight"][known(stored)].astype(np.float64)
    return weights / float(weights.mean())


def true_classes(stored: Arrays) -> NDArray[np.int64] | None:
    """The class that each training sample had before a protocol changed labels.

    Args:
        stored: the arrays of a run.

    Returns:
        [N], -1 for samples of training data that the method has made which are none of the given; None where the arrays
        do not tell it.
    """
    if TRUE_CLASS not in stored:
        return None
    true = stored[TRUE_CLASS].astype(np.int64)
    origin = stored.get("train/origin", np.arange(len(true)))
    return np.where(origin >= 0, true[np.maximum(origin, 0)], -1)


def has_wrong_label(stored: Arrays) -> NDArray[Any]:
    """Whether a protocol has changed the class of each training sample; no where it is not told.

    Args:
        stored: the arrays of a run.

    Returns:
        [N] of truth values. Of training data that the method has made, those that are none of the given are not wrong.
    """
    true = true_classes(stored)
    if true is None:
        return np.zeros(len(stored["train/weight"]), dtype=bool)
    wrong: NDArray[Any] = (true >= 0) & (true != stored["train/y"])
    return wrong


def bins(weights: Array, means: Sequence[float] = ()) -> Array:
    """Edges of equal bins; of equal ratios, over a wide range of positive weights.

    They leave out the most extreme weights, RARE on each side, which `clipped` puts into the first and the last bin.

    Args:
        weights: [N].
        means: what must lie within the edges. Default: nothing.

    Returns:
        BINS + 1 edges.
    """
    ordered, rare = np.sort(weights), int(RARE * len(weights))
    low, high = min(ordered[rare], *means, 1.0), max(ordered[-1 - rare], *means, 1.0)
    if low == high:
        return np.linspace(low - 0.5, high + 0.5, BINS + 1)
    if low > 0 and high / low > WIDE:
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high, BINS + 1)


def clipped(weights: Array, edges: Array) -> Array:
    """The weights, where those beyond the edges are at the edges."""
    return np.clip(weights, edges[0], edges[-1])


def beyond(weights: Array, edges: Array) -> str:
    """A sentence that says how many weights lie beyond the edges; empty for none."""
    number = int(((weights < edges[0]) | (weights > edges[-1])).sum())
    if not number:
        return ""
    return f" The outermost bars hold the {100 * number / len(weights):.1f} % of the samples that lie beyond the axis."


def is_wide(edges: Array) -> bool:
    """Whether the axis of these bins is logarithmic."""
    return bool(edges[0] > 0 and edges[-1] / edges[0] > WIDE)


def separation(weights: Array, wrong: NDArray[Any]) -> float:
    """How well the weight tells samples with a right label from those with a wrong one.

    It is the area under the receiver operating characteristic of the weight: the probability that the weight of a
    random sample with a right label is larger than that of a random sample with a wrong one, where equal weights count
    as one half.

    Args:
        weights: [N].
        wrong: [N], whether the label is wrong.

    Returns:
        Between 0 and 1; NaN where one of the two kinds has no sample.

    Source: Hanley and McNeil 1982, The meaning and use of the area under a receiver operating characteristic curve.
    """
    right, others = weights[~wrong], np.sort(weights[wrong])
    if not len(right) or not len(others):
        return float("nan")
    below = np.searchsorted(others, right, side="left")
    not_above = np.searchsorted(others, right, side="right")
    return float((below + not_above).mean() / (2 * len(others)))


def told(separations: Sequence[float]) -> str:
    """The separation of each seed as a text: the mean, and the standard deviation of several."""
    text = f"AUROC {np.mean(separations):.3f}"
    return f"{text} ± {np.std(separations, ddof=1):.3f}" if len(separations) > 1 else text


def extremes(weights: NDArray[Any], number: int = SHOWN) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The samples with the largest and with the smallest weights; of equal weights the first ones.

    Args:
        weights: [N]; samples whose weight is NaN are left out.
        number: how many of each there are. Default: 10.

    Returns:
        Positions of those with the largest weights, largest first, and of those with the smallest, smallest first.
    """
    known = np.flatnonzero(~np.isnan(weights))
    down = known[np.argsort(weights[known], kind="stable")]
    up = known[np.argsort(-weights[known], kind="stable")]
    return up[:number], down[:number]
