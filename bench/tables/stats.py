"""Means, paired differences and corrections over the seeds of runs; torch is not needed.

Sums are exact (`statistics`), so that no result depends on the order of the runs. A value that is not finite, such as a
metric that was undefined in one run, makes what is computed from it NaN: leaving it out would compare other runs than
the table says.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

CONFIDENCE = 0.95


def mean_se(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error: the sample standard deviation (n - 1) over the root of n.

    The standard error of fewer than two values is None, and the mean of none is NaN. A value that is not finite makes
    the mean, and the standard error of two or more, NaN.
    """
    n = len(values)
    if n == 0 or not all(map(math.isfinite, values)):
        return math.nan, math.nan if n > 1 else None
    return float(mean(values)), float(stdev(values)) / math.sqrt(n) if n > 1 else None


@dataclass(frozen=True)
class PairedDifference:
    """Of two methods run with the same seeds.

    mean: of a - b over the n common seeds
    low, high: 95 % confidence interval of the mean
    p: two-sided, of the hypothesis that the mean is zero
    """

    mean: float
    low: float
    high: float
    p: float
    n: int


def paired_difference(a: Mapping[int, float], b: Mapping[int, float]) -> PairedDifference:
    """Student's paired t-test of values by seed, over the seeds that both have.

    Differences that are all zero have an interval of no width, and p = 1. With fewer than two common seeds there is no
    interval and no p (NaN), nor where all differences are the same otherwise: with few seeds and a coarse metric that
    happens by chance, and there is no variance to judge it by. Without any common seed the mean is NaN too; all are
    if a common value is not finite.
    """
    differences = [a[seed] - b[seed] for seed in a.keys() & b.keys()]
    n = len(differences)
    center, se = mean_se(differences)
    if se is None or math.isnan(se):
        return PairedDifference(center, math.nan, math.nan, math.nan, n)
    if se == 0:
        return (
            PairedDifference(center, 0.0, 0.0, 1.0, n)
            if center == 0
            else PairedDifference(center, math.nan, math.nan, math.nan, n)
        )
    from scipy.special import stdtr, stdtrit  # Student's distribution and quantiles; scipy.stats is slow to import

    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * se
    p = 2 * float(stdtr(n - 1, -abs(center) / se))
    return PairedDifference(center, center - half, center + half, p, n)


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
