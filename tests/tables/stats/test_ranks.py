import numpy as np

from bench.tables.stats.paired import PairedDifference, paired_difference
from bench.tables.stats.ranks import shared_ranks


def compared(values: np.ndarray):
    """Differences of rows of values, a column for each seed."""
    rows = [dict(enumerate(row)) for row in values]
    return lambda i, j: paired_difference(rows[i], rows[j])


def test_rows_that_are_far_apart_have_ranks_of_their_own() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 10))
    values = np.array([[0.1], [0.5], [0.9]]) + noise
    assert shared_ranks(3, compared(values), True) == [(3, 3), (2, 2), (1, 1)]
    assert shared_ranks(3, compared(values), False) == [(1, 1), (2, 2), (3, 3)]


def test_rows_that_are_not_separated_share_ranks() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (4, 10))
    values = np.array([[0.5], [0.5], [0.5], [0.9]]) + noise
    assert shared_ranks(4, compared(values), True) == [(2, 4)] * 3 + [(1, 1)]


def test_rows_without_a_test_share_all_ranks() -> None:
    none = PairedDifference(0.3, float("nan"), float("nan"), float("nan"), 1)
    assert shared_ranks(3, lambda i, j: none, True) == [(1, 3)] * 3
    assert shared_ranks(1, lambda i, j: none, True) == [(1, 1)]
