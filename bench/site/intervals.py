"""The paired differences of a table on one scale, a small picture in each row. Nothing here imports torch."""

import math
from collections.abc import Sequence
from statistics import median

from bench.site.drawing import CLASSES, Scale, mark, number
from bench.tables.conclusions import Verdict
from bench.tables.stats.paired import PairedDifference

WIDTH, HEIGHT, EDGE = 130, 18, 8
"""Pixels of a picture, and of its margin at each side."""
CUT = "Arrow: the interval goes on beyond the scale"
"""What is told of an interval that is cut, when the pointer rests on it."""
ROUNDED = 1e-9


def shared_scale(differences: Sequence[PairedDifference | None], factor: int) -> Scale | None:
    """The scale of all differences of a table. Zero and all means are on it; very long intervals are cut.

    Args:
        differences: those of the rows.
        factor: what values are multiplied by to be shown.

    Returns:
        The scale; None where there is nothing to draw.
    """
    known = [one for one in differences if one is not None and math.isfinite(one.mean)]
    if not known:
        return None
    ends = [factor * end for one in known for end in (one.low, one.high) if math.isfinite(end)]
    means = [factor * one.mean for one in known]
    halves = [factor * (one.high - one.low) / 2 for one in known if math.isfinite(one.high - one.low)]
    most = 1.15 * max(map(abs, means)) + 1.5 * (median(halves) if halves else 0.0)
    low, high = max(min(0.0, *means, *ends), -most), min(max(0.0, *means, *ends), most)
    if low == high:
        low, high = -1.0, 1.0
    return Scale(low, high, EDGE, WIDTH - EDGE)


def picture(difference: PairedDifference | None, verdict: Verdict, scale: Scale, factor: int) -> str:
    """A difference with its interval.

    Args:
        difference: the difference; None draws the line of zero alone.
        verdict: that of the row.
        scale: of the table.
        factor: what values are multiplied by to be shown.

    Returns:
        SVG, which says nothing that does not stand beside it.
    """
    middle = HEIGHT / 2
    parts = [f'<path class="zero" d="M{number(scale(0))} 0V{HEIGHT}"/>']
    if difference is not None and math.isfinite(difference.mean):
        if math.isfinite(difference.low):
            parts.append(f'<path class="bar" d="{_bar(factor * difference.low, factor * difference.high, scale)}"/>')
        parts.append(f'<path class="dot" d="{mark(scale(factor * difference.mean), middle, verdict)}"/>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return f'<svg class="iv {CLASSES[verdict]}" {size} aria-hidden="true">{"".join(parts)}</svg>'


def _bar(low: float, high: float, scale: Scale) -> str:
    """The line of an interval, with an arrow at an end that lies beyond the scale."""
    middle, left, right = number(HEIGHT / 2), scale(low), scale(high)
    path = f"M{number(left)} {middle}H{number(right)}"
    if low < scale.low - ROUNDED:
        path += f"M{number(left + 4)} 5L{number(left)} {middle}L{number(left + 4)} 13"
    if high > scale.high + ROUNDED:
        path += f"M{number(right - 4)} 5L{number(right)} {middle}L{number(right - 4)} 13"
    return path


def is_cut(difference: PairedDifference, scale: Scale, factor: int) -> bool:
    """Whether the interval of a difference has an arrow.

    Args:
        difference: the difference.
        scale: of the table.
        factor: what values are multiplied by to be shown.
    """
    return factor * difference.low < scale.low - ROUNDED or factor * difference.high > scale.high + ROUNDED


def axis(scale: Scale) -> str:
    """The numbers of the scale, as SVG for the head of the column.

    Args:
        scale: of the table.
    """
    ticks = scale.ticks(4)
    labels = "".join(f'<text x="{number(scale(tick))}" y="10" text-anchor="middle">{tick:g}</text>' for tick in ticks)
    return f'<svg class="iv" viewBox="0 0 {WIDTH} 12" width="{WIDTH}" height="12" aria-hidden="true">{labels}</svg>'
