"""Where marks stand: side by side, joined only where nothing lies unmeasured between them, within what is possible."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.metrics import METRICS, metric_of
from bench.plots.select import Array

FEW = 10
"""Evaluations up to which each has its tick and, where they leave gaps, stands alone."""
APART = 0.1
"""The part of an axis from which a stretch without a measurement is a gap."""
STEP = 1 / 40
"""The most that two marks which stand side by side are apart, in parts of the axis."""
CLUSTER = 0.8
"""The part of the distance between two values that the marks of one value take."""
NARROW = 0.65
"""The same where lines join the marks, which would seem to be moved against each other."""
WIDER = 2
"""How many times the median distance two neighbouring settings must be apart for a gap."""
FRACTIONS = ("effective_sample_size", "weight_entropy", "weight_share", "weight_churn")
POSITIVE = ("loss", "loss_ratio", "gradient_norm", "largest_weight")


def limits(column: str, units: dict[str, str] | None = None) -> tuple[float, float]:
    """Between which values a column can lie at all.

    Args:
        column: its name, such as `test/accuracy` or `train/weight_share/class0`.
        units: metric -> unit, of those that are no fractions.

    Returns:
        The least and the largest value: infinite where there is none.
    """
    metric = metric_of(column)
    names = {metric, *column.split("/")}
    if names & set(FRACTIONS):
        return 0.0, 1.0
    if names & set(POSITIVE):
        return 0.0, np.inf
    if "weight_loss_correlation" in names:
        return -1.0, 1.0
    known = METRICS.get(metric)
    unit = (units or {}).get(metric, known.unit if known else "")
    return (0.0, 1.0) if unit == "%" else (-np.inf, np.inf)


def within(mean: Array, deviation: Array, low: float, high: float) -> tuple[Array, Array]:
    """The ends of a band around a mean, cut at what is possible.

    Args:
        mean, deviation: [...] each.
        low, high: the least and the largest value that is possible.

    Returns:
        The lower and the upper ends [...].
    """
    return np.minimum(np.clip(mean - deviation, low, high), mean), np.maximum(
        np.clip(mean + deviation, low, high), mean
    )


def is_logarithmic(values: Sequence[float], long: float = np.inf) -> bool:
    """Whether values stand further apart on a logarithmic axis.

    Args:
        values: sorted.
        long: the ratio of the last to the first value from which the axis is logarithmic in any case.

    Returns:
        No for values of which one is not positive, or of which there is one.
    """
    if len(values) < 2 or values[0] <= 0:
        return False
    return values[-1] >= long * values[0] or closest(np.log(values)) > closest(np.array(values, dtype=np.float64))


def closest(values: Array) -> float:
    """The least distance of two neighbours, of sorted values, in parts of them all."""
    return float(np.diff(values).min() / (values[-1] - values[0]))


def joined(epochs: Sequence[float], logarithmic: bool) -> list[NDArray[np.int64]]:
    """The evaluations that a line may join: those between which there is no further epoch, and those that are close to
    each other on the axis. Of few evaluations that leave a gap anywhere, none is joined.

    Args:
        epochs: those that were evaluated, sorted.
        logarithmic: whether the axis is.

    Returns:
        Places of the evaluations, in their order: a list for each line; one place alone is a mark.
    """
    on_axis = np.log(epochs) if logarithmic else np.array(epochs, dtype=np.float64)
    far = np.diff(on_axis) > APART * (on_axis[-1] - on_axis[0])
    gaps = np.flatnonzero(far & (np.diff(epochs) > 1))
    if len(gaps) and len(epochs) <= FEW:
        gaps = np.arange(len(epochs) - 1)
    return np.split(np.arange(len(epochs)), 1 + gaps)


def neighbours(values: Sequence[float], logarithmic: bool) -> list[NDArray[np.int64]]:
    """The settings that a line may join: those that are not much further apart than most.

    Args:
        values: of the setting, sorted.
        logarithmic: whether the axis is.

    Returns:
        As of `joined`.
    """
    apart = np.diff(np.log(values) if logarithmic else np.array(values, dtype=np.float64))
    gaps = np.flatnonzero(apart > WIDER * np.median(apart)) if len(apart) else np.array([], dtype=np.int64)
    return np.split(np.arange(len(values)), 1 + gaps)


def side_by_side(
    values: Sequence[float],
    turns: Sequence[tuple[int, int]],
    logarithmic: bool,
    marked: Sequence[float],
    part: float = CLUSTER,
) -> Array:
    """Where the marks of one series stand, so that those of several do not cover each other.

    Args:
        values: its values on the axis.
        turns: for each of them, which of how many marks it is that stand there.
        logarithmic: whether the axis is.
        marked: the values at which any series has a mark, sorted.
        part: of the distance between two values that are marked, which their marks take. Default: CLUSTER.

    Returns:
        The values, moved by less than half of the least distance between two of those that are marked.
    """
    on_axis = np.log(marked) if logarithmic else np.array(marked, dtype=np.float64)
    whole = on_axis[-1] - on_axis[0] if len(on_axis) > 1 else abs(on_axis[0]) or 1.0
    least = np.diff(on_axis).min() if len(on_axis) > 1 else whole
    most = max(number for _, number in turns)
    step = min(part * least / most, STEP * whole)
    moved = step * np.array([place - (number - 1) / 2 for place, number in turns])
    own = np.array(values, dtype=np.float64)
    return own * np.exp(moved) if logarithmic else own + moved
