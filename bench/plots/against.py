"""What training comes to, against a numeric setting: the weight of a class, the capacity of the model."""

from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.errors import BenchError
from bench.plots.curves import axis_name
from bench.plots.select import Array, Series, band_note, mean_and_band, number_of, shared, shared_note
from bench.plots.style import legend, lines, panels

PARAMETERS = "parameters"


def against(series: Sequence[Series], x: str, metrics: Sequence[str], title: str) -> Figure:
    """Draw metrics of the last epoch against a setting.

    There is a panel for each metric, and a line for the series that differ in the setting alone.

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
    placed = {place: at for place, one in enumerate(series) if (at := position(one, x)) is not None}
    by_line: dict[str, list[tuple[float, Series]]] = defaultdict(list)
    shown = [series[place] for place in placed]
    if not shown:
        raise BenchError(f"no record has a setting {x!r} that is a number (or one or two of them)")
    values = sorted(set(placed.values()))
    if x == PARAMETERS and len(values) == 1:
        raise BenchError(f"all of these models have {_number(values[0])} parameters: it takes two capacities or more")
    hidden = {name for one in shown for name in one.changed if _told_by(x, name)} | shared(shown).keys()
    for place, at in sorted(placed.items(), key=lambda item: item[1]):
        by_line[series[place].label(hidden)].append((at, series[place]))
    note = f"After the last epoch. {band_note(shown, 'bars')}{shared_note(shown)}"
    figure, row = panels(len(metrics), list(by_line), title, note)
    for axes, metric in zip(row, metrics, strict=True):
        of, _, name = metric.rpartition("/")
        for (label, points), (color, dash) in zip(sorted(by_line.items()), lines(len(by_line)), strict=True):
            finals = [(at, final_values) for at, one in points if len(final_values := one.final(of or "test", name))]
            if not finals:
                raise BenchError(f"{label} has no {name} on {of or 'test'}")
            mean, deviation = np.array([mean_and_band(final_values) for _, final_values in finals]).T
            places = [at for at, _ in finals]
            axes.errorbar(
                *(places, mean, deviation),
                label=label,
                color=color,
                linestyle=dash,
                marker="o",
                markersize=3.5,
                capsize=2.5,
            )
        axes.set_title(of or "test")
        axes.set(xlabel=axis_of(shown[0], x), ylabel=axis_name(shown[0], name))
        axes.grid()
        _scale(axes, values, pair=_is_pair(shown[0], x))
    legend(figure, row[0])
    return figure


def pair_of_weights(series: Sequence[Series]) -> str:
    """The option of these methods that is a pair of numbers: a weight for each of two classes.

    Args:
        series: the runs.

    Returns:
        The name of the option.

    Raises:
        BenchError: if there is no such option, or more than one.
    """
    names = {str(name) for one in series for name in one.first.resolved.options if _is_pair(one, name)}
    if len(names) != 1:
        several = f"several options are pairs of weights ({', '.join(sorted(names))})"
        what = several if names else "no option of these methods is a pair of weights"
        raise BenchError(f"{what}: name the setting of the horizontal axis with --x")
    return names.pop()


def title_of(series: Sequence[Series], x: str) -> str:
    """The setting of the horizontal axis as a title names it.

    Args:
        series: the runs.
        x: the setting, as for `against`.

    Returns:
        `the weight` for a pair of weights, and else the setting's name.
    """
    return "the weight" if any(_is_pair(one, x) for one in series) else x


def position(series: Series, x: str) -> float | None:
    """Where a series stands on the horizontal axis.

    Args:
        series: the runs.
        x: the setting, as for `against`.

    Returns:
        A number; None if the setting is none.
    """
    if x == PARAMETERS:
        return number_of(series.first.costs.parameters)
    return number_of(series.option_value(x))


def axis_of(series: Series, x: str) -> str:
    """The label of the horizontal axis.

    Args:
        series: any of the series.
        x: the setting, as for `against`.

    Returns:
        A text.
    """
    if _is_pair(series, x):
        classes = series.first.about.classes
        return f"{x}: weight of class {classes[0]} : {classes[1]}" if len(classes) == 2 else x
    return "parameters of the model" if x == PARAMETERS else x


def _is_pair(series: Series, x: str) -> bool:
    value = series.option_value(x)
    return isinstance(value, list | tuple) and len(value) == 2


def _told_by(x: str, name: str) -> bool:
    """Whether the axis tells this setting: the number of parameters tells all of the model."""
    return name == x or (x == PARAMETERS and name.startswith("model."))


def _scale(axes: Axes, values: Sequence[float], pair: bool) -> None:
    """The axis: a mark at each value (at most ten), as `1:8` where it is that of a pair."""
    if pair or (len(values) > 1 and values[0] > 0 and _closest(np.log(values)) > _closest(np.array(values))):
        axes.set_xscale("log")
    every = -(-len(values) // 10)
    axes.xaxis.set_major_locator(FixedLocator(list(values[::every])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _pair(v) if pair else _number(v)))
    axes.tick_params(axis="x", labelrotation=45 if len(values) > 5 else 0)


def _closest(values: Array) -> float:
    """The least distance of two neighbours, of sorted values, in parts of them all."""
    return float(np.diff(values).min() / (values[-1] - values[0]))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _pair(value: float) -> str:
    """`1:8` for 8, `8:1` for 1/8."""
    fraction = Fraction(value).limit_denominator(1000)
    return f"{fraction.denominator}:{fraction.numerator}"
