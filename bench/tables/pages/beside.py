"""What the rows of a table stand beside: rows of their own that are no methods. Nothing here imports torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.tables.conclusions import Compared, Verdict
from bench.tables.context import constant_class, constant_values, floors
from bench.tables.names import Names
from bench.tables.rows import Row

CONSTANT = "constant"
FLOOR = "noise floor"
ALIKE = "groups alike"
TRAINING_ALONE = (
    "These intervals are of training alone: all seeds share one test set, and the error of its samples is recorded for "
    "the models of the other rule. They would be wider with it."
)


@dataclass(frozen=True)
class Beside:
    """One such row.

    Attributes:
        name: what it is called.
        kind: CONSTANT, or FLOOR.
        values: metric -> the values of the seeds.
        seeds: how many there are.
    """

    name: str
    kind: str
    values: Mapping[str, Sequence[float]]
    seeds: int


def rows_beside(of_task: Sequence[Compared], rule: str, names: Names | None = None) -> Iterator[Beside]:
    """The best constant prediction, and what disparities are by chance alone, as far as the records say it.

    Disparities have one noise floor for each baseline that the rows are compared with, which need not be in the table.

    Args:
        of_task: the rows of one task and family.
        rule: the selection rule.
        names: of the rows, for the floors of several baselines; None for their whole names.
    """
    metrics = list(dict.fromkeys(metric for one in of_task for metric in one.row.first.about.metrics))
    classes = {name for one in of_task for name, _ in one.row.constant_prediction.values()}
    known = {metric: _of_constant(of_task, metric) for metric in metrics}
    known = {metric: values for metric, values in known.items() if values}
    if classes and known:
        name = f"always {constant_class(classes)}"
        yield Beside(name, CONSTANT, known, max(map(len, known.values())))
    baselines = [row for row in _baselines(of_task) if rule == row.first.about.rule]
    for row in baselines:
        of_chance = {metric: of for metric in metrics if (of := floors(row, metric))}
        if of_chance:
            name = ALIKE if len(baselines) == 1 else f"{ALIKE} at the rate of {(names or Names()).plain(row)}"
            yield Beside(name, FLOOR, of_chance, max(map(len, of_chance.values())))


def _of_constant(of_task: Sequence[Compared], metric: str) -> list[float]:
    values: dict[int, float] = {}
    for one in of_task:
        values |= constant_values(one.row, metric)
    return list(values.values())


def _baselines(of_task: Sequence[Compared]) -> list[Row]:
    """What the rows of a family are compared with, in the order of the table."""
    told = (one.row if one.verdict is Verdict.BASELINE else one.baseline for one in of_task)
    return list(dict.fromkeys(row for row in told if row))


def training_alone(compared: Sequence[Compared]) -> list[str]:
    """A line that says what intervals lack under a rule that the tasks are not concluded by; else nothing.

    Args:
        compared: the rows of a table.
    """
    told = [
        one.difference
        for one in compared
        if one.difference
        and not math.isnan(one.difference.low)
        and one.rule != one.row.first.about.rule
        and one.row.test_is_fixed
        and not one.difference.identical
    ]
    return [TRAINING_ALONE, ""] if told and not any(one.test_se for one in told) else []
