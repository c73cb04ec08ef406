"""Records -> markdown, a pure function: the same records give the same bytes. Nothing here imports torch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.columns.table import Columns
from bench.records.run import rule_name
from bench.records.spec import file_name
from bench.tables.answers import answers, exploratory, headline, is_at_chance
from bench.tables.comparisons import between_tasks, overlap_of, rules_of
from bench.tables.markdown import MARK, code, folded, link, plain
from bench.tables.names import Names
from bench.tables.pages.cards import advice_of
from bench.tables.pages.forest import forest
from bench.tables.pages.front import picture_of
from bench.tables.pages.made import made, of_older_code, unofficial, without_tables
from bench.tables.pages.oracle import TITLE, oracle_table
from bench.tables.pages.papers import Recorded, beside_the_papers
from bench.tables.pages.ranking import RankedFamily, by_task, family_table, heading, notes, ranked_families
from bench.tables.rows import Row, older_rows, rows_of
from bench.tables.summary import Advice, PageSummary, TaskSummary, row_summary
from bench.tables.wording import capital, definitions

RECORDS = "results"
"""The folder of the records, beside the pages."""
VERSION = re.compile(r"(?=-v\d+-)")
"""Where the version of a protocol may stand in the name of a page."""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        text: markdown.
        picture: of the paired differences, as SVG; empty where there are none.
        summary: what the front page says of it.
    """

    text: str
    picture: str
    summary: PageSummary

    def files(self, name: str) -> dict[str, str]:
        """File name -> content.

        Args:
            name: of the file of the page.
        """
        return {name: self.text} | ({picture_of(name): self.picture} if self.picture else {})


def render(tasks: Iterable[Columns]) -> dict[str, Page]:
    """The pages of the leaderboard, one for each protocol and data set.

    Args:
        tasks: The columns of each task, which have at least one run; failed ones are listed below the tables.

    Returns:
        File name -> page.
    """
    by_task = {_task(columns): columns for columns in tasks}
    return {page_name(*task): _page(*task, columns) for task, columns in sorted(by_task.items())}


def page_of(columns: Columns) -> str:
    """The file name of the page of a task.

    Args:
        columns: of its runs, of which there is at least one.
    """
    return page_name(*_task(columns))


def _task(columns: Columns) -> tuple[str, str]:
    return columns.listed("protocol")[0], columns.listed("dataset")[0]


def page_name(protocol: str, dataset: str) -> str:
    """The file name of a page, another one for each task. Where others could be read in it too, it has a digest.

    Args:
        protocol: `name/version`.
        dataset: its name.
    """
    # No name has a `~` or an `@`, so `a/b` and `a-b` differ, and no name looks as if it had a digest.
    name = f"{protocol.replace('/', '-v')}-{dataset.replace('/', '~')}"
    one_version = len(VERSION.findall(name)) <= 1
    return f"{file_name(name, [protocol, dataset], one_version)}.md"


def _page(protocol: str, dataset: str, columns: Columns) -> Page:
    rows = rows_of([columns])
    title = title_of(protocol, dataset)
    lines = [MARK + f"# {plain(title)}", ""]
    picture = ""
    tasks: list[TaskSummary] = []
    advice, problem = Advice(), ""
    methods = sorted({row.first.spec.method for row in rows})
    if rows:
        of_tasks = by_task(rows)
        ranked, names = ranked_families(of_tasks), Names.of(rows)
        tasks, problem = _summaries(ranked, names), rows[0].first.about.problem
        advice = advice_of(ranked[0].of_tasks, names, methods)
        lines += _answers(ranked, names)
        if picture := _picture(title, ranked, names):
            place = picture_of(page_name(protocol, dataset))
            lines += [f"!{link('Paired differences from the baseline', place)}", ""]
        lines += [*_tables(of_tasks, ranked, names), *_papers(protocol, dataset, of_tasks, columns)]
        lines += [*_about(protocol, dataset, rows, lines), *made(of_tasks, RECORDS), *unofficial(rows)]
        if any(len(row.versions) > 1 for row in rows):
            lines += ["§ The runs of this row were made by more than one version of the code.", ""]
    text = "\n".join(lines + of_older_code(older_rows([columns])) + without_tables(columns))
    finished = sum(columns.finished)
    summary = PageSummary(title, protocol, dataset, finished, len(columns) - finished, methods, tasks, problem, advice)
    return Page(text, picture, summary)


