"""Pictures of methods over several tasks: their mean ranks, and their profiles. Nothing here imports torch."""

import math
from collections.abc import Mapping, Sequence

from bench.tables.conclusions import Verdict
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
from bench.tables.stats.across import performance_profile

IN_LEGEND = 30
"""Characters of the longest name in the legend of the profiles."""
LEFT, WIDTH, LINE, TOP, BOTTOM = 300, 320, 20, 46, 52
"""Pixels: of the names, of the scale, of each row, above the first and below the last."""
BAR = 16
"""Pixels from one bar of methods that are not separated to the next."""
MOST, MOST_BARS, MOST_TICKS = 40, 20, 12
"""So many rows, bars and ranks of the scale are drawn."""
COLOURS = {Verdict.BETTER: BLUE, Verdict.WORSE: ORANGE, Verdict.BASELINE: BLACK}
MARKS = {Verdict.BETTER: "▲", Verdict.WORSE: "▼"}

LINES = (
    *(("#0072b2", ""), ("#d55e00", ""), ("#009e73", ""), ("#cc79a7", "")),
    *(("#0072b2", "5 3"), ("#d55e00", "5 3"), ("#009e73", "5 3"), ("#cc79a7", "5 3")),
)
"""Colours that all eyes tell apart (Okabe and Ito), and dashes; of more methods the first ones are drawn."""
SIDE, PLOT, HIGH = 60, 420, 220
"""Pixels: left of the profiles, and the width and the height of their field."""
LEVELS = 120
"""The profiles are drawn at so many levels."""
OUTSIDE = 0.025
"""The share of scores to each side that the field of the profiles leaves out."""


def rank_picture(methods: Sequence[tuple[str, float, Verdict]], cliques: Sequence[Sequence[str]], title: str) -> str:
    """The mean rank of each method, and beside them a bar for each group of methods of which no two are separated.

    Args:
        methods: name, mean rank and verdict against the baseline, in the order of the ranks.
        cliques: the names of each group.
        title: says what is shown.

    Returns:
        SVG, the same bytes for the same values.
    """
    rows, bars = methods[:MOST], cliques[:MOST_BARS]
    height = TOP + LINE * len(rows) + BOTTOM
    bottom, right = height - BOTTOM, LEFT + WIDTH + BAR
    lines = begin(right + BAR * max(1, len(bars)) + 12, height, title)
    place_of = {name: TOP + LINE * place + LINE // 2 for place, (name, _, _) in enumerate(rows)}
    step = math.ceil((len(methods) - 1) / MOST_TICKS)

    def x_of(rank: float) -> float:
        return LEFT + WIDTH * (rank - 1) / max(1, len(methods) - 1)

    for tick in range(1, len(methods) + 1, max(1, step)):
        lines.append(line((x_of(tick), TOP), (x_of(tick), bottom), GRID, 1))
        lines.append(words(x_of(tick), bottom + 15, str(tick), DARK))
    for name, rank, verdict in rows:
        colour = COLOURS.get(verdict, GREY)
        shown = f"{MARKS.get(verdict, '')} {shortened(name)}".strip()
        lines.append(words(LEFT - 12, place_of[name] + 4, shown, colour if verdict in COLOURS else "#444444", "end"))
        lines.append(dot(x_of(rank), place_of[name], colour, colour))
    for place, group in enumerate(bars):
        lines += _bar(right + BAR * place + BAR / 2, [place_of[name] for name in group if name in place_of])
    lines.append(
        words(LEFT + WIDTH / 2, bottom + 34, "mean rank (1 is the best); a bar joins what is not separated", DARK)
    )
    return "\n".join([*lines, "</svg>", ""])


def _bar(x: float, heights: Sequence[int]) -> list[str]:
    """A bar with a dot for each method of its group: it may pass others, which have none."""
    if not heights:
        return []
    return [line((x, min(heights)), (x, max(heights)), BLACK, 3), *(dot(x, y, BLACK, BLACK, 3) for y in heights)]


def profile_picture(scores: Mapping[str, Sequence[Sequence[float]]], title: str) -> str:
    """For each method the share of its runs whose difference from the baseline is above each level.

    Args:
        scores: method -> for each task the differences of its seeds, in the order of the ranks.
        title: says what is shown.

    Returns:
        SVG, the same bytes for the same values.
    """
    shown = list(scores.items())[: len(LINES)]
    low, high = _range([one for _, of in shown for task in of for one in task])
    step = step_of(high - low)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    levels = [step * (first + (last - first) * place / LEVELS) for place in range(LEVELS + 1)]
    bottom = TOP + HIGH
    lines = begin(SIDE + PLOT + 260, bottom + BOTTOM, title)

    def x_of(level: float) -> float:
        return SIDE + PLOT * (level / step - first) / (last - first)

    for tick in range(first, last + 1):
        x = x_of(tick * step)
        lines.append(line((x, TOP), (x, bottom), GRID if tick else BLACK, 1 if tick else 1.2))
        lines.append(words(x, bottom + 15, f"{tick * step:g}", DARK))
    for share in range(0, 101, 25):
        y = bottom - HIGH * share / 100
        lines += [line((SIDE, y), (SIDE + PLOT, y), GRID, 1), words(SIDE - 8, y + 4, f"{share} %", DARK, "end")]
    for place, ((name, of), (colour, dashes)) in enumerate(zip(shown, LINES, strict=False)):
        shares = performance_profile(of, levels)
        points = [(x_of(level), bottom - HIGH * share) for level, share in zip(levels, shares, strict=True)]
        y = TOP + LINE * place + LINE // 2
        sample = [(SIDE + PLOT + 16.0, y), (SIDE + PLOT + 44.0, y)]
        lines += [_curve(points, colour, dashes), _curve(sample, colour, dashes)]
        lines.append(words(SIDE + PLOT + 52, y + 4, shortened(name, IN_LEGEND), BLACK, "start"))
    said = "share of the runs that are better than the baseline by more than so many of its standard deviations"
    lines.append(words(SIDE + PLOT / 2, bottom + 34, said, DARK))
    return "\n".join([*lines, "</svg>", ""])


def _range(scores: Sequence[float]) -> tuple[float, float]:
    """From where to where the scores lie, but for the outermost, with zero."""
    ordered = sorted(scores)
    outside = int(OUTSIDE * len(ordered))
    return min(0.0, ordered[outside]), max(0.0, ordered[len(ordered) - 1 - outside])


def _curve(points: Sequence[tuple[float, float]], colour: str, dashes: str) -> str:
    """A line through points."""
    through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'
