"""A page of the site: the answer, the picture, the tables, the rows, and what else stands on the markdown page. Nothing
here imports torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.columns.table import Columns
from bench.records.run import rule_name
from bench.site.assets import document
from bench.site.cells import Shown
from bench.site.family import family_section
from bench.site.markdown import Resolve, blocks, inline, sections
from bench.site.rows.details import code_list, code_of, row_details
from bench.site.rows.pictured import Pictures
from bench.site.text import place, text
from bench.tables.comparisons import between_tasks, rules_of
from bench.tables.markdown import plain
from bench.tables.names import Names
from bench.tables.pages.oracle import TITLE, oracle_table
from bench.tables.pages.ranking import MOST, by_task, heading, ranked_families
from bench.tables.rows import Row, rows_of
from bench.tables.summary import PageSummary
from bench.text import visible

SHOWN_ELSEWHERE = ("Commands and records",)
"""Folded parts of the markdown page that the rows tell here."""
PARAGRAPHS = 1
"""So many paragraphs of the answer stand before the picture; the others are folded."""
NOTHING = "**No method is compared with a baseline here.**"
"""The answer where there is none."""
ITEMS = 4
"""So many items of an answer that is a list are not folded."""


@dataclass(frozen=True)
class Source:
    """What a page is made from.

    Attributes:
        name: of the file of the markdown page.
        text: of the markdown page.
        summary: what the front page says of it.
        columns: of its runs.
    """

    name: str
    text: str
    summary: PageSummary
    columns: Columns

    @cached_property
    def file(self) -> str:
        """The name of the file of the page."""
        return file_of(self.name)

    @property
    def address(self) -> str:
        """The same, as a link has it."""
        return place(self.file)

    @cached_property
    def rows(self) -> list[Row]:
        """Its rows."""
        return rows_of([self.columns])

    @cached_property
    def names(self) -> Names:
        """The names of its rows."""
        return Names.of(self.rows)

    @cached_property
    def families(self) -> list[Shown]:
        """Its tables, the one that the answer is about first."""
        return [Shown.of(family, self.names) for family in ranked_families(by_task(self.rows))]


def file_of(name: str) -> str:
    """The file of a page of the site.

    Args:
        name: that of the file of the markdown page.
    """
    return f"{name.removesuffix('.md')}.html"


def page(source: Source, resolve: Resolve, pictures: Pictures | None = None) -> str:
    """A page.

    Args:
        source: what it is made from.
        resolve: the address of a link of the markdown page -> that in the site.
        pictures: finds the images of samples; None: no images are shown.
    """
    parts = sections(source.text)
    families = source.families
    body = [f"<h1>{text(source.summary.title)}</h1>", _top(parts[0][1], resolve)]
    body += [family_section(shown, number == 0) for number, shown in enumerate(families)]
    body += [*_between(source, resolve), _rows(source, pictures)]
    made_anew = plain(heading(families[0].family)) if families else ""
    body += [_rest(lines, resolve) for title, lines in parts[1:] if title != made_anew]
    return document(source.summary.title, "\n".join(filter(None, body)))


def _top(lines: Sequence[str], resolve: Resolve) -> str:
    """The answer, of which the first paragraph is shown, and the place of the picture."""
    paragraphs = [part for part in "\n".join(lines).split("\n\n") if part.strip()]
    told = [part for part in paragraphs if not part.lstrip().startswith(("<!--", "#", "!["))]
    first, rest = told[:PARAGRAPHS] or [NOTHING], told[PARAGRAPHS:]
    if first and first[0].startswith("- "):
        items = first[0].split("\n")
        first, rest = ["\n".join(items[:ITEMS])], [*filter(None, ["\n".join(items[ITEMS:])]), *rest]
    more = blocks("\n\n".join(rest).split("\n"), resolve)
    folded = f'<details class="basis"><summary>What this rests on</summary>{more}</details>' if more else ""
    answer = _parted(blocks("\n".join(first).split("\n"), resolve))
    return f'<div class="top"><div class="answer">{answer}{folded}</div><div id="picture"></div></div>'


def _parted(answer: str) -> str:
    """The answer with its first sentence, which is strong, in a paragraph of its own."""
    return answer.replace("</strong> ", '</strong></p>\n<p class="rest">', 1)


def _between(source: Source, resolve: Resolve) -> Iterator[str]:
    """What options of the protocol change, and what the test set would select, folded."""
    for rule in rules_of(source.rows) if source.rows else ():
        if lines := between_tasks(source.rows, rule):
            title = inline(f"Between tasks: {visible(rule_name(rule)).lower()}", resolve)
            yield f"<details><summary>{title}</summary>{blocks(lines, resolve)}</details>"
    if lines := oracle_table(by_task(source.rows), source.names):
        yield f"<details><summary>{TITLE}</summary>{blocks(lines, resolve)}</details>"


def _rows(source: Source, pictures: Pictures | None) -> str:
    """What else is known of the rows, those of the first tables with what lies in their files."""
    shown: dict[str, Row] = {row.first.key: row for family in source.families for row in family.rows}
    if not shown:
        return ""
    rules = rules_of(source.rows)
    of_rows = [code_of(row) for row in shown.values()]
    shared = [line for line in of_rows[0] if all(line in lines for lines in of_rows)] if len(of_rows) > 1 else []
    details = [
        row_details(row, source.names, rules, number < MOST, pictures, shared)
        for number, row in enumerate(shown.values())
    ]
    details += ["<p>Of all rows:</p>", code_list(shared)] if shared else []
    title = "Rows: commands, values of each seed, records"
    inner = "\n".join(details)
    return f'<details id="rows"><summary>{title}</summary>\n{inner}\n</details>'


def _rest(lines: Sequence[str], resolve: Resolve) -> str:
    return f"<section>{blocks(lines, resolve, SHOWN_ELSEWHERE)}</section>"