def _summaries(ranked: Sequence[RankedFamily], names: Names) -> list[TaskSummary]:
    """What the front page says of each task."""
    first = ranked[0]
    summaries = []
    for task, compared in first.of_tasks:
        row = compared[0].row
        higher = row.first.about.higher_is_better[row.ranked_by]
        rows = [row_summary(one) for one in compared]
        unit, answer, overlap = row.unit(row.ranked_by), headline(compared, names), overlap_of(row)
        chance = is_at_chance(compared)
        told = (task, first.main, row.ranked_by, unit, higher, first.rule, answer, rows, overlap, chance)
        summaries.append(TaskSummary(*told))
    return summaries


def _picture(title: str, ranked: Sequence[RankedFamily], names: Names) -> str:
    """The picture of the first task that has something to show."""
    of_tasks = ranked[0].of_tasks
    return next((drawn for _, compared in of_tasks if (drawn := forest(compared, names, title))), "")


def title_of(protocol: str, dataset: str) -> str:
    """The title of a page.

    Args:
        protocol: `name/version`.
        dataset: its name.
    """
    return f"{capital(protocol.partition('/')[0].replace('_', ' '))} on {dataset}"


def _answers(ranked: Sequence[RankedFamily], names: Names) -> list[str]:
    """The answer to the question of the page, in paragraphs."""
    first = ranked[0]
    paragraphs = answers(first.of_tasks, first.rule, names)
    further = [
        said
        for family in ranked[1:]
        for task, compared in family.of_tasks
        if family.title != first.title
        and family.rule == first.rule
        and (said := exploratory(f"{family.title}, {task}" if task else family.title, compared, names))
    ]
    if any(further):
        paragraphs.append(" ".join(filter(None, further)))
    return [line for paragraph in paragraphs for line in (paragraph, "")]


def _tables(tasks: Mapping[str, Sequence[Row]], ranked: Sequence[RankedFamily], names: Names) -> list[str]:
    """The table that the answer rests on, and folded below it all others, which are exploratory."""
    first = ranked[0]
    lines = [f"## {plain(heading(first))}", "", *family_table(first, names)]
    for family in ranked[1:]:
        lines += folded(plain(heading(family)), family_table(family, names))
    rows = [row for of_task in tasks.values() for row in of_task]
    for rule in rules_of(rows):
        lines += folded(f"Between tasks: {plain(rule_name(rule))}", between_tasks(rows, rule))
    if oracle := oracle_table(tasks, names):
        lines += folded(TITLE, oracle)
    return lines


def _papers(protocol: str, dataset: str, tasks: Mapping[str, Sequence[Row]], columns: Columns) -> list[str]:
    """Our means beside those of the papers, task by task."""
    lines = []
    for task, rows in tasks.items():
        rules = rules_of([row for row in rows if not row.first.off_recipe] or rows)
        name = dataset + (f"[{task}]" if task else "")
        recorded = Recorded(rows, columns, task)
        lines += beside_the_papers(protocol, name, f"{task}: " if task else "", recorded, rules)
    return lines


def _about(protocol: str, dataset: str, rows: Sequence[Row], above: Sequence[str]) -> list[str]:
    """What the task, its metrics and the columns of the tables are."""
    about = rows[0].first.about
    source = plain(about.dataset_reference or dataset)
    show = code(f"bench show {protocol.partition('/')[0]}")
    sources = (
        f"Protocol, version {protocol.partition('/')[2]}: {plain(about.protocol_reference)}; {show} says what it does. "
        f"Data: {source}{'' if source.endswith('?') else '.'}"
    )
    columns = folded("Columns of the tables", notes(above))
    return ["## What is measured", "", sources, "", *definitions(about), "", *columns]
