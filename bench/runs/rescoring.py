"""What is computed of stored predictions: every metric, and the counts by group and class.

A run computes what its record says of its selected models here, and whoever has the file of its predictions computes
the same numbers from it, to the last bit: on the CPU with one thread, of one run at a time, because sums are rounded by
the order in which they are added up, which depends on these.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from bench.floor import expected_gap
from bench.metrics import Metric, evaluate
from bench.predictions import MOST, Predictions, Rates, confusion, diagonal
from bench.protocol import Metrics
from bench.records.selections import RESAMPLES, Counts

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def scores(
    logits: "Array",
    y: "Array | None",
    group: "Array | None",
    groups: int,
    group_is_class: bool,
    metrics: Mapping[str, Metric],
) -> Metrics:
    """Every metric of the predictions of one run for one set.

    Args:
        logits: [N, C] float16, in the form in which they are stored (`bench.predictions.stored_logits`).
        y, group: [N] integers, the class and the group of each sample; None for samples without labels, as those of
            probes, and then metrics that need labels are left out.
        groups: the number of groups.
        group_is_class: whether the classes are the groups.
        metrics: what is computed, by name.

    Returns:
        Metric -> value, NaN where it is undefined.
    """
    with one_thread():
        p = _predictions(logits, y, group, groups, group_is_class)
        return {name: value.item() for name, value in evaluate(p, y is not None, metrics).items()}


@dataclass(frozen=True)
class TestSet:
    """The test set of one run, for what its record says beside the numbers of its model.

    Attributes:
        y, group, groups, group_is_class, metrics: as for `scores`.
        classes: the number of classes.
    """

    y: "Array"
    group: "Array"
    classes: int
    groups: int
    group_is_class: bool
    metrics: Mapping[str, Metric]

    def constant(self, of_class: int) -> Metrics:
        """The metrics of the prediction that gives every sample one class. What depends on how sure it is, as
        calibration does, is left out: no model has that certainty, and another one would be as arbitrary.

        Args:
            of_class: the class.
        """
        sure, unsure = (self._scores(self._one_class(of_class, by), slice(None)) for by in (MOST, 1.0))
        return {name: value for name, value in sure.items() if value == unsure[name] or math.isnan(value)}

    def _one_class(self, of_class: int, by: float) -> "Array":
        """Logits [N, C] that are the largest for one class, by as much as is given."""
        import numpy as np

        logits = np.full((len(self.y), self.classes), -by, np.float16)
        logits[:, of_class] = 0
        return logits

    def floor(self, logits: "Array") -> Metrics:
        """What metrics of disparity would be on average by chance alone, if the groups had one true rate: that which
        all of them have together.

        Args:
            logits: as for `scores`.

        Returns:
            Metric -> value, of those that are the spread of a rate which at least two groups have.
        """
        p = _predictions(logits, self.y, self.group, self.groups, self.group_is_class)
        spreads = {name: metric.spread_of for name, metric in self.metrics.items() if metric.spread_of}
        rates = Rates.of(p, confusion(p)) if spreads else None
        found = {}
        for name, rate in spreads.items():
            assert rates
            parts, wholes = (of.tolist() for of in rates.counted(rate))
            if sum(whole > 0 for whole in wholes) > 1:
                found[name] = round(expected_gap(wholes, sum(parts) / sum(wholes)), 6)  # more digits mean nothing
        return found

    def resampled(self, logits: "Array", of: str) -> "dict[str, Array]":
        """How far metrics would be from their values on other test sets, whose samples are drawn with replacement from
        those of this one.

        Args:
            logits: as for `scores`.
            of: the hash of the test set (`Data.tests`). It alone decides what is drawn, so that two runs with one test
                set are compared on the same samples.

        Returns:
            Metric -> [RESAMPLES] float64; NaN where it is undefined.

        Source: Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 6.
        """
        import numpy as np

        own = self._scores(logits, slice(None))
        drawn = [self._scores(logits, drawn_places(of, number, len(self.y))) for number in range(RESAMPLES)]
        return {name: np.array([values[name] for values in drawn]) - own[name] for name in own}

    def _scores(self, logits: "Array", places: Any) -> Metrics:
        """The metrics of some of the samples."""
        y, group = self.y[places], self.group[places]
        return scores(logits[places], y, group, self.groups, self.group_is_class, self.metrics)


def drawn_places(of: str, number: int, samples: int) -> "Array":
    """Places of samples that are drawn with replacement. They follow from the arguments by the definition of SHAKE-256,
    so that every machine and every version of every library draws the same.

    Args:
        of: the hash of the test set.
        number: of the drawn test set.
        samples: how many there are; below 2**32.

    Returns:
        [samples] integers from 0 to samples - 1.
    """
    import numpy as np

    content = hashlib.shake_256(f"{of}/{number}".encode()).digest(4 * samples)
    return np.frombuffer(content, "<u4").astype(np.uint64) * np.uint64(samples) >> np.uint64(32)


def counts(logits: "Array", y: "Array", group: "Array", groups: int, group_is_class: bool) -> Counts:
    """The predictions of one run for one set, counted by group and class.

    Args:
        logits, y, group, groups, group_is_class: as for `scores`.

    Returns:
        The counts, with one row where the group is the class.
    """
    by_group = confusion(_predictions(logits, y, group, groups, group_is_class))
    return Counts(right=diagonal(by_group).tolist(), predicted=by_group.sum(-2).tolist())


@contextmanager
def one_thread() -> Iterator[None]:
    """Within this context torch computes with one thread on the CPU; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _predictions(
    logits: "Array", y: "Array | None", group: "Array | None", groups: int, group_is_class: bool
) -> Predictions:
    known = torch.tensor(logits).float()
    nothing = torch.zeros(known.shape[:-1], dtype=torch.int64)
    y_known, group_known = (nothing if of is None else torch.tensor(of.astype("int64")) for of in (y, group))
    return Predictions(known, y_known, group_known, groups, group_is_class)
