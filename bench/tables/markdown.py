"""What generated pages share: the mark that they begin with, tables, and texts that stand for themselves alone."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from bench.text import visible

MARK = "<!-- made from records by `bench leaderboard`; not to be edited -->\n"
"""The first line of each generated file, by which it is known again."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


MEANT = re.compile(
    r"[\\`*~]"  # escapes, code, emphasis
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, but not between letters
    r"|<(?=[A-Za-z/!?])|&(?=#?\w+;)"  # HTML and its entities
    r"|\](?=[(\[:])|^\["  # links
    r"|^[#>]|^[-+=](?=\s|[-=]|$)"  # headings, quotes, lists and rules
)
"""What markdown takes for more than a character, where it stands."""
NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
"""How a numbered list begins."""
ENTITIES = {"<": "&lt;", "&": "&amp;"}


def plain(text: str) -> str:
    """A text that markdown and HTML show as it is, in one line: a name, an error or a reference of any origin."""
    shown = MEANT.sub(lambda match: ENTITIES.get(match[0], f"\\{match[0]}"), visible(text))
    return NUMBERED.sub(r"\1\\\2", shown)


def code(text: str) -> str:
    """A code span, in one line, whatever backticks the text has."""
    shown = visible(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown[:1] in ("`", " ") or shown[-1:] in ("`", " ") or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """Lines that a reader opens by their title; none where there are no lines.

    Args:
        title: as HTML.
        lines: markdown.
    """
    if not lines:
        return []
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]


BRACKET = re.compile(r"(\\.)|([\[\]])")
"""What is escaped already, and a bracket that is not."""


def link(text: str, path: str) -> str:
    """A link to a file.

    Args:
        text: what is shown, as markdown without links and code. Its brackets are escaped, as one alone would end it.
        path: relative to the page.
    """
    label = BRACKET.sub(lambda match: match[1] or f"\\{match[2]}", text)
    return f"[{label}]({quote(path)})"
