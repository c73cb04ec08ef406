"""What the pictures of the pages share: SVG with few numbers after the point, the same bytes for the same values."""

import math
from html import escape

from bench.tables.markdown import MARK

BLUE, ORANGE, GREY = "#0b62a4", "#b3470b", "#8a8a8a"
"""Of what is better, worse and neither; blue and orange are told apart by all eyes."""
BLACK, DARK, GRID = "#222222", "#555555", "#dddddd"


LONGEST = 46
"""Characters of the longest name that has its place left of a picture."""


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name that fits where it stands.

    Args:
        name: of any length.
        longest: so many characters fit.
    """
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def begin(width: int, height: int, title: str) -> list[str]:
    """The first lines of a picture; `</svg>` ends it.

    Args:
        width, height: in pixels.
        title: says what is shown.
    """
    return [
        f'{MARK}<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="18" font-size="13" font-weight="bold" fill="{BLACK}">{escape(title)}</text>',
    ]


def line(start: tuple[float, float], end: tuple[float, float], colour: str, width: float) -> str:
    """A line.

    Args:
        start, end: its ends, in pixels.
        colour: of it.
        width: in pixels.
    """
    ends = f'x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"/>'


def words(x: float, y: float, said: str, colour: str, anchor: str = "middle") -> str:
    """A text.

    Args:
        x, y: where it stands, in pixels.
        said: of any origin.
        colour: of it.
        anchor: which part of it stands at x: `start`, `middle` or `end`.
    """
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(said)}</text>'


def dot(x: float, y: float, fill: str, colour: str, radius: float = 4) -> str:
    """A dot.

    Args:
        x, y: its middle, in pixels.
        fill, colour: of its inside and of its rim.
        radius: in pixels.
    """
    return f'<circle cx="{x:.1f}" cy="{y:g}" r="{radius:g}" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def step_of(width: float) -> float:
    """A round number of which four to eight make a width.

    Args:
        width: in the unit of an axis.
    """
    if width <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(width))
    return next(unit * part for part in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if width / (unit * part) <= 6)
