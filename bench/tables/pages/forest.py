"""A picture of paired differences: one line for each row, with its interval. Nothing here imports torch."""

import math
from collections.abc import Sequence
from html import escape

from bench.tables.conclusions import Compared, Verdict
from bench.tables.markdown import MARK
from bench.tables.names import Names
from bench.tables.rows import scale_of
from bench.tables.stats.paired import PairedDifference
from bench.text import cut

MOST = 40
"""So many rows are drawn."""
LONGEST = 46
"""Characters of the longest name."""
LEFT, WIDTH, GAP, LINE, TOP = 300, 250, 40, 20, 46
"""Pixels: of the names, of each of the two scales, between these, of each row, and above the first."""
COLOURS = {Verdict.BETTER: "#0b62a4", Verdict.WORSE: "#b3470b", Verdict.OTHER: "#0b62a4"}
"""Of rows that are separated from their baseline; blue and orange are told apart by all eyes."""
GREY = "#8a8a8a"
MARKS = {Verdict.BETTER: "▲", Verdict.WORSE: "▼", Verdict.OTHER: "◆", Verdict.CONSTANT: "≈", Verdict.FEW: "?"}
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
    lines = [
        f'{MARK}<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="18" font-size="13" font-weight="bold" fill="#222222">{escape(title)}</text>',
    ]
    for place, one in enumerate(rows):
        y = TOP + LINE * place + LINE // 2
        text = f"{MARKS.get(one.verdict, '')} {cut(names.plain(one.row), LONGEST)}".strip()
        lines.append(_text(LEFT - 12, y + 4, text, COLOURS.get(one.verdict, "#444444"), "end"))
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
    step = _step(high - low)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1

    def place_of(value: float) -> float:
        return left + WIDTH * (value / step - first) / (last - first)

    bottom = height - 30
    lines = [_text(left + WIDTH / 2, TOP - 10, head, "#222222")]
    for tick in range(first, last + 1):
        x = place_of(tick * step)
        lines.append(_line((x, TOP), (x, bottom), "#222222" if tick == 0 else "#dddddd", 1.2 if tick == 0 else 1))
        lines.append(_text(x, bottom + 15, f"{tick * step:g}", "#555555"))
    for place, (one, verdict) in enumerate(zip(differences, verdicts, strict=True)):
        if one is None or math.isnan(one.mean):
            continue
        y = TOP + LINE * place + LINE // 2
        colour = COLOURS.get(verdict, GREY)
        if not math.isnan(one.low):
            lines.append(_line((place_of(scale * one.low), y), (place_of(scale * one.high), y), colour, 2))
        fill = "#ffffff" if verdict is Verdict.CONSTANT else colour
        x = place_of(scale * one.mean)
        lines.append(f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>')
    return lines


def _line(begin: tuple[float, float], end: tuple[float, float], colour: str, width: float) -> str:
    ends = f'x1="{begin[0]:.1f}" y1="{begin[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _step(width: float) -> float:
    """A round number of which four to eight make a width."""
    if width <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(width))
    return next(unit * part for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if width / (unit * part) <= 6)
