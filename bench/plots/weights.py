"""How the weights of the last epoch are spread, by class or group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.plots.mislabelled import MOST_SERIES
from bench.plots.select import Array, Arrays, Series, seeds, shared, shared_note
from bench.plots.style import COLORS, GREY, in_lines, new_figure
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

MOST_ROWS, EXTREMES = 20, 5
"""Groups up to which each has its row; of more, so many with the largest and with the smallest mean weights do."""


def histograms(series: Sequence[Series], arrays: Sequence[Sequence[Arrays]], title: str) -> Figure:
    """Draw how the training samples are spread over the weights of the last epoch, relative to the mean weight.

    There is a column for each series and a row for each group (class, where the groups are the classes); all panels
    have the same axes. Of more than MOST_ROWS groups, those with the largest and with the smallest mean weights have a
    row, and the others have one together. Samples whose class a protocol has changed are drawn in another colour, where
    the arrays tell them.

    Args:
        series: at most MOST_SERIES.
        arrays: what was kept beside the records of each series.
        title: of the picture.

    Returns:
        The picture.

    Raises:
        BenchError: for too many series.
    """
    if len(series) > MOST_SERIES:
        raise BenchError(f"{len(series)} methods: histograms are of at most {MOST_SERIES}; choose with --method or -o")
    about = series[0].first.about
    kind = "class" if about.groups == about.classes else "group"
    columns = [Column.of(runs) for runs in arrays]
    rows = _rows(columns, about.groups, kind)
    weights = np.concatenate([column.weights for column in columns])
    means = [column.of_groups(members).mean for column in columns for _, members in rows]
    edges = bins(weights, [mean for mean in means if mean is not None])
    note = f"Samples of {seeds(series)} together; dashed: mean of all samples; line: mean of the row."
    if len(about.groups) > MOST_ROWS:
        note += f"\nOf {len(about.groups)}, the {EXTREMES} with the largest and with the smallest mean weights."
    if any(column.wrong.any() for column in columns):
        note += "\nHatched: samples whose label is wrong. AUROC: how probable it is that these weigh less than others."
    note += beyond(weights, edges)
    figure = new_figure(max(2.6 * len(series) + 1.6, 5.5), 0.62 * len(rows) + 1.7, title, note + shared_note(series))
    panels = figure.subplots(len(rows), len(series), squeeze=False, sharex=True, sharey=True)
    for of_series, one, column in zip(panels.T, series, columns, strict=True):
        for axes, (_, members) in zip(of_series, rows, strict=True):
            _spread(axes, column.of_groups(members), edges)
        of_series[0].set_title(in_lines(one.label(shared(series))) + column.separation)
        of_series[-1].set_xlabel("weight relative to the mean")
    _scale(panels[0, 0], edges)
    for axes, (name, _) in zip(panels[:, 0], rows, strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    figure.supylabel(f"% of the samples of a {kind}", fontsize=9)
    return figure


@dataclass(frozen=True)
class Column:
    """The samples of all runs of a series, of which a weight is known.

    Attributes:
        weights: [N], relative to the mean of their run.
        groups: [N].
        wrong: [N], whether the label is wrong.
        separation: what the weights tell of the labels, as the last line of a title; empty where no label is wrong.
    """

    weights: Array
    groups: NDArray[Any]
    wrong: NDArray[Any]
    separation: str = ""

    @classmethod
    def of(cls, runs: Sequence[Arrays]) -> "Column":
        """Those of some runs."""
        weights = [relative_weights(stored) for stored in runs]
        wrong = [has_wrong_label(stored)[known(stored)] for stored in runs]
        groups = np.concatenate([stored["train/group"][known(stored)] for stored in runs])
        found = [separation(*of_run) for of_run in zip(weights, wrong, strict=True) if of_run[1].any()]
        return cls(np.concatenate(weights), groups, np.concatenate(wrong), f"\n{told(found)}" if found else "")

    @property
    def mean(self) -> float | None:
        """The mean weight; None without samples."""
        return float(self.weights.mean()) if len(self.weights) else None

    def of_groups(self, members: Sequence[int]) -> "Column":
        """The samples of some groups."""
        inside = np.isin(self.groups, members)
        return Column(self.weights[inside], self.groups[inside], self.wrong[inside])


def _rows(columns: Sequence[Column], names: Sequence[str], kind: str) -> list[tuple[str, list[int]]]:
    """The label of each row, and its groups."""
    label = [f'{kind} "{name}"' for name in names]
    if len(names) <= MOST_ROWS:
        return [(label[group], [group]) for group in range(len(names))]
    weights = np.concatenate([column.weights for column in columns])
    groups = np.concatenate([column.groups for column in columns])
    present = [int(group) for group in np.unique(groups)]
    ordered = sorted(present, key=lambda group: -weights[groups == group].mean())
    shown = [*ordered[:EXTREMES], *ordered[-EXTREMES:]]
    others = [group for group in ordered if group not in shown]
    rows = [(label[group], [group]) for group in shown]
    return [*rows[:EXTREMES], (f"the other {len(others)}", others), *rows[EXTREMES:]]


def _spread(axes: Axes, column: Column, edges: Array) -> None:
    """One panel: the weights of one row."""
    weights, wrong = clipped(column.weights, edges), column.wrong
    share = np.full(len(weights), 100 / max(len(weights), 1))
    drawn: dict[str, Any] = {"bins": list(edges), "histtype": "stepfilled"}
    axes.hist(weights, weights=share, color=COLORS[0], alpha=0.6, **drawn)
    if wrong.any():
        axes.hist(weights[wrong], weights=share[wrong], color=COLORS[4], hatch="////", **drawn)
    axes.axvline(1, color=GREY, linestyle="--", linewidth=0.8)
    if column.mean is not None:
        axes.axvline(column.mean, color=COLORS[1], linewidth=1.2)
    axes.tick_params(labelsize=7)


def _scale(axes: Axes, edges: Array) -> None:
    """The horizontal axis, which all panels share."""
    if is_wide(edges):
        axes.set_xscale("log")
        return
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="x", useOffset=False)
