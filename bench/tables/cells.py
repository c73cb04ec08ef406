"""Cells of compared rows, as the markdown pages and the site both have them. Nothing here imports torch."""

import math
from collections.abc import Sequence

from bench.tables.conclusions import Compared, Verdict
from bench.tables.context import own_floor
from bench.tables.rows import Row, mean_and_error, scale_of
from bench.tables.stats.means import mean_se

OWN_FLOOR_MARK = "(≤ "
"""What the noise floor of a row begins with, behind a value that is not above it."""
ARROWS = {True: " ↑", False: " ↓", None: ""}
"""The sign of the better direction of a metric."""


def head_of(compared: Sequence[Compared], metric: str) -> str:
    """The head of the column of a metric: its name, its unit where it is no fraction, and its better direction.

    Args:
        compared: the rows, at least one of which has the metric.
        metric: its name.
    """
    unit = compared[0].row.unit(metric)
    better = {name: up for one in compared for name, up in one.row.first.about.higher_is_better.items()}
    return metric + ("" if unit == "%" else f" ({unit})") + ARROWS[better[metric]]


def value_of(row: Row, metric: str, rule: str) -> str:
    """Mean and standard error of a metric, and behind them the row's own noise floor where the mean is not above it.

    Args:
        row: the row.
        metric: its name.
        rule: the selection rule of the epoch.
    """
    values, unit = list(row.values(metric, rule).values()), row.unit(metric)
    floor = own_floor(row, metric, rule)
    alike = f" {OWN_FLOOR_MARK}{scale_of(unit) * floor:.2f})" if values and mean_se(values)[0] <= floor else ""
    return mean_and_error(values, unit) + alike


def rank_of(one: Compared) -> str:
    """The ranks that a row may have; a dash where it is not ranked.

    Args:
        one: the row.
    """
    if one.ranks is None:
        return "–"
    low, high = one.ranks
    return f"{low}" if low == high else f"{low}–{high}"


def change_of(one: Compared) -> str:
    """The difference in accuracy, in points; empty where there is none.

    Args:
        one: the row.
    """
    if one.accuracy is None or math.isnan(one.accuracy.mean):
        return ""
    return f"{100 * one.accuracy.mean:+.2f}"


def wins_of(one: Compared) -> str:
    """For which share of the seeds a row is better; empty where that is not known.

    Args:
        one: the row.
    """
    if one.wins is None or math.isnan(one.wins.share) or one.verdict == Verdict.IDENTICAL:
        return ""
    return f"{100 * one.wins.share:.0f} %"


def costs_of(compared: Sequence[Compared]) -> list[str]:
    """The training times relative to the baselines', a dash where one is not known; none where no row but a baseline
    has one.

    Args:
        compared: the rows.
    """
    costs = [one.cost for one in compared]
    if not any(cost and one.baseline for one, cost in zip(compared, costs, strict=True)):
        return []
    return ["–" if cost is None else f"{cost:.2f} ×" for cost in costs]
