"""What weights the samples with a right and with a wrong label get, where a protocol has changed labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.plots.select import Array, Arrays, Series, seeds, shared, shared_note
from bench.plots.style import COLORS, GREY, in_lines, legend, new_figure

TRUE_CLASS = "given/true_class"
MOST_SERIES = 5
BINS = 40
WIDE = 20
"""The largest over the smallest weight from which an axis is logarithmic."""
RARE = 0.005
"""The part of the samples on either side whose weights the axis leaves out."""
KINDS = ("right label", "wrong label")


def mislabelled(series: Sequence[Series], arrays: Sequence[Sequence[Arrays]], title: str) -> Figure:
    """Draw how the samples with a right and those with a wrong label are spread over the weights of the last epoch.

    There is a panel for each series; all panels have the same axes. Above each stands how well the weight tells the one
    from the other (`separation`): the mean over the seeds, and their standard deviation.

    Args:
        series: at most MOST_SERIES.
        arrays: what was kept beside the records of each series.
        title: of the picture.

    Returns:
        The picture.

    Raises:
        BenchError: for too many series, or for one in whose runs no label is known to be wrong.
    """
    if len(series) > MOST_SERIES:
        raise BenchError(f"{len(series)} methods: the picture is of at most {MOST_SERIES}; choose with --method or -o")
    for one, runs in zip(series, arrays, strict=True):
        if not all(has_wrong_label(stored).any() for stored in runs):
            raise BenchError(f"{one.label()}: nothing that was kept beside its records says which labels are wrong")
    weights = [[relative_weights(stored) for stored in runs] for runs in arrays]
    wrong = [[has_wrong_label(stored)[known(stored)] for stored in runs] for runs in arrays]
    together = np.concatenate([of_run for runs in weights for of_run in runs])
    edges = bins(together)
    note = (
        f"Samples of {seeds(series)} together; dashed: mean weight of all samples.{beyond(together, edges)}\n"
        f"AUROC: how probable it is that a sample with a right label weighs more than one with a wrong label "
        f"(1: always, 0.5: weights tell nothing); ±: standard deviation over the seeds.{shared_note(series)}"
    )
    figure = new_figure(3 * len(series) + 1.4, 3.4, title, note)
    panels = list(figure.subplots(1, len(series), squeeze=False, sharex=True, sharey=True)[0])
    for axes, one, of_series, wrong_of_series in zip(panels, series, weights, wrong, strict=True):
        _spread(axes, np.concatenate(of_series), np.concatenate(wrong_of_series), edges)
        found = [separation(*of_run) for of_run in zip(of_series, wrong_of_series, strict=True)]
        axes.set_title(f"{in_lines(one.label(shared(series)))}\n{told(found)}")
        axes.set_xlabel("weight relative to the mean")
    panels[0].set_ylabel("% of the samples of its kind")
    legend(figure, panels[0])
    return figure


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


def _spread(axes: Axes, weights: Array, wrong: NDArray[Any], edges: Array) -> None:
    """The weights of both kinds, each in percent of its own samples."""
    looks: list[dict[str, Any]] = [
        {"facecolor": COLORS[0], "edgecolor": COLORS[0], "alpha": 0.55},
        {"facecolor": "none", "edgecolor": COLORS[1], "hatch": "////", "linewidth": 1.3},
    ]
    for kind, chosen, look in zip(KINDS, (~wrong, wrong), looks, strict=True):
        share = np.full(chosen.sum(), 100 / max(chosen.sum(), 1))
        axes.hist(
            clipped(weights[chosen], edges), bins=list(edges), weights=share, histtype="stepfilled", label=kind, **look
        )
    axes.axvline(1, color=GREY, linestyle="--", linewidth=0.8)
    if is_wide(edges):
        axes.set_xscale("log")


def known(stored: Arrays) -> NDArray[Any]:
    """Which samples have a weight: those that were drawn in any epoch."""
    mask: NDArray[Any] = ~np.isnan(stored["train/weight"])
    return mask


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
