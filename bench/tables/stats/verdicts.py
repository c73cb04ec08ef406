"""Whether our mean agrees with a printed one."""

import math
from dataclasses import dataclass

AGREE = "agrees"
AGREES = 2.0
"""Combined standard errors up to which two means agree."""


@dataclass(frozen=True)
class Agreement:
    """Our mean beside a printed one.

    Attributes:
        difference: ours minus the printed one.
        errors: the difference in combined standard errors; NaN where one of these is not known.
        low, high: the difference with AGREES combined standard errors to both sides.
    """

    difference: float
    errors: float
    low: float
    high: float

    @property
    def word(self) -> str:
        """`agrees`, `differs`, or `no verdict` where the errors are not known."""
        if math.isnan(self.errors):
            return "no verdict"
        return AGREE if abs(self.errors) <= AGREES else "differs"


def agreement(mean: float, se: float | None, printed: float, printed_se: float | None) -> Agreement:
    """Compare two means of independent runs.

    Args:
        mean, se: ours, with its standard error.
        printed, printed_se: those of a paper, in the same unit.
    """
    difference = mean - printed
    if se is None or printed_se is None:
        return Agreement(difference, math.nan, math.nan, math.nan)
    combined = math.hypot(se, printed_se)
    errors = difference / combined if combined else math.copysign(math.inf, difference) if difference else 0.0
    return Agreement(difference, errors, difference - AGREES * combined, difference + AGREES * combined)


def standard_error(error: float, kind: str, runs: int) -> float | None:
    """The standard error of a printed mean, from what the paper prints behind it.

    Args:
        error: the number behind the mean.
        kind: `standard error`, `standard deviation`, or `95 % interval` for half of its width under a normal law.
        runs: the number of runs.

    Returns:
        None for another kind.
    """
    if kind == "standard error":
        return error
    if kind == "standard deviation" and runs:
        return error / math.sqrt(runs)
    if kind == "95 % interval":
        return error / 1.959963984540054
    return None
