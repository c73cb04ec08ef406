"""A small picture within a row: its size, its axes and its words. Nothing here imports torch."""

from collections.abc import Iterable, Iterator, Sequence

from bench.site.drawing import Scale
from bench.site.text import text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 600, 260, 80, 584, 16, 204
"""Half pixels of the picture, and where its area begins and ends."""


def small_picture(parts: Iterable[str], words: str) -> str:
    """A picture with its words below it, which tell all that it shows to those who do not see it.

    Args:
        parts: SVG.
        words: of any origin.
    """
    return (
        f'<figure class="history"><svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'
        f"<figcaption>{text(words)}</figcaption></figure>"
    )


def grid(ticks: Sequence[tuple[float, str]], y: Scale) -> Iterator[str]:
    """The lines of the vertical axis, and the numbers of both.

    Args:
        ticks: the place and the number of each tick of the horizontal axis.
        y: the vertical axis.
    """
    yield f'<path class="grid" d="{"".join(f"M{LEFT} {y(tick):.0f}H{RIGHT}" for tick in y.ticks(4))}"/>'
    for at, number in ticks:
        yield f'<text x="{at:.0f}" y="{BOTTOM + 28}">{number}</text>'
    for tick in y.ticks(4):
        yield f'<text class="y" x="{LEFT - 10}" y="{y(tick) + 8:.0f}">{tick:g}</text>'


def seeds_told(seeds: Sequence[int], of: int) -> str:
    """Seeds in words, with their number where they are not all.

    Args:
        seeds: those that are shown.
        of: how many there are.
    """
    told = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return told if len(seeds) == of else f"{told} (of {of})"
