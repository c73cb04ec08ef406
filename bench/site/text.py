"""Texts of any origin as HTML, and small pieces of HTML. Nothing here imports torch."""

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest
from urllib.parse import quote

from bench.text import visible

BREAK = "&#10;"
"""A new line within an attribute."""


def text(value: str) -> str:
    """A text as HTML shows it, in one line, within elements and attributes alike.

    Args:
        value: of any origin. Marks that turn the direction of writing and the like are made visible.
    """
    return escape(visible(value))


def breakable(value: str) -> str:
    """A text as HTML shows it, which may be broken after commas.

    Args:
        value: of any origin.
    """
    return text(value).replace(",", ",<wbr>")


def title(lines: Iterable[str]) -> str:
    """What is shown when the pointer rests, as an attribute with a blank before it; empty for no lines.

    Args:
        lines: of any origin.
    """
    joined = BREAK.join(map(text, lines))
    return f' title="{joined}"' if joined else ""


def place(path: str | bytes) -> str:
    """A path as a link has it.

    Args:
        path: relative; as bytes where it need not be a text.
    """
    return quote(path if isinstance(path, bytes) else os.fsencode(path))


def attributes(values: Mapping[str, str]) -> str:
    """Attributes of an element, each with a blank before it; those without a value are left out.

    Args:
        values: name -> value, of any origin.
    """
    return "".join(f' {name}="{text(value)}"' for name, value in values.items() if value)


def table(
    heads: Iterable[str],
    rows: Iterable[Sequence[str]],
    kind: str = "plain",
    above: Sequence[tuple[str, int]] = (),
    hints: Iterable[Sequence[str]] = (),
) -> str:
    """A small table, which may be wider than the page. The ends of cells and rows, which HTML leaves to the writer, are
    left out: pages have thousands of them.

    Args:
        heads, rows: HTML.
        kind: class of the table.
        above: HTML of the heads above the heads, and the number of columns that each is above.
        hints: of each cell what is told when the pointer rests on it, as an attribute; nothing for none.
    """
    first = "".join(f'<th colspan="{columns}">{cell}' for cell, columns in above)
    head = (f"<tr>{first}" if first else "") + f"<tr>{''.join(f'<th>{cell}' for cell in heads)}"
    told = zip_longest(rows, hints, fillvalue=())
    body = "".join(
        f"<tr>{''.join(f'<td{hint}>{cell}' for cell, hint in zip_longest(row, of_row, fillvalue=''))}"
        for row, of_row in told
    )
    return wide(f'<table class="{kind}"><thead>{head}</thead><tbody>{body}</tbody></table>')


def wide(table: str) -> str:
    """A table that may be wider than the page.

    Args:
        table: HTML.
    """
    return f'<div class="wide">{table}</div>'
