"""Paired differences between two methods over the seeds that both have."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.tables.stats.means import mean_se

CONFIDENCE = 0.95
FEWEST = 3
"""With fewer common seeds there is no interval and no p."""


@dataclass(frozen=True)
class PairedDifference:
    """Of two methods run with the same seeds.

    Attributes:
        mean: of a - b over the common seeds.
        low, high: 95 % confidence interval of the mean.
        p: two-sided, of the hypothesis that the mean is zero.
        n: the number of common seeds.
        se: the standard error of the mean, with what overlapping splits add to it.
        sd: the standard deviation of the differences.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    se: float = math.nan
    sd: float = math.nan

    @property
    def identical(self) -> bool:
        """Whether all differences are zero, so that nothing is left to test."""
        return self.mean == self.sd == 0


def paired_difference(a: Mapping[int, float], b: Mapping[int, float], overlap: float = 0.0) -> PairedDifference:
    """The t-test of the differences of values by seed.

    Where a seed draws the test data anew from one finite pool, the training sets of two seeds share samples, and their
    differences are alike: the plain standard error is too small. The variance of the mean is then estimated as
    s^2 (1/n + n_test / n_train).

    Differences that are all zero have no p (`identical`), and an interval of no width. With fewer than FEWEST common
    seeds there is no interval and no p (NaN), nor where all differences are the same otherwise: with few seeds and a
    coarse metric that happens by chance, and there is no variance to judge it by. Without any common seed the mean is
    NaN too; all are if a common value is not finite.

    Args:
        a, b: seed -> value.
        overlap: the number of test samples over that of the training samples where both are drawn by seed; 0 where the
            test data are the same for all seeds.

    Source: Nadeau and Bengio 2003, Inference for the generalization error, equation 5.
    """
    differences = [a[seed] - b[seed] for seed in a.keys() & b.keys()]
    n = len(differences)
    center, plain_se = mean_se(differences)
    if plain_se is None or math.isnan(plain_se):
        return PairedDifference(center, math.nan, math.nan, math.nan, n)
    sd = plain_se * math.sqrt(n)
    se = sd * math.sqrt(1 / n + overlap) if overlap else plain_se
    if n < FEWEST or (sd == 0 and center != 0):
        return PairedDifference(center, math.nan, math.nan, math.nan, n, se, sd)
    if sd == 0:
        return PairedDifference(center, 0.0, 0.0, math.nan, n, se, sd)
    from scipy.special import stdtr, stdtrit  # Student's distribution and quantiles; scipy.stats is slow to import

    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * se
    p = 2 * float(stdtr(n - 1, -abs(center) / se))
    return PairedDifference(center, center - half, center + half, p, n, se, sd)
