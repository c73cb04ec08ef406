"""Whether a difference is shown to be small: within a region of practical equivalence that a reader states."""

import math

from bench.tables.stats.paired import PairedDifference

LEVEL = 0.05
"""A difference is equivalent whose p is at most this: whose 90 % interval lies within the region."""


def equivalence_p(difference: PairedDifference, margin: float) -> float:
    """The p of the hypothesis that a difference is as large as a margin, or larger, to either side: two one-sided
    t-tests (TOST), of which the larger p counts.

    The standard error is that of the difference, with what overlapping splits add to it.

    Args:
        difference: of two methods.
        margin: half of the width of the region, in the unit of the difference, above zero.

    Returns:
        0 where all differences are zero, and the samples of the test set add no error to them; NaN where there is no
        interval (`paired_difference`).

    Source: Schuirmann 1987, A comparison of the two one-sided tests procedure and the power approach.
    """
    if math.isnan(difference.low):
        return math.nan
    if difference.identical and not difference.test_se:
        return 0.0
    from scipy.special import stdtr

    freedom = difference.n - 1
    below = float(stdtr(freedom, (difference.mean - margin) / difference.se))
    above = float(stdtr(freedom, -(difference.mean + margin) / difference.se))
    return max(below, above)


def is_equivalent(difference: PairedDifference, margin: float) -> bool:
    """Whether a difference is shown to lie within a margin of zero.

    Args:
        difference, margin: as for `equivalence_p`.
    """
    return equivalence_p(difference, margin) <= LEVEL
