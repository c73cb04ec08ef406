"""Means over the seeds of runs.

Sums are exact, so that no result depends on the order of the runs. A value that is not finite, such as a metric that
was undefined in one run, makes what is computed from it NaN: leaving it out would compare other runs than the table
says.
"""

import math
from collections.abc import Sequence

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
