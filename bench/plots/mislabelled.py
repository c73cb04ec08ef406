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
from bench.store.weighted import (
    beyond,
    bins,
    clipped,
    has_wrong_label,
    is_wide,
    known,
    relative_weights,
    separation,
    told,
)

MOST_SERIES = 5
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
