"""The points of a picture of rows, and how large they are. Nothing here imports torch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.site.drawing import mark, number
from bench.tables.conclusions import Verdict
from bench.tables.rows import Row

USUAL, SMALLEST, LARGEST, PER_TEN = 5.0, 3.0, 13.0, 5.0
"""Half of the width of a point, in pixels: where it costs as much as the baseline, at least and at most; and how much
wider it is at ten times the cost.
"""
ROUND_COSTS = (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100, 1000)


@dataclass(frozen=True)
class Point:
    """A row in the picture.

    Attributes:
        row: the row.
        verdict: on it.
        name: of it, with its task where there are several.
        x, y: mean and standard error in each metric, as they are shown; the error is 0 where there is none.
        cost: of training, relative to the baseline's; None where it is not known.
    """

    row: Row
    verdict: Verdict
    name: str
    x: tuple[float, float]
    y: tuple[float, float]
    cost: float | None


@dataclass(frozen=True)
class Sizes:
    """How large points are: by their costs, where any but that of a baseline is known.

    Attributes:
        told: the known costs, in order; empty where all points are of one size.
        all_known: whether no cost is missing.
    """

    told: Sequence[float]
    all_known: bool

    @classmethod
    def of(cls, points: Sequence[Point]) -> "Sizes":
        """Those of some points."""
        known = sorted(point.cost for point in points if point.cost)
        priced = any(point.cost for point in points if point.verdict is not Verdict.BASELINE)
        return cls(known if priced else [], all(point.cost for point in points))

    def of_point(self, point: Point) -> float:
        """Half of the width of a point, in pixels."""
        return self.half(point.cost) if self.told and point.cost else USUAL

    def half(self, cost: float) -> float:
        """The same of a cost: so many pixels more for each factor of ten, within limits."""
        return min(max(USUAL + PER_TEN * math.log10(cost), SMALLEST), LARGEST)

    def legend(self) -> Iterator[str]:
        """What the sizes are, as HTML: points of the sizes of round costs."""
        if not self.told:
            return
        inside = [cost for cost in ROUND_COSTS if self.told[0] <= 1.25 * cost and cost <= 1.25 * self.told[-1]]
        chosen = sorted({1, *inside[:1], *inside[-1:]})
        shown = " ".join(f"{self._dot(cost)}&nbsp;{cost:g}&nbsp;×" for cost in chosen)
        yield f'<span class="sizes">size: training time relative to the baseline&nbsp;{shown}</span>'
        if not self.all_known:
            yield "open: time not comparable with the baseline’s"

    def _dot(self, cost: float) -> str:
        half = self.half(cost)
        wide = number(2 * half + 2)
        path = mark(half + 1, half + 1, Verdict.OPEN, half)
        return (
            f'<svg class="open" width="{wide}" height="{wide}" aria-hidden="true"><path class="dot" d="{path}"/></svg>'
        )
