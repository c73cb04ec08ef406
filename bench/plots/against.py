"""What training comes to, against a numeric setting: the weight of a class, the capacity of the model."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.errors import BenchError
from bench.plots.curves import axis_name
from bench.plots.places import CLUSTER, NARROW, is_logarithmic, limits, neighbours, side_by_side, within
from bench.plots.references import Compared, differences
from bench.plots.select import Array, Series, band_note, mean_and_band, shared, shared_note
from bench.plots.settings import PARAMETERS, axis_of, is_pair, position, tick_of, title_of
from bench.plots.style import GREY, Mark, legend, marks, panels
from bench.tables.stats.paired import FEWEST

__all__ = ["PARAMETERS", "against", "pair_of_weights", "title_of"]


def against(series: Sequence[Series], x: str, metrics: Sequence[str], title: str) -> Figure:
    """Draw metrics of the last epoch against a setting.

    There is a panel for each metric, and a line for the series that differ in the setting alone. Where the setting is
    the capacity of the model, panels below have the difference of each method from its baseline, seed by seed, with
    its 95 % interval. Marks of one value stand side by side, and no line joins values with a gap between them.

    Args:
        series: the runs.
        x: the setting, by the name that `bench run -o` has for it, such as `model.hidden` (of a pair, the second number
            over the first); or `parameters`, the number of parameters of the model.
        metrics: names `set/metric`; without a set, those of the test set.
        title: of the picture.

    Returns:
        The picture.

    Raises:
        BenchError: if no run has such a number, if a run lacks a metric, or if all models have one size.
    """
    shown = [one for one in series if position(one, x) is not None]
    if not shown:
        raise BenchError(f"no record has a setting {x!r} that is a number (or one or two of them)")
    axis = Axis.of(shown, x)
    if x == PARAMETERS and len(axis.values) == 1:
        size = tick_of(shown, x, axis.values[0])
        raise BenchError(f"all of these models have {size} parameters: it takes two capacities or more")
    hidden = {name for one in shown for name in one.changed if _told_by(x, name)} | shared(shown).keys()
    by_label: dict[str, list[Series]] = defaultdict(list)
    for one in sorted(shown, key=lambda one: position(one, x) or 0.0):
        by_label[one.label(hidden)].append(one)
    lines = [
        Line(label, tuple(by_label[label]), mark)
        for label, mark in zip(sorted(by_label), marks(len(by_label)), strict=True)
    ]
    compared = [differences(shown, metric) for metric in metrics] if _is_capacity(x) else []
    rows = 2 if any(compared) else 1
    note = _note(shown, any(line.is_cut(metric) for line in lines for metric in metrics), compared)
    figure, parts = panels(len(metrics), list(by_label), title, note, rows)
    for axes, metric in zip(parts[0], metrics, strict=True):
        _values(axes, axis, lines, metric)
    for axes, metric, found in zip(parts[-1] if rows > 1 else [], metrics, compared, strict=False):
        _differences(axes, axis, lines, metric, {id(one.series): one for one in found})
    for axes in parts[-1]:
        axes.set_xlabel(axis_of(shown, x))
    legend(figure, parts[0][0])
    return figure


@dataclass(frozen=True)
class Axis:
    """The horizontal axis.

    Attributes:
        shown: the series of the picture.
        x: the setting.
        values: its numbers, sorted.
        logarithmic: whether the axis is.
    """

    shown: Sequence[Series]
    x: str
    values: Sequence[float]
    logarithmic: bool

    @classmethod
    def of(cls, shown: Sequence[Series], x: str) -> "Axis":
        """The axis of a setting."""
        values = sorted({at for one in shown if (at := position(one, x)) is not None})
        return cls(shown, x, values, (is_pair(shown[0], x) and values[0] > 0) or is_logarithmic(values))

    def place(self, series: Series) -> float:
        """Where a series stands."""
        return position(series, self.x) or 0.0

    def apply(self, axes: Axes) -> None:
        """A tick at each value, at most ten of them."""
        if self.logarithmic:
            axes.set_xscale("log")
        every = -(-len(self.values) // 10)
        axes.xaxis.set_major_locator(FixedLocator(list(self.values[::every])))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick_of(self.shown, self.x, value)))
        axes.tick_params(axis="x", labelrotation=45 if len(self.values) > 5 else 0)
        axes.grid()

    def stretches(self) -> list[set[float]]:
        """The values between which a line may run, a set for each stretch."""
        return [{self.values[place] for place in part} for part in neighbours(self.values, self.logarithmic)]


@dataclass(frozen=True)
class Line:
    """The series that differ in the setting of the axis alone, and how they are drawn.

    Attributes:
        label: in the legend.
        series: in the order of the setting.
        mark: their colour, dash and marker.
    """

    label: str
    series: tuple[Series, ...]
    mark: Mark

    def ends(self, metric: str) -> tuple[list[Series], Array, Array, Array, bool]:
        """The series that have a metric, its means, the lower and upper ends of the bars, and whether any is cut."""
        of, _, name = metric.rpartition("/")
        known = [one for one in self.series if len(one.final(of or "test", name))]
        if not known:
            raise BenchError(f"{self.label} has no {name} on {of or 'test'}")
        mean, deviation = np.array([mean_and_band(one.final(of or "test", name)) for one in known]).T
        low, high = within(mean, deviation, *limits(name, known[0].first.about.units))
        return known, mean, low, high, bool(((low > mean - deviation) | (high < mean + deviation)).any())

    def is_cut(self, metric: str) -> bool:
        """Whether a bar of a metric ends where no value is possible."""
        return self.ends(metric)[-1]

    def draw(self, axes: Axes, bars: "Bars", places: Array, stretches: Sequence[set[float]]) -> None:
        """Bars at some places, and lines between the means of each stretch of the axis."""
        color, dash, marker = self.mark
        lengths = [bars.mean - bars.low, bars.high - bars.mean]
        looks: dict[str, Any] = {
            "color": color,
            "marker": marker,
            "markersize": 4.5,
            "capsize": 2.5,
            "linestyle": "none",
        }
        axes.errorbar(places, bars.mean, lengths, label=self.label, **looks)
        for stretch in stretches:
            inside = [value in stretch for value in bars.values]
            if sum(inside) > 1:
                axes.plot(places[inside], bars.mean[inside], color=color, linestyle=dash, linewidth=1.2)


@dataclass(frozen=True)
class Bars:
    """What is drawn of one line: a mean with the ends of its bar at each value of the setting."""

    values: list[float]
    mean: Array
    low: Array
    high: Array


def _draw(axes: Axes, axis: Axis, bars_of: Sequence[tuple[Line, Bars]], joined: bool) -> None:
    """All lines of a panel, joined or not. Marks of one value stand side by side, in the order of the lines."""
    at: dict[float, list[int]] = defaultdict(list)
    for place, (_, bars) in enumerate(bars_of):
        for value in bars.values:
            at[value].append(place)
    for place, (line, bars) in enumerate(bars_of):
        turns = [(at[value].index(place), len(at[value])) for value in bars.values]
        part = NARROW if joined else CLUSTER
        places = side_by_side(bars.values, turns, axis.logarithmic, axis.values, part)
        line.draw(axes, bars, places, axis.stretches() if joined else [])
    axis.apply(axes)


def _values(axes: Axes, axis: Axis, lines: Iterable[Line], metric: str) -> None:
    """The metric itself."""
    of, _, name = metric.rpartition("/")
    bars_of = []
    for line in lines:
        series, mean, low, high, _ = line.ends(metric)
        bars_of.append((line, Bars([axis.place(one) for one in series], mean, low, high)))
    _draw(axes, axis, bars_of, joined=True)
    axes.set_title(of or "test")
    axes.set_ylabel(axis_name(axis.shown[0], name))


def _differences(axes: Axes, axis: Axis, lines: Iterable[Line], metric: str, compared: dict[int, Compared]) -> None:
    """The difference of each method from its baseline."""
    bars_of = []
    for line in lines:
        if found := [one for one in line.series if id(one) in compared]:
            differ = [compared[id(one)].difference for one in found]
            mean, low, high = np.array([(d.mean, d.low, d.high) for d in differ]).T
            bars_of.append((line, Bars([axis.place(one) for one in found], mean, low, high)))
    _draw(axes, axis, bars_of, joined=False)
    axes.axhline(0, color=GREY, linewidth=1, zorder=1)
    name = axis_name(axis.shown[0], metric.rpartition("/")[2])
    axes.set_ylabel(f"difference from {_baseline(compared.values())} in\n{name}")


def _baseline(compared: Iterable[Compared]) -> str:
    """The name of what methods are compared with."""
    return " or ".join(sorted({one.baseline.first.spec.method for one in compared}))


def _note(shown: Sequence[Series], cut: bool, compared: Sequence[Sequence[Compared]]) -> str:
    """What the marks mean."""
    note = f"After the last epoch. {band_note(shown, 'bars', cut)}"
    found = [one for of_metric in compared for one in of_metric]
    if found:
        note += (
            f"\nBelow: the method minus {_baseline(found)} with the same seed and the same model, in the mean; "
            f"bars: its 95 % interval (paired t, with what "
            f"overlapping test data add), where there are {FEWEST} seeds or more."
        )
    return note + shared_note(shown)


def pair_of_weights(series: Sequence[Series]) -> str:
    """The option of these methods that is a pair of numbers: a weight for each of two classes.

    Args:
        series: the runs.

    Returns:
        The name of the option.

    Raises:
        BenchError: if there is no such option, or more than one.
    """
    names = {str(name) for one in series for name in one.first.resolved.options if is_pair(one, name)}
    if len(names) != 1:
        several = f"several options are pairs of weights ({', '.join(sorted(names))})"
        what = several if names else "no option of these methods is a pair of weights"
        raise BenchError(f"{what}: name the setting of the horizontal axis with --x")
    return names.pop()


def _is_capacity(x: str) -> bool:
    return x == PARAMETERS or x.startswith("model.")


def _told_by(x: str, name: str) -> bool:
    """Whether the axis tells this setting: the number of parameters tells all of the model."""
    return name == x or (x == PARAMETERS and name.startswith("model."))
