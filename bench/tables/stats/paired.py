"""Paired differences between two methods over the seeds that both have."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.tables.stats.means import mean_se

CONFIDENCE = 0.95
FEWEST = 3
"""With fewer common seeds there is no interval and no p."""
ROUNDING = 1e-9
"""By so small a share the width of an interval may be larger for the rounding alone."""
MANY = 1e9
"""With so many degrees of freedom Student's distribution is the normal one."""


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
        test_se: the standard error that the samples of a fixed test set add; 0 where they add none or it is not known.
        seeds_low, seeds_high: the interval over the seeds alone, where the samples of the test set add to it.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    se: float = math.nan
    sd: float = math.nan
    test_se: float = 0.0
    seeds_low: float = math.nan
    seeds_high: float = math.nan

    @property
    def identical(self) -> bool:
        """Whether all differences are zero, so that nothing is left to test."""
        return self.mean == self.sd == 0

    @property
    def wider_by_samples(self) -> bool:
        """Whether the samples of the test set make the interval wider than it is over the seeds alone."""
        seeds = self.seeds_high - self.seeds_low  # NaN where all differences are the same
        return self.test_se > 0 and not self.high - self.low <= seeds * (1 + ROUNDING)


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
    half = quantile(n - 1) * se
    return PairedDifference(center, center - half, center + half, two_sided(center / se, n - 1), n, se, sd)


def with_test_samples(difference: PairedDifference, test_se: float) -> PairedDifference:
    """The same difference with the error of a finite test set that all seeds share.

    The seeds show the randomness of training alone. What holds for unseen data has two errors, which are independent:
    that of the seeds, with n - 1 degrees of freedom, and that of the samples of the test set. Their variances add up,
    and the degrees of freedom of the sum are those of Welch and Satterthwaite. Where that gives the narrower interval,
    as it may with very few seeds, that of the seeds stays: an error that is added makes nothing surer.

    Args:
        difference: over the seeds.
        test_se: the standard error of the mean difference over test sets that are drawn anew, as by a bootstrap.

    Returns:
        The difference with the wider interval and the larger p, also where it is the same for all seeds. As it was with
        fewer than FEWEST seeds, where it is undefined, and where test_se is 0 or not known (NaN).

    Source: Satterthwaite 1946, An approximate distribution of estimates of variance components.
    """
    n, known = difference.n, math.isfinite(test_se) and test_se > 0
    if not known or n < FEWEST or math.isnan(difference.mean):
        return difference
    of_seeds = difference.sd**2 / n
    se = math.sqrt(of_seeds + test_se**2)
    freedom = (n - 1) * (se**2 / of_seeds) ** 2 if of_seeds else math.inf
    half, p = quantile(freedom) * se, two_sided(difference.mean / se, freedom)
    if not math.isnan(difference.low):
        half, p = max(half, (difference.high - difference.low) / 2), max(p, difference.p)
    low, high = difference.mean - half, difference.mean + half
    return replace(
        difference,
        low=low,
        high=high,
        p=p,
        se=se,
        test_se=test_se,
        seeds_low=difference.low,
        seeds_high=difference.high,
    )


def quantile(freedom: float) -> float:
    """How many standard errors a CONFIDENCE interval has to each side.

    Args:
        freedom: the degrees of freedom of Student's distribution; infinity for the normal one.
    """
    from scipy.special import ndtri, stdtrit  # scipy.stats is slow to import

    level = (1 + CONFIDENCE) / 2
    return float(stdtrit(freedom, level) if freedom < MANY else ndtri(level))


def two_sided(t: float, freedom: float) -> float:
    """The two-sided p of a statistic.

    Args:
        t: the mean in standard errors.
        freedom: as for `quantile`.
    """
    from scipy.special import ndtr, stdtr

    return 2 * float(stdtr(freedom, -abs(t)) if freedom < MANY else ndtr(-abs(t)))
