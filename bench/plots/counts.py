"""Samples of each class, and of each group in it, that were trained on."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.errors import BenchError
from bench.options import show
from bench.plots.select import Series, shared, shared_note
from bench.plots.style import COLORS, legend, new_figure

HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oooo")
OF_THE_DATA = ("dataset.", "protocol.", "recipe.train_size", "recipe.val_size", "validation")
NAMED = 12  # classes whose names there is space for


def counts(series: Sequence[Series], title: str) -> Figure:
    """Draw how many samples each class has, stacked by group: a panel for each set of training data among the series.

    Args:
        series: the runs.
        title: of the picture.

    Returns:
        The picture.

    Raises:
        BenchError: for records without counts.
    """
    series_by_counts: dict[tuple[tuple[int, ...], ...], Series] = {}
    for one in series:
        if one.first.data.counts:
            series_by_counts.setdefault(tuple(map(tuple, one.first.data.counts["train"])), one)
    if not series_by_counts:
        raise BenchError("these records have no class counts: run them again")
    shown = list(series_by_counts.values())
    about, alike = series[0].first.about, shared(series)
    differ = dict.fromkeys(n for one in shown for n in one.changed if n.startswith(OF_THE_DATA) and n not in alike)
    note = f"Of the first seed.{shared_note(series)}"
    figure = new_figure(max(3.4 * len(series_by_counts), 5.5), 3.6, title, note)
    panels = figure.subplots(1, len(series_by_counts), squeeze=False, sharey=True)[0]
    for axes, (table, one) in zip(panels, series_by_counts.items(), strict=True):
        _bars(axes, np.array(table), about.groups)
        settings = [_setting(one, name) for name in differ]
        axes.set_title("\n".join([*settings, f"{np.sum(table):,} samples"]))
        axes.set_xlabel("class")
        if len(about.classes) <= NAMED:
            long = max(map(len, about.classes)) > 3
            axes.set_xticks(range(len(about.classes)), about.classes)
            axes.tick_params(axis="x", labelrotation=20 if long else 0)
    panels[0].set_ylabel("training samples")
    if len(next(iter(series_by_counts))) > 1:
        legend(figure, panels[0])
    return figure


def _setting(series: Series, name: str) -> str:
    """A setting of the data in words, such as `profile: long tailed`."""
    value = show(series.option_value(name))
    return f"{name.rpartition('.')[2].replace('_', ' ')}: {value.replace('_', ' ')}"


def _bars(axes: Axes, table: "np.ndarray", groups: Sequence[str]) -> None:
    below = np.zeros(table.shape[1])
    for i, row in enumerate(table):
        color, hatch = COLORS[i % len(COLORS)], HATCHES[i // len(COLORS)]
        axes.bar(range(len(row)), row, bottom=below, color=color, hatch=hatch, width=0.85, label=groups[i])
        below += row
    axes.grid(axis="y")
