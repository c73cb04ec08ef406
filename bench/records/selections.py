"""What the selection rules of a run select, as a section of its record. Nothing here imports torch."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from bench.metrics import metric_of
from bench.records.written import Section

VAL = "val"
"""The set of the validation data."""
Table = Sequence[Sequence[int]]
"""Numbers by group (rows) and class (columns)."""


@dataclass(frozen=True)
class Counts:
    """What a model predicts for the samples of a set, counted by group (rows) and class (columns). Where the group is
    the class, or there is one group, there is one row.

    With the number of samples of each group and class (`Data.counts`), all rates of each group follow.

    Attributes:
        right: the samples of this group and class that are predicted to be of this class.
        predicted: the samples of this group, of whatever class, that are predicted to be of this class.
    """

    right: list[list[int]]
    predicted: list[list[int]]


@dataclass(frozen=True)
class Selected:
    """What one selection rule selects.

    Attributes:
        epoch: the number of epochs of the training after which the model was selected.
        metrics: set -> metric -> value; NaN or None where it is undefined.
        counts: test set -> what is predicted for its samples. Empty in records of earlier versions.
    """

    epoch: int
    metrics: dict[str, dict[str, Any]]
    counts: dict[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True)
class Selections(Section, Mapping[str, Selected]):
    """What the selection rules select: a mapping of rule -> Selected, which is stored by set and metric, with a list
    of one value for each rule.

    Attributes:
        epochs: rule -> the number of epochs after which its model was selected. The lists below have the order of these
            rules.
        metrics: set -> metric -> its value under each rule; None where it is undefined. Of the validation data these
            are the metrics that tables show or epochs are selected by; the history has the others.
        counts: test set -> `right` and `predicted` (`Counts`) -> under each rule, by group and class. Empty in
            records of earlier versions.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    counts: dict[str, dict[str, list[list[list[int]]]]] = field(default_factory=dict)

    @classmethod
    def of(cls, selected: Mapping[str, Selected], shown: Collection[str]) -> Self:
        """Put together what the rules select.

        Args:
            selected: rule -> what it selects. A metric that some rules lack is None under these.
            shown: the metrics of the validation data that are taken over (`shown_metrics`).
        """
        choices = list(selected.values())
        metrics: dict[str, dict[str, list[float | None]]] = {}
        for name in dict.fromkeys(name for choice in choices for name in choice.metrics):
            of_set = [choice.metrics.get(name, {}) for choice in choices]
            known = dict.fromkeys(metric for values in of_set for metric in values if name != VAL or metric in shown)
            metrics[name] = {metric: [_finite(values.get(metric)) for values in of_set] for metric in known}
        counts = {}
        for name in dict.fromkeys(name for choice in choices for name in choice.counts):
            of_rules = [choice.counts[name] for choice in choices]
            counts[name] = {what: [getattr(one, what) for one in of_rules] for what in ("right", "predicted")}
        return cls({rule: choice.epoch for rule, choice in selected.items()}, metrics, counts)

    def __getitem__(self, rule: str) -> Selected:
        epoch = self.epochs[rule]
        place = list(self.epochs).index(rule)
        return Selected(
            epoch,
            {name: {metric: values[place] for metric, values in of.items()} for name, of in self.metrics.items()},
            {name: Counts(of["right"][place], of["predicted"][place]) for name, of in self.counts.items()},
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)


def shown_metrics(columns: Iterable[str], select: str) -> set[str]:
    """The metrics that tables show or epochs are selected by.

    Args:
        columns: of the tables.
        select: the metric of the selection rule.
    """
    return {*map(metric_of, columns), select}


def check_counts(where: str, samples: Table, right: Table, predicted: Table) -> None:
    """Check that predictions can be counted so, by group (rows) and class (columns).

    Args:
        where: the place in the record, for the message.
        samples: how many there are.
        right, predicted: as in `Counts`.

    Raises:
        ValueError: if they cannot.
    """
    shapes = [[len(row) for row in table] for table in (samples, right, predicted)]
    if not shapes[0] == shapes[1] == shapes[2]:
        raise ValueError(f"{where} has not the groups and classes of its samples")
    for there, hits, calls in zip(samples, right, predicted, strict=True):
        if sum(there) != sum(calls):
            raise ValueError(f"{where} predicts a class for {sum(calls):,} of {sum(there):,} samples of a group")
        if any(not 0 <= hit <= min(of_class, call) for of_class, hit, call in zip(there, hits, calls, strict=True)):
            raise ValueError(f"{where} has more right predictions of a class than samples or predictions, or below 0")
        wrong = sum(there) - sum(hits)
        if any(of_class + call - 2 * hit > wrong for of_class, hit, call in zip(there, hits, calls, strict=True)):
            raise ValueError(f"{where} has more wrong predictions of a class than samples of the others")


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
