"""What generated pages share: the mark that they begin with, and tables."""

from collections.abc import Iterable, Sequence

MARK = "<!-- made from records by `bench leaderboard`; not to be edited -->\n"
"""The first line of each generated file, by which it is known again."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
