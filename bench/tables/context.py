"""What the numbers of a row stand beside: those of a constant prediction, of chance and of the test set.

Nothing here imports torch.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.columns.run import Run
from bench.columns.table import Columns
from bench.records.selections import decoded
from bench.tables.rows import ACCURACY, Row
from bench.tables.stats.means import mean_se

MOST_NAMED = 2
"""So many classes are named at the most."""


def constant_values(row: Row, metric: str) -> dict[int, float]:
    """The values of a metric on the test set for the best constant prediction, by seed.

    Args:
        row: the row.
        metric: its name.

    Returns:
        NaN where it is undefined; without runs whose records do not say it.
    """
    told = row.told(_of_constant, "data")
    known = {seed: values[metric] for seed, values in told.items() if metric in values}
    if not known and metric == ACCURACY:
        return {seed: share for seed, (_, share) in row.constant_prediction.items()}
    return {seed: math.nan if value is None else value for seed, value in known.items()}


def constant_class(names: Iterable[str]) -> str:
    """What the best constant prediction predicts, in words; where the classes are equally many, seeds may differ in it.

    Args:
        names: of the most frequent class of each seed.
    """
    classes = sorted(set(names))
    if len(classes) > MOST_NAMED:
        return "the most frequent class"
    return " or ".join(map(repr, classes))


def _of_constant(run: Run) -> Mapping[str, float | None]:
    return run.data.constant


def floors(row: Row, metric: str) -> list[float]:
    """What a metric of disparity would be by chance alone, under the rule that the task is concluded by.

    Args:
        row: the row.
        metric: its name.

    Returns:
        One for each seed; none for another metric, and of records that do not say it.
    """
    known = (told.get("floor", {}).get(metric) for _, told in _told(row))
    return [floor for floor in known if floor is not None]


def own_floor(row: Row, metric: str, rule: str) -> float:
    """What a metric of disparity would be on average by chance alone, were all groups alike at the rate of the row's
    own models.

    Args:
        row: the row.
        metric: its name.
        rule: the selection rule of the epoch.

    Returns:
        NaN for another metric, for another rule than that which the task is concluded by, and where the record of a
        seed does not say it.
    """
    known = floors(row, metric) if rule == row.first.about.rule else []
    return mean_se(known)[0] if known and len(known) == len(row.values(metric, rule)) else math.nan


def beside_chance(row: Row, rule: str) -> tuple[float, float] | None:
    """The mean of the metric that ranks, and what it would be by chance alone if all groups were alike; None where
    either is not known.

    Args:
        row: the row.
        rule: the selection rule of the epoch.
    """
    known, values = floors(row, row.ranked_by), list(row.values(row.ranked_by, rule).values())
    mean = mean_se(values)[0]
    if not known or rule != row.first.about.rule or math.isnan(mean):
        return None
    return mean, mean_se(known)[0]


def at_chance(row: Row, rule: str) -> bool:
    """Whether a row, such as a baseline, has no disparity above that of chance, so that none can be lowered.

    Args:
        row: the row.
        rule: the selection rule of the epoch.
    """
    known = beside_chance(row, rule)
    return known is not None and known[0] <= known[1]


def oracle_values(row: Row) -> dict[int, float]:
    """The metric that ranks, on the test set after the epoch that is the best one there, by seed; without runs whose
    records do not say it.

    Args:
        row: the row.
    """
    return {seed: told["oracle"] for seed, told in _told(row) if "oracle" in told}


def _told(row: Row) -> Iterator[tuple[int, dict[str, Any]]]:
    texts = row.columns.listed("context")
    return ((seed, json.loads(texts[place])) for seed, place in row.rows.items())


def resampled(row: Row, metric: str, rule: str) -> dict[int, Any]:
    """How far a metric is from its value on test sets that are drawn from the samples of the test set, by seed.

    Args:
        row: the row.
        metric: its name.
        rule: the selection rule of the epoch.

    Returns:
        Seed -> [test sets], the same ones for all rows with one test set; without runs whose records do not have them,
        as under other rules than that which their task is concluded by.
    """
    if rule != row.first.about.rule:
        return {}
    drawn = {seed: _drawn_of(row.columns, place) for seed, place in row.rows.items()}
    return {seed: of[metric] for seed, of in drawn.items() if metric in of}


def _drawn_of(columns: Columns, place: int) -> dict[str, Any]:
    """What the record in one place has of all metrics; read once, as each row is compared with all others."""
    text = columns.listed("resampled")[place]
    if text == "{}":
        return {}
    return columns.once(
        ("resampled", place), lambda: {name: decoded(of) for name, of in json.loads(text).items() if of is not None}
    )
