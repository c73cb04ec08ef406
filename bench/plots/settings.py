"""Settings in the reader's words: on the axis of a picture, at its ticks and in its legend."""

import math
from collections.abc import Sequence
from fractions import Fraction

from bench.options import show
from bench.plots.select import Series, number_of, shared

PARAMETERS = "parameters"
OWNERS = {"model": "of the model", "protocol": "of the protocol", "recipe": "of the recipe", "dataset": "of the data"}
CLOSE = math.log(1.25)
"""By what factor the numbers of two classes may miss a setting that is their ratio: they are drawn by chance."""


def position(series: Series, x: str) -> float | None:
    """Where a series stands on the horizontal axis.

    Args:
        series: the runs.
        x: the setting, as for `bench.plots.against.against`.

    Returns:
        A number; None if the setting is none.
    """
    if x == PARAMETERS:
        return number_of(series.first.costs.parameters)
    return number_of(series.option_value(x))


def axis_of(shown: Sequence[Series], x: str) -> str:
    """The label of the horizontal axis.

    Args:
        shown: the series of the picture.
        x: the setting.

    Returns:
        What it is, in words where there are some: of a pair of weights the classes, and of a setting that is the ratio
        of the training samples of two classes that ratio.
    """
    first = shown[0]
    if is_pair(first, x):
        classes = first.first.about.classes
        return f"{x}: weight of class {classes[0]} : {classes[1]}" if len(classes) == 2 else x
    if classes_of(shown, x):
        return f"training samples, {classes_of(shown, x)}"
    if x == PARAMETERS:
        return "parameters of the model"
    owner, _, name = x.rpartition(".")
    return f"{name.replace('_', ' ')} {OWNERS[owner]}" if owner in OWNERS else x


def title_of(shown: Sequence[Series], x: str) -> str:
    """The setting of the horizontal axis as a title names it.

    Args:
        shown: the series of the picture.
        x: the setting.

    Returns:
        `the weight` for a pair of weights, and else what the axis says.
    """
    if any(is_pair(one, x) for one in shown):
        return "the weight"
    return "the numbers of training samples of the classes" if classes_of(shown, x) else axis_of(shown, x)


def tick_of(shown: Sequence[Series], x: str, value: float) -> str:
    """The text of a tick.

    Args:
        shown: the series of the picture.
        x: the setting.
        value: its number, as `position` has it.

    Returns:
        `1:8` for a pair of weights whose second is 8 times the first, `8:1` for classes of which the first has 8 times
        the samples of the second, and else the number.
    """
    if is_pair(shown[0], x):
        return ratio(1 / value) if value else "1:0"
    return ratio(value) if classes_of(shown, x) else number(value)


def is_pair(series: Series, x: str) -> bool:
    """Whether the value of a setting is a pair, such as the weights of two classes."""
    value = series.option_value(x)
    return isinstance(value, list | tuple) and len(value) == 2


def classes_of(shown: Sequence[Series], x: str) -> str:
    """Of which classes a setting is the ratio of the training samples, up to chance.

    Args:
        shown: the series of the picture.
        x: the setting.

    Returns:
        `first : second`, by the names of two classes, or `largest : smallest class` of more; empty if it is no ratio of
        theirs, and for settings that are not the protocol's.
    """
    if not x.startswith("protocol."):
        return ""
    names = shown[0].first.about.classes
    places = {"largest : smallest class": (0, -1)}
    if len(names) == 2:
        places = {f"{names[0]} : {names[1]}": (0, 1), f"{names[1]} : {names[0]}": (1, 0)}
    for said, (first, second) in places.items():
        if all(_is_ratio(one, x, first, second) for one in shown):
            return said
    return ""


def _is_ratio(series: Series, x: str, first: int, second: int) -> bool:
    """Whether the setting is the ratio of the samples of two classes; of more classes, in the order of their sizes."""
    counts, value = series.first.data.class_counts("train"), position(series, x)
    if len(counts) > 2:
        counts = sorted(counts, reverse=True)
    if not counts or not value or value < 0 or not counts[first] or not counts[second]:
        return False
    return abs(math.log(counts[first] / counts[second] / value)) < CLOSE


def number(value: float) -> str:
    """A number as a tick has it: `31,810`, `0.5`."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def ratio(value: float) -> str:
    """A ratio of two numbers, such as `8:1` for 8 and `1:8` for 1/8."""
    fraction = Fraction(value).limit_denominator(1000)
    return f"{fraction.numerator}:{fraction.denominator}"


def ordering(series: Sequence[Series]) -> str:
    """The setting by which series of one method have an order.

    Args:
        series: the series of the picture.

    Returns:
        The only setting that differs; empty if several do, if its values are no numbers, or if the methods differ.
    """
    alike = shared(series)
    differ = {name for one in series for name in one.changed if name not in alike}
    if len({one.first.spec.method for one in series}) > 1 or len(differ) != 1 or len(series) < 3:
        return ""
    (name,) = differ
    return name if all(position(one, name) is not None for one in series) else ""


def legend_of(series: Sequence[Series]) -> tuple[list[str], str]:
    """What the legend says.

    Args:
        series: the series of the picture.

    Returns:
        The label of each series, and the heading: where the series have an order, this is their method and the setting,
        and each label its value; else it is empty.
    """
    name = ordering(series)
    if not name:
        return [one.label(shared(series)) for one in series], ""
    method = series[0].label([*shared(series), name])
    values = [tick_of(series, name, position(one, name) or 0.0) if _told(one, name) else "default" for one in series]
    return values, f"{method}\n{axis_of(series, name)}"


def _told(series: Series, name: str) -> bool:
    return bool(show(series.option_value(name)))
