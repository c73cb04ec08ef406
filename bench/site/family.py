"""The table of a family as HTML, with its picture. Nothing here imports torch."""

from collections.abc import Iterable, Sequence

from bench.records.run import rule_name
from bench.site.cells import ABOUT_HEADS, Column, Shown, cells_beside, columns_of
from bench.site.drawing import CLASSES
from bench.site.scatter import scatter
from bench.site.text import attributes, text, title, wide
from bench.tables.pages.nearer import NEARER, nearer_to_constant
from bench.tables.pages.ranking import WITH_OPTIONS, heading, titled
from bench.tables.pages.seeds import OTHER_SEEDS, other_seeds

UNTITLED = {True: "methods", False: WITH_OPTIONS}
"""What the family without a title is called, where it is the question that the protocol asks and where it is not."""
CELLS = {"number": "n", "interval": "i", "words": "w", "name": ""}
"""Kind of a column -> class of its cells."""


def family_section(shown: Shown, opened: bool) -> str:
    """A family: its table, folded unless it is the one that the answer is about.

    Args:
        shown: its rows.
        opened: whether the table is open where no script runs.

    Returns:
        HTML. The picture of the family stands before its table.
    """
    family = shown.family
    about = {"data-family": titled(family) or UNTITLED[family.main], "data-rule": rule_name(family.rule)}
    more = f"<p>{shown.left_out:,} more rows are in <code>bench export</code>.</p>" if shown.left_out else ""
    lines = [f"<li>{text(f'{shown.names.plain(row)}: {said}')}" for row, said in other_seeds(shown.compared)]
    more += f"<p>{text(OTHER_SEEDS)}</p><ul>{''.join(lines)}</ul>" if lines else ""
    lines = [f"<li>{text(f'{shown.names.plain(row)}: {said}')}" for row, said in nearer_to_constant(shown.compared)]
    more += f"<p>{text(NEARER.format(metric=shown.metrics[0]))}</p><ul>{''.join(lines)}</ul>" if lines else ""
    return (
        f'<details class="family"{attributes(about)}{" open" if opened else ""}>\n'
        f"<summary><h2>{text(heading(family))}</h2></summary>\n"
        f'<div class="picture">{scatter(family, shown.names)}</div>\n{family_table(shown)}\n{more}</details>'
    )


def family_table(shown: Shown) -> str:
    """The table of a family.

    Args:
        shown: its rows.
    """
    columns = columns_of(shown)
    heads = "".join(_head(column) for column in columns)
    lines = [
        _line(
            {"class": CLASSES[one.verdict], "data-row": one.row.first.key, "data-verdict": CLASSES[one.verdict]},
            columns,
            [column.cells[place] for column in columns],
            [column.hints[place] if column.hints else "" for column in columns],
        )
        for place, one in enumerate(shown.compared)
    ]
    lines += [
        _line({"class": "always", "data-verdict": kind}, columns, cells, hints)
        for kind, cells, hints in cells_beside(shown, columns)
    ]
    body = "".join(lines)
    return wide(f'<table class="rows"><thead><tr>{heads}</thead>\n<tbody>{body}</tbody></table>')


def _head(column: Column) -> str:
    about = title(filter(None, [column.about or ABOUT_HEADS.get(column.head, "")]))
    more = attributes({"data-more": column.more})
    return f'<th scope="col" data-kind="{column.kind}"{more}{about}>{text(column.head)}{column.below}'


def _line(about: dict[str, str], columns: Sequence[Column], cells: Iterable[str], hints: Iterable[str]) -> str:
    """A row of the table, without the ends that HTML leaves to the writer."""
    parts = []
    for column, cell, hint in zip(columns, cells, hints, strict=True):
        if column.kind == "name":
            parts.append(f'<th scope="row">{cell}')
        else:
            parts.append(f"<td{attributes({'class': CELLS[column.kind]})}{hint}>{cell}")
    return f"<tr{attributes(about)}>{''.join(parts)}"
