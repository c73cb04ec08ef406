"""Corrections for the number of tests that are made to answer one question."""

import math
from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in the order given (Holm 1979): valid whatever their dependence.

    The k-th smallest of m is multiplied by m - k + 1, and is at least the one before it and at most 1. NaN stays NaN
    and does not count in m: no test was made.
    """
    adjusted = [math.nan] * len(p_values)
    tests = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, i) in enumerate(tests):
        largest = adjusted[i] = max(largest, min(1.0, (len(tests) - rank) * p))
    return adjusted
