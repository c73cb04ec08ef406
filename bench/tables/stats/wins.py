"""How often one method is better than another."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.tables.stats.paired import CONFIDENCE, FEWEST


@dataclass(frozen=True)
class Wins:
    """Of two methods run with the same seeds.

    Attributes:
        share: the share of the common seeds for which a is better than b, a tie counting half.
        low, high: its 95 % bootstrap interval.
        n: the number of common seeds.
    """

    share: float
    low: float
    high: float
    n: int


def wins(a: Mapping[int, float], b: Mapping[int, float], higher_is_better: bool = True) -> Wins:
    """The probability that a run of one method is better than that of the other with the same seed.

    The interval is that of all resamples of the seeds, each as often as it is drawn, so that no random numbers are
    needed: the sum of n draws has a distribution that is the n-fold convolution of that of one.

    Args:
        a, b: seed -> value.
        higher_is_better: whether larger values are.

    Returns:
        NaN without a common seed or where a common value is not finite; with fewer than FEWEST of them no interval.

    Source: Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks, section 4.
    """
    common = sorted(a.keys() & b.keys())
    sign = 1 if higher_is_better else -1
    differences = [sign * (a[seed] - b[seed]) for seed in common]
    n = len(common)
    if not n or not all(map(math.isfinite, differences)):
        return Wins(math.nan, math.nan, math.nan, n)
    halves = [1 + (difference > 0) - (difference < 0) for difference in differences]
    share = sum(halves) / (2 * n)
    if n < FEWEST:
        return Wins(share, math.nan, math.nan, n)
    import numpy as np

    of_one = np.bincount(halves, minlength=3) / n
    of_all = np.ones(1)
    for _ in range(n):
        of_all = np.convolve(of_all, of_one)
    below = of_all.cumsum()
    low, high = (int(np.searchsorted(below, level)) for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Wins(share, low / (2 * n), high / (2 * n), n)
