"""Ranks with their errors: rows that are not separated share them."""

import math
from collections.abc import Callable

from bench.tables.stats.families import holm
from bench.tables.stats.paired import PairedDifference

SIGNIFICANT = 0.05


def shared_ranks(
    n: int, compare: Callable[[int, int], PairedDifference], higher_is_better: bool
) -> list[tuple[int, int]]:
    """The range of ranks of each of some rows, from all differences between two of them.

    A row's best rank is 1 plus the number of rows that are better than it, its worst the number of rows minus those
    that are worse; a difference counts where its p, adjusted for all pairs (Holm), is below SIGNIFICANT.

    Args:
        n: the number of rows.
        compare: the difference of two rows by their places.
        higher_is_better: whether larger values are.

    Returns:
        For each row its best and its worst rank.
    """
    pairs = [(i, j) for i in range(n) for j in range(i)]
    found = [compare(i, j) for i, j in pairs]
    better, worse = [0] * n, [0] * n
    for (i, j), difference, p in zip(pairs, found, holm([one.p for one in found]), strict=True):
        if not math.isnan(p) and p < SIGNIFICANT:
            first, second = (i, j) if (difference.mean > 0) == higher_is_better else (j, i)
            better[second] += 1
            worse[first] += 1
    return [(1 + better[i], n - worse[i]) for i in range(n)]
