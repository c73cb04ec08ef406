"""Means, paired differences and corrections over the seeds of runs; torch is not needed.

Sums are exact, so that no result depends on the order of the runs. A value that is not finite, such as a
metric that was undefined in one run, makes what is computed from it NaN: leaving it out would compare other runs than
the table says.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
ROOT_BITS = 2 * 53 + 3
"""Bits of a number whose square root has those of a float, and two to round by."""


def mean_se(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and its standard error: the sample standard deviation (n - 1) over the root of n.

    The standard error of fewer than two values is None, and the mean of none is NaN. A value that is not finite makes
    the mean, and the standard error of two or more, NaN.
    """
    n = len(values)
    if n == 0 or not all(map(math.isfinite, values)):
        return math.nan, math.nan if n > 1 else None
    ratios = [value.as_integer_ratio() for value in values]
    unit = max(denominator for _, denominator in ratios)  # all are powers of two
    parts = [numerator * (unit // denominator) for numerator, denominator in ratios]
    total = sum(parts)
    mean = total / (n * unit)  # Python rounds the quotient of whole numbers once
    if n == 1:
        return mean, None
    squares = n * sum(part * part for part in parts) - total * total
    return mean, _root(squares, n * (n - 1) * unit * unit) / math.sqrt(n)


def _root(numerator: int, denominator: int) -> float:
    """The square root of a quotient of whole numbers, rounded once."""
    shift = (numerator.bit_length() - denominator.bit_length() - ROOT_BITS) // 2
    if shift >= 0:
        return float(_odd_root(numerator, denominator << 2 * shift) << shift)
    return _odd_root(numerator << -2 * shift, denominator) / (1 << -shift)


def _odd_root(numerator: int, denominator: int) -> int:
    """The whole part of the square root; odd where it is not exact, so that rounding it later cannot round twice."""
    root = math.isqrt(numerator // denominator)
    return root | (root * root * denominator != numerator)


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
