"""What the pictures of the site share: scales, and marks that need no colour. Nothing here imports torch."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.tables.conclusions import NOT_ABOVE, Verdict

CLASSES = {
    Verdict.BASELINE: "baseline",
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
    Verdict.OTHER: "other",
    Verdict.OPEN: "open",
    Verdict.IDENTICAL: "same",
    Verdict.FEW: "few",
    Verdict.CONSTANT: "constant",
    Verdict.BELOW: "constant below",
    Verdict.UNDEFINED: "undefined",
    Verdict.NONE: "none",
}
"""Verdict -> what it is called in the style, the script and the address."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Round numbers between 1 and 10."""


@dataclass(frozen=True)
class Scale:
    """Values to pixels.

    Attributes:
        low, high: the values at the ends.
        begin, end: the pixels there.
    """

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value; that of the nearer end for values beyond it."""
        inside = min(max(value, self.low), self.high)
        return self.begin + (self.end - self.begin) * (inside - self.low) / (self.high - self.low)

    def ticks(self, most: int = 5) -> list[float]:
        """Round numbers on the scale.

        Args:
            most: so many at the most.
        """
        width = self.high - self.low
        unit = 10.0 ** math.floor(math.log10(width))
        step = next(unit * part / 10 for part in (*STEPS, *(10 * s for s in STEPS)) if 10 * width / unit / part < most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)]


def around(values: Iterable[float], begin: float, end: float, margin: float = 0.06) -> Scale:
    """The scale that holds some values, with a margin.

    Args:
        values: finite numbers, at least one.
        begin, end: pixels.
        margin: on each side, as a share of the width.
    """
    known = list(values)
    low, high = min(known), max(known)
    width = (high - low) or max(abs(low), 1.0) * 0.1
    return Scale(low - margin * width, high + margin * width, begin, end)


def number(pixel: float) -> str:
    """A pixel as a drawing has it."""
    return f"{pixel:.1f}".removesuffix(".0")


def mark(x: float, y: float, verdict: Verdict, size: float = 4) -> str:
    """The path of a mark, whose form tells the verdict.

    Args:
        x, y: its middle, in pixels.
        verdict: of the row.
        size: half of its width, in pixels.
    """
    left, right, top, bottom = (number(one) for one in (x - size, x + size, y - size, y + size))
    if verdict is Verdict.BETTER:
        return f"M{left} {bottom}H{right}L{number(x)} {top}z"
    if verdict is Verdict.WORSE:
        return f"M{left} {top}H{right}L{number(x)} {bottom}z"
    if verdict in (Verdict.BASELINE, Verdict.OTHER):
        return f"M{left} {number(y)}L{number(x)} {top}L{right} {number(y)}L{number(x)} {bottom}z"
    if verdict in NOT_ABOVE:
        side = size * 0.8
        return f"M{number(x - side)} {number(y - side)}h{number(2 * side)}v{number(2 * side)}h{number(-2 * side)}z"
    radius, across = number(size * 0.85), number(size * 1.7)
    half = f"a{radius} {radius} 0 1 0 "
    return f"M{number(x - size * 0.85)} {number(y)}{half}{across} 0{half}-{across} 0z"


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """The path through some points, in whole pixels, each from the one before: such numbers are short.

    Args:
        points: one or more.
    """
    places = [(round(x), round(y)) for x, y in points]
    steps = [f"{x - before[0]} {y - before[1]}" for before, (x, y) in pairwise(places)]
    begin = f"M{places[0][0]} {places[0][1]}"
    return begin + (f"l{' '.join(steps)}".replace(" -", "-") if steps else "")
