"""How the weights of the last epoch are spread, by class or group."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.plots.select import Array, Arrays, Series, seeds, shared, shared_note
from bench.plots.style import COLORS, GREY, in_lines, new_figure

MOST_LABELS, MOST_SERIES = 20, 5
BINS = 40
TRUE_CLASS = "given/true_class"
WIDE = 20  # largest over smallest weight from which the axis is logarithmic


def histograms(series: Sequence[Series], arrays: Sequence[Sequence[Arrays]], title: str) -> Figure:
    """Draw how the training samples are spread over the weights of the last epoch, relative to the mean weight.

    There is a column for each series and a row for each group (class, where the groups are the classes). Samples whose
    class a protocol has changed are drawn in another colour, where the arrays tell them.

    Args:
        series: at most MOST_SERIES.
        arrays: what was kept beside the records of each series.
        title: of the picture.

    Returns:
        The picture.

    Raises:
        BenchError: for too many series or groups.
    """
    about = series[0].first.about
    groups = about.groups
    if len(series) > MOST_SERIES or len(groups) > MOST_LABELS:
        raise BenchError(
            f"{len(series)} methods and {len(groups)} groups: histograms are of at most {MOST_SERIES} (choose with "
            f"--method or -o) and {MOST_LABELS}"
        )
    note = f"Samples of {seeds(series)} together; dashed: mean of all samples; line: mean of the row."
    if any(TRUE_CLASS in stored for runs in arrays for stored in runs):
        note += " Second colour: samples whose label is wrong."
    note += shared_note(series)
    figure = new_figure(max(2.6 * len(series) + 1.2, 5.5), 0.62 * len(groups) + 1.5, title, note)
    panels = figure.subplots(len(groups), len(series), squeeze=False, sharex="col")
    for column, one, runs in zip(panels.T, series, arrays, strict=True):
        weights, group, wrong = _pooled(runs)
        bins = _bins(weights)
        for axes, i in zip(column, range(len(groups)), strict=True):
            own = weights[group == i]
            share = np.full(len(own), 100 / max(len(own), 1))
            axes.hist(own, bins=bins, weights=share, color=COLORS[0], histtype="stepfilled", alpha=0.6)
            if (of_wrong := wrong[group == i]).any():
                axes.hist(own[of_wrong], bins=bins, weights=share[of_wrong], color=COLORS[4], histtype="stepfilled")
            axes.axvline(1, color=GREY, linestyle="--", linewidth=0.8)
            if len(own):
                axes.axvline(own.mean(), color=COLORS[1], linewidth=1.2)
            axes.tick_params(labelsize=7)
        if bins[0] > 0 and bins[-1] / bins[0] > WIDE:
            column[0].set_xscale("log")  # of the whole column, which shares its axis
        else:
            column[0].xaxis.set_major_locator(MaxNLocator(4))
            column[0].ticklabel_format(axis="x", useOffset=False)
        column[0].set_title(in_lines(one.label(shared(series))))
        column[-1].set_xlabel("weight relative to the mean")
    for axes, name in zip(panels[:, 0], groups, strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    figure.supylabel(f"% of the samples of a {'class' if groups == about.classes else 'group'}", fontsize=9)
    return figure


def _pooled(runs: Sequence[Arrays]) -> tuple[Array, NDArray[Any], NDArray[Any]]:
    """Weight, relative to the mean of its run, group, and whether the label is wrong, of each sample of all runs."""
    weights, groups, wrong = [], [], []
    for stored in runs:
        w = stored["train/weight"].astype(np.float64)
        known = ~np.isnan(w)
        weights.append(w[known] / w[known].mean())
        groups.append(stored["train/group"][known])
        wrong.append(_has_wrong_label(stored)[known])
    return np.concatenate(weights), np.concatenate(groups), np.concatenate(wrong)


def _has_wrong_label(stored: Arrays) -> NDArray[Any]:
    """Whether a protocol has changed the class of each sample that has a weight; no where it is not told."""
    if TRUE_CLASS not in stored:
        return np.zeros(len(stored["train/weight"]), dtype=bool)
    y, true = stored["train/y"], stored[TRUE_CLASS]
    origin = stored.get("train/origin", np.arange(len(true)))
    wrong: NDArray[Any] = (origin >= 0) & (true[np.maximum(origin, 0)] != y)
    return wrong


def _bins(weights: Array) -> Array:
    """Edges of equal bins; of equal ratios, over a wide range of positive weights."""
    low, high = weights.min(), weights.max()
    if low > 0 and high / low > WIDE:
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high, BINS + 1)
