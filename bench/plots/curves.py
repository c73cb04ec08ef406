"""What changes over training: columns of the history, with bands over the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.plots.loss_ratio import names
from bench.plots.places import FEW, is_logarithmic, joined, limits, side_by_side, within
from bench.plots.references import mark_references
from bench.plots.select import Array, Series, band_note, mean_and_band, shared_note
from bench.plots.settings import legend_of, ordering
from bench.plots.style import GREY, Mark, legend, marks, panels

LONG = 1000  # last over first epoch from which the axis is logarithmic
NAMES = {
    "tprd": "true positive rate disparity",
    "fprd": "false positive rate disparity",
    "max_fnr": "largest false negative rate",
    "max_fpr": "largest false positive rate",
    "ece": "expected calibration error",
    "fraction_positive": "fraction predicted as {positive}",
    "gradient_norm": "gradient norm of the epoch's last update",
    "effective_sample_size": "effective sample size (fraction of the samples)",
    "largest_weight": "largest weight (relative to the mean)",
    "weight_entropy": "entropy of the weights (1: all equal)",
    "weight_churn": "share of the weight moved since the last evaluation",
    "weight_loss_correlation": "correlation of weight and loss",
    "weight_share": "share of the weight",
    "loss_ratio": "loss over that of the others (moving averages)",
}


def curves(series: Sequence[Series], columns: Sequence[str], title: str, log: bool = False) -> Figure:
    """Draw columns of the history over the epochs: a panel for each column, and a colour and marker for each series.

    A line is the mean over the seeds, with a band of one standard deviation. It joins evaluations of successive epochs,
    and such as are close to each other on the axis; others are marks with bars, side by side. Bands and bars end where
    no value is possible. What a constant prediction reaches, the epochs that are selected and the values that papers
    print are marked where they are known.

    Args:
        series: the runs.
        columns: names `set/metric` of the history, or of `bench.plots.loss_ratio`.
        title: of the picture.
        log: whether the vertical axes are logarithmic. Default: no.

    Returns:
        The picture.

    Raises:
        BenchError: for a column that no run has.
    """
    there = sorted({name for s in series for name in names(s.first)})
    if missing := [c for c in columns if c not in there]:
        raise BenchError(f"no run has {', '.join(missing)} in its history; there is: {', '.join(there)}")
    labels, heading = legend_of(series)
    epochs = sorted({epoch for one in series for epoch in one.first.history["epoch"]})
    logarithmic = is_logarithmic(epochs, LONG)
    drawn = [Drawn.of(one, column, logarithmic) for column in columns for one in series]
    parts = {len(place) > 1 for one in drawn if one for place in one.lines}
    mark = {frozenset({True}): "band", frozenset({False}): "bars"}.get(frozenset(parts), "band and bars")
    note = band_note(series, mark, cut=any(one.cut for one in drawn if one))
    if False in parts:
        note += " Marks that no line joins: nothing was measured between them; those of one epoch stand side by side."
    figure, (row,) = panels(len(columns), [*labels, *heading.split("\n")], title, note)
    added = set[str]()
    for axes, column in zip(row, columns, strict=True):
        _panel(axes, series, column, labels, logarithmic)
        _epochs(axes, epochs, logarithmic)
        if log:
            axes.set_yscale("log")
        added |= mark_references(axes, series, column)
    figure.supxlabel("\n".join([note, *sorted(added)]) + shared_note(series), x=0.01, ha="left", fontsize=8, color=GREY)
    legend(figure, row[0], heading)
    return figure


def _panel(axes: Axes, series: Sequence[Series], column: str, labels: Sequence[str], logarithmic: bool) -> None:
    """The lines and marks of one column."""
    for place, (one, label, mark) in enumerate(
        zip(series, labels, marks(len(series), bool(ordering(series))), strict=True)
    ):
        if drawn := Drawn.of(one, column, logarithmic):
            drawn.draw(axes, label, mark, place, len(series))
    of, _, name = column.partition("/")
    axes.set_title(f"{of} ({series[0].first.data.sizes.get(of, 0):,} samples)")
    axes.set(xlabel="epoch", ylabel=axis_name(series[0], name))
    axes.grid()


def _epochs(axes: Axes, epochs: Sequence[float], logarithmic: bool) -> None:
    """The horizontal axis: a tick at each epoch that was evaluated, where they are few."""
    if logarithmic:
        axes.set_xscale("log")
    if len(epochs) <= FEW:
        axes.xaxis.set_major_locator(FixedLocator(list(epochs)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda epoch, _: f"{epoch:,.0f}"))
    elif not logarithmic:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


@dataclass(frozen=True)
class Drawn:
    """What is drawn of one series in one panel.

    Attributes:
        epochs: those that were evaluated.
        mean, low, high: of the seeds at each of them; low and high are the ends of the band.
        several: whether there are several seeds, so that there is a band.
        cut: whether it ends where no value is possible.
        logarithmic: whether the axis of the epochs is.
    """

    epochs: Sequence[float]
    mean: Array
    low: Array
    high: Array
    several: bool
    cut: bool
    logarithmic: bool

    @classmethod
    def of(cls, series: Series, column: str, logarithmic: bool) -> "Drawn | None":
        """Of a column of the history; None where a run lacks it."""
        values = series.column(column)
        if values is None:
            return None
        mean, deviation = mean_and_band(values)
        low, high = within(mean, deviation, *limits(column, series.first.about.units))
        cut = bool(((low > mean - deviation) | (high < mean + deviation)).any())
        return cls(series.first.history["epoch"], mean, low, high, len(values) > 1, cut, logarithmic)

    @property
    def lines(self) -> list[NDArray[np.int64]]:
        """The evaluations that each line joins; one alone is a mark."""
        return joined(self.epochs, self.logarithmic)

    def draw(self, axes: Axes, label: str, mark: Mark, place: int, number: int) -> None:
        """Draw it as one of several series, which it does not cover."""
        color, dash, marker = mark
        epochs = np.array(self.epochs, dtype=np.float64)
        for line in self.lines:
            if len(line) > 1:
                axes.plot(epochs[line], self.mean[line], label=label, color=color, linestyle=dash, linewidth=1.5)
                if self.several:
                    shade: dict[str, Any] = {"color": color, "alpha": 0.18, "linewidth": 0}
                    axes.fill_between(epochs[line], self.low[line], self.high[line], **shade)
        alone = [int(line[0]) for line in self.lines if len(line) == 1]
        if alone:
            bars = [(self.mean - self.low)[alone], (self.high - self.mean)[alone]] if self.several else None
            axes.errorbar(
                *(self._beside(alone, place, number), self.mean[alone], bars),
                label=label,
                color=color,
                linestyle="none",
                marker=marker,
                markersize=4,
                capsize=2,
            )

    def _beside(self, alone: Sequence[int], place: int, number: int) -> Array:
        """Where the marks stand, which no line joins."""
        near = sorted({p for one in alone for p in (one - 1, one, one + 1) if 0 <= p < len(self.epochs)})
        chosen = [self.epochs[p] for p in near]
        own = [self.epochs[p] for p in alone]
        return side_by_side(own, [(place, number)] * len(own), self.logarithmic, chosen)


def axis_name(series: Series, name: str) -> str:
    """The label of a vertical axis: what a metric is, and of which class or group.

    Args:
        series: a series whose classes and groups are named.
        name: of the metric, such as `tprd` or `loss_ratio/class2`.

    Returns:
        A text, broken into lines of at most 36 characters.
    """
    about, (kind, _, label) = series.first.about, name.partition("/")
    classes = about.classes
    positive = f'"{classes[1]}"' if len(classes) == 2 else "class 1"
    said = NAMES.get(kind, kind.replace("_", " ")).format(positive=positive)
    for what, labels in (("class", classes), ("group", about.groups)):
        if label.startswith(what):
            said += f', {what} "{labels[int(label.removeprefix(what))]}"'
    return fill(said, 36)
