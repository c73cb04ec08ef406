"""What the selection rules of a run select, as a section of its record. Nothing here imports torch."""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from bench.metrics import METRICS, metric_of
from bench.records.sections import About
from bench.records.shape import ROUNDING, check_values
from bench.records.written import Section

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

TEST = "test"
"""The set that tables show the metrics of."""
VAL = "val"
"""The set of the validation data."""
RESAMPLES = 200
"""So many test sets are drawn with replacement. A standard deviation over them has a relative error of 5 %."""
LEAST_HALF, MOST_HALF = 2.0**-18, 65504.0
"""Between these float16 holds the largest of some numbers to at least seven bits."""
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
        oracle_epoch: the number of epochs after which the first metric is best on the test set, which nobody can know
            without it; None where the history does not tell.
        oracle: the first metric on the test set after that epoch. No rule of a method: it shows what the choice of the
            epoch decides.
        floor: metric of disparity -> what it would be on average by chance, if the groups had one true rate
            (`bench.floor`), for the model of the rule that the task is concluded by.
        resampled: metric of the tables, under the rule that the task is concluded by -> how far it is from its value
            on each of RESAMPLES test sets that are drawn with replacement from the samples of the test set, in the text
            of `encoded`. Runs with the same test set draw the same ones. Empty where each seed draws its own test set.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    counts: dict[str, dict[str, list[list[list[int]]]]] = field(default_factory=dict)
    oracle_epoch: int | None = None
    oracle: float | None = None
    floor: dict[str, float] = field(default_factory=dict)
    resampled: dict[str, str] = field(default_factory=dict)

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


def oracle_of(history: Mapping[str, Sequence[float | None]], about: About) -> tuple[int | None, float | None]:
    """What could be selected by whoever sees the test set: the epoch after which the first metric is best there.

    Args:
        history: of the training, column -> one value for each evaluation, NaN or None where it is undefined.
        about: the metrics of the tables and their directions.

    Returns:
        The epoch, the earliest of equals, and the metric after it; None and None where neither direction of the metric
        is the better one, or the history lacks it.
    """
    first = about.metrics[0]
    higher = about.higher_is_better[first]
    column = history.get(first if "/" in first else f"{TEST}/{first}", [])
    known = {place: value for place, value in enumerate(column) if value is not None and math.isfinite(value)}
    if higher is None or not known:
        return None, None
    best = max(known, key=lambda place: known[place] if higher else -known[place])
    epoch = history["epoch"][best]
    assert epoch is not None
    return int(epoch), known[best]


def encoded(deviations: Array) -> str:
    """Numbers as a text: as float16, little-endian, in base64; as float64 where float16 cannot hold the largest, or
    would round it away, as may be in the units of a plugin's metric. An infinite one is no number to go on with: NaN.

    Args:
        deviations: [RESAMPLES].
    """
    import numpy as np

    known = np.where(np.isfinite(deviations), deviations, np.nan)
    largest = np.nanmax(np.abs(known), initial=0.0)
    kind = "<f2" if largest == 0 or LEAST_HALF <= largest <= MOST_HALF else "<f8"
    return base64.b64encode(known.astype(kind).tobytes()).decode()


def decoded(text: str) -> Array:
    """The numbers of a text.

    Args:
        text: of `encoded`.

    Returns:
        [RESAMPLES] float64.

    Raises:
        ValueError: for any other text.
    """
    import numpy as np

    content = base64.b64decode(text, validate=True)
    kinds = {2 * RESAMPLES: "<f2", 8 * RESAMPLES: "<f8"}
    if len(content) not in kinds:
        raise ValueError(f"{len(content)} bytes, expected {' or '.join(map(str, kinds))}")
    return np.frombuffer(content, kinds[len(content)]).astype(float)


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


def check_context(selected: Selections, about: About, last_epoch: int) -> None:
    """Check what the numbers of a finished run stand beside.

    Args:
        selected, about: of the record.
        last_epoch: the last one of its training.

    Raises:
        ValueError: unless the oracle, the floors and the drawn test sets are of metrics of the tables, with values that
            these have.
    """
    epoch, oracle = selected.oracle_epoch, selected.oracle
    if (epoch is None) != (oracle is None) or not 0 <= (epoch or 0) <= last_epoch:
        raise ValueError(f"selected.oracle_epoch is {epoch}, with {oracle}, of {last_epoch} epochs")
    check_values("selected.oracle", metric_of(about.metrics[0]), [oracle])
    _check_oracle(selected, about)
    for name in {*selected.floor, *selected.resampled} - {*about.metrics}:
        raise ValueError(f"selected has a floor or drawn test sets of {name}, which the tables do not show")
    for name, value in selected.floor.items():
        check_values(f"selected.floor.{name}", name, [value])
    for name, text in selected.resampled.items():
        try:
            drawn = decoded(text).tolist()
        except ValueError as error:
            raise ValueError(f"selected.resampled.{name} holds no drawn test sets: {error}") from None
        most = 1 if name in METRICS else math.inf
        if any(abs(value) > most or math.isinf(value) for value in drawn):
            raise ValueError(f"selected.resampled.{name} has differences that no {name} has")


def _check_oracle(selected: Selections, about: About) -> None:
    """Raises ValueError where a rule has selected an epoch that is better on the test set than the best one there."""
    first = about.metrics[0]
    of_set, _, name = first.rpartition("/")
    higher = about.higher_is_better[first]
    for rule, value in zip(selected.epochs, selected.metrics.get(of_set or TEST, {}).get(name, []), strict=False):
        if selected.oracle is None or value is None or higher is None:
            continue
        ahead = value - selected.oracle if higher else selected.oracle - value
        if ahead > ROUNDING:
            raise ValueError(f"selected.oracle is {selected.oracle}, and {rule} has the better {first} {value}")


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
