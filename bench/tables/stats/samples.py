"""The error that the samples of a finite test set have."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

Deviations = Sequence[Any]
"""For each seed an array [test sets] of what a metric is on drawn test sets minus what it is on the whole one."""


def spread(ours: Deviations, theirs: Deviations) -> float:
    """The standard error of the mean difference of two methods over test sets that are drawn anew.

    Args:
        ours, theirs: of the two methods, for the same seeds and the same drawn test sets.

    Returns:
        The standard deviation over the drawn test sets of the mean over the seeds; NaN with fewer than two of them that
        all values are defined on.
    """
    import numpy as np

    of_drawn = np.mean(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float), axis=0)
    known = of_drawn[np.isfinite(of_drawn)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan


def binomial_error(share: float, samples: int) -> float:
    """The standard error of a share of independent samples, such as an accuracy.

    Args:
        share: the share.
        samples: how many there are.

    Returns:
        NaN for no samples and for what is no share.
    """
    if not samples or not 0 <= share <= 1:
        return math.nan
    return math.sqrt(share * (1 - share) / samples)


def independent_error(shares: Iterable[float], samples: int) -> float:
    """The standard error of the difference of two shares, as if they were of different samples.

    Args:
        shares: the two.
        samples: how many each is of.

    Returns:
        As `binomial_error`. Of the same samples it is too large.
    """
    return math.hypot(*(binomial_error(share, samples) for share in shares))
