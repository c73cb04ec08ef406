"""What a table says of rows that have other seeds than their baselines. Nothing here imports torch."""

import math
from collections.abc import Collection, Iterable, Iterator

from bench.tables.comparisons import overlap_between
from bench.tables.conclusions import Compared
from bench.tables.rows import Row
from bench.text import join_first

NAMED = 10
"""So many seeds are named."""
OTHER_SEEDS = (
    "Δ is over the seeds that a row and its baseline both have. It is not the difference of the two means where one of "
    "them lacks seeds:"
)


def other_seeds(compared: Iterable[Compared]) -> Iterator[tuple[Row, str]]:
    """The rows that have other seeds than their baselines, each with the seeds that are missing, and by how much
    overlapping splits widen its interval, as plain text.

    Args:
        compared: the rows of a table.
    """
    for one in compared:
        if one.baseline is None or one.difference is None:
            continue
        ours, theirs = (row.values(row.ranked_by, one.rule).keys() for row in (one.row, one.baseline))
        lacks = [f"without {_seeds(theirs - ours)}"] if theirs - ours else []
        lacks += [f"its baseline without {_seeds(ours - theirs)}"] if ours - theirs else []
        if lacks:
            n = one.difference.n
            yield one.row, f"{n} common seed{'' if n == 1 else 's'}, {', '.join(lacks)}{_wider(one)}"


def _seeds(missing: Collection[int]) -> str:
    return f"seed{'s' if len(missing) > 1 else ''} {join_first(list(map(str, sorted(missing))), NAMED)}"


def _wider(one: Compared) -> str:
    """How many times as wide overlapping splits make the interval; empty where there are none, or no interval."""
    assert one.baseline and one.difference
    overlap = overlap_between(one.row, one.baseline)
    if not overlap or math.isnan(one.difference.low):
        return ""
    factor = math.sqrt(1 + one.difference.n * overlap)
    return f"; its interval is {factor:.2f} times as wide as for independent data"
