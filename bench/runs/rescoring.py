"""What is computed of stored predictions: every metric, and the counts by group and class.

A run computes what its record says of its selected models here, and whoever has the file of its predictions computes
the same numbers from it, to the last bit: on the CPU with one thread, of one run at a time, because sums are rounded by
the order in which they are added up, which depends on these.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from bench.metrics import Metric, evaluate
from bench.predictions import Predictions, confusion, diagonal
from bench.protocol import Metrics
from bench.records.selections import Counts

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
