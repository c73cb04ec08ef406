"""A picture of paired differences: one line for each row, with its interval. Nothing here imports torch."""

import math
from collections.abc import Sequence

from bench.tables.conclusions import NOT_ABOVE, Compared, Verdict
from bench.tables.names import Names
from bench.tables.pages.drawing import (
    BLACK,
    BLUE,
    DARK,
    GREY,
    GRID,
    ORANGE,
    begin,
    dot,
    line,
    shortened,
    step_of,
    words,
)
from bench.tables.rows import scale_of
from bench.tables.stats.paired import PairedDifference

MOST = 40
"""So many rows are drawn."""
LEFT, WIDTH, GAP, LINE, TOP = 300, 250, 40, 20, 46
"""Pixels: of the names, of each of the two scales, between these, of each row, and above the first."""
COLOURS = {Verdict.BETTER: BLUE, Verdict.WORSE: ORANGE, Verdict.OTHER: BLUE}
"""Of rows that are separated from their baseline."""
MARKS = {
    **{Verdict.BETTER: "▲", Verdict.WORSE: "▼", Verdict.OTHER: "◆"},
    **{Verdict.CONSTANT: "≈", Verdict.BELOW: "<", Verdict.FEW: "?"},
}
"""What stands beside a name, so that no colour is needed to read the picture."""


def forest(compared: Sequence[Compared], names: Names, title: str) -> str:
    """The picture of a family: the difference of each row from its baseline in the metric that ranks, and beside it
    that in accuracy, each with its 95 % interval.

    Args:
        compared: the rows; those without a difference are left out.
        names: of the rows.
        title: says what is shown.

    Returns:
        SVG, the same bytes for the same rows; empty where there is nothing to draw.
    """
    rows = [one for one in compared if one.difference and not math.isnan(one.difference.mean)][:MOST]
    if not rows:
        return ""
    metric, unit = rows[0].row.ranked_by, rows[0].row.unit(rows[0].row.ranked_by)
    scales = [(f"Δ {metric}", [one.difference for one in rows], scale_of(unit))]
    if any(one.accuracy and not math.isnan(one.accuracy.mean) for one in rows):
        scales.append(("Δ accuracy", [one.accuracy for one in rows], 100))
    width = LEFT + len(scales) * (WIDTH + GAP)
    height = TOP + LINE * len(rows) + 34
    lines = begin(width, height, title)
    for place, one in enumerate(rows):
        y = TOP + LINE * place + LINE // 2
        text = f"{MARKS.get(one.verdict, '')} {shortened(names.plain(one.row))}".strip()
        lines.append(words(LEFT - 12, y + 4, text, COLOURS.get(one.verdict, "#444444"), "end"))
    for place, (head, differences, scale) in enumerate(scales):
        left = LEFT + place * (WIDTH + GAP)
        lines += _scale(left, head, differences, [one.verdict for one in rows], scale, height)
    return "\n".join([*lines, "</svg>", ""])


def _scale(
    left: int,
    head: str,
    differences: Sequence[PairedDifference | None],
    verdicts: Sequence[Verdict],
    scale: int,
    height: int,
) -> list[str]:
    """The lines of one scale: its head, its grid, and a dot with an interval for each row."""
    known = [one for one in differences if one is not None and not math.isnan(one.mean)]
    ends = [scale * end for one in known for end in (one.mean, one.low, one.high) if not math.isnan(end)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    step = step_of(high - low)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1

    def place_of(value: float) -> float:
        return left + WIDTH * (value / step - first) / (last - first)

    bottom = height - 30
    lines = [words(left + WIDTH / 2, TOP - 10, head, BLACK)]
    for tick in range(first, last + 1):
        x = place_of(tick * step)
        lines.append(line((x, TOP), (x, bottom), BLACK if tick == 0 else GRID, 1.2 if tick == 0 else 1))
        lines.append(words(x, bottom + 15, f"{tick * step:g}", DARK))
    for place, (one, verdict) in enumerate(zip(differences, verdicts, strict=True)):
        if one is None or math.isnan(one.mean):
            continue
        y = TOP + LINE * place + LINE // 2
        colour = COLOURS.get(verdict, GREY)
        if not math.isnan(one.low):
            lines.append(line((place_of(scale * one.low), y), (place_of(scale * one.high), y), colour, 2))
        fill = "#ffffff" if verdict in NOT_ABOVE else colour
        x = place_of(scale * one.mean)
        lines.append(dot(x, y, fill, colour))
    return lines
