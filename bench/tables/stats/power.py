"""How many seeds would decide a comparison."""

import math

from bench.tables.stats.paired import FEWEST, MANY

POWER = 0.8
LEVEL = 0.05
MOST = 10_000
"""More seeds than these are not looked for."""


def power_of(n: int, mean: float, sd: float, overlap: float = 0.0, level: float = LEVEL, test_se: float = 0.0) -> float:
    """The probability that the paired t-test of n seeds finds a difference.

    Args:
        n: the number of seeds, two or more.
        mean, sd: of the differences, sd above zero.
        overlap: as for `paired_difference`.
        level: that p has to reach, two-sided.
        test_se: as for `with_test_samples`. No number of seeds makes it smaller.
    """
    from scipy.special import nctdtr, stdtrit

    of_seeds = sd**2 * (1 / n + overlap)
    se = math.sqrt(of_seeds + test_se**2)
    freedom = min((n - 1) * (se**2 / of_seeds) ** 2, MANY)
    shift, critical = abs(mean) / se, float(stdtrit(freedom, 1 - level / 2))
    other_side = float(nctdtr(freedom, shift, -critical))  # NaN where it is too small for scipy
    return 1 - float(nctdtr(freedom, shift, critical)) + (0.0 if math.isnan(other_side) else other_side)


def seeds_needed(
    mean: float, sd: float, overlap: float = 0.0, level: float = LEVEL, test_se: float = 0.0
) -> int | None:
    """The smallest number of seeds with which a difference of this mean and spread is found with the probability POWER.

    Args:
        mean, sd, overlap, level, test_se: as for `power_of`.

    Returns:
        The number; None where no number up to MOST does, as where splits overlap and the difference is small.
    """
    if not (mean and sd > 0 and math.isfinite(mean)):
        return None

    def enough(n: int) -> bool:
        return power_of(n, mean, sd, overlap, level, test_se) >= POWER

    if not enough(MOST):
        return None
    low, high = FEWEST - 1, MOST  # the power grows with n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
