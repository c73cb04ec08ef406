"""The front page of the site: the matrix, the answers, and a card for each protocol. Nothing here imports torch."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.columns.run import Run
from bench.site.assets import document
from bench.site.cells import method_name
from bench.site.drawing import CLASSES
from bench.site.markdown import Resolve, blocks, sections
from bench.site.page import Source
from bench.site.scatter import scatter
from bench.site.text import attributes, text
from bench.tables.conclusions import Compared
from bench.tables.pages.cards import TITLE, by_problem
from bench.tables.pages.front import (
    CELLS,
    LEGEND,
    TALLY,
    UNTOLD,
    marked,
    median_cost,
    metric_head,
    notes,
    pictured,
    tally,
    task_title,
)
from bench.tables.summary import PageSummary, mean_of, name_of, told_together
from bench.tables.wording import capital

MATRIX = "Methods by tasks"
"""The section of the markdown page that is a table here."""


@dataclass(frozen=True)
class Task:
    """A task of a page: a column of the matrix.

    Attributes:
        source: the page.
        name: what tells the task from the others of its page; empty where there are none.
        compared: the rows of its main family.
        unfit: the methods that cannot be applied.
    """

    source: Source
    name: str
    compared: Sequence[Compared]
    unfit: frozenset[str]

    @property
    def title(self) -> str:
        """The name of the column."""
        return task_title(self.source.summary, self.name)

    @property
    def head(self) -> str:
        """What its cells are differences in."""
        return next((metric_head(one) for one in self.source.summary.tasks if one.task == self.name), "")


def front(markdown: str, sources: Sequence[Source], resolve: Resolve) -> str:
    """The front page.

    Args:
        markdown: the text of the front page of the markdown pages.
        sources: what the pages are made from.
        resolve: the address of a link of a markdown page -> that in the site.
    """
    parts = sections(markdown)
    tasks = [task for source in sources for task in _tasks(source)]
    introduction = [line for line in parts[0][1] if not line.startswith("![")]
    problems = by_problem({source.name: source.summary for source in sources})
    beside = f'<div class="legend">{blocks([CELLS])}</div>' if tasks else ""
    told = _led(blocks(introduction, resolve)) + _links(problems) + beside
    body = [f'<div class="top front"><div class="answer">{told}</div><div id="picture">{_picture(tasks)}</div></div>']
    below = blocks(notes({source.name: source.summary for source in sources}), resolve)
    body += [*_matrix(tasks, below), *_cards(problems, {source.name: source.address for source in sources})]
    body += [
        f"<section>{blocks(lines, resolve)}</section>" for title, lines in parts[1:] if title not in (MATRIX, TITLE)
    ]
    return document("Leaderboards", "\n".join(body))


def _led(introduction: str) -> str:
    """The introduction, whose first paragraph is the answer."""
    return introduction.replace("<p><strong>", '<p class="lead"><strong>', 1)


def _links(problems: Iterable[str]) -> str:
    """What somebody may have, each with a link to its card."""
    begin, cards = "I have ", list(problems)
    told = [f'<a href="#card{place}">{text(problem.removeprefix(begin))}</a>' for place, problem in enumerate(cards)]
    have = begin if any(problem.startswith(begin) for problem in cards) else ""
    return f'<p class="problems">{have}{" · ".join(told)}</p>' if told else ""


def _tasks(source: Source) -> Iterator[Task]:
    """The tasks of a page whose methods are compared in their default configuration."""
    first = source.families[0].family if source.families else None
    if first is None or not first.main:
        return
    for name, compared in first.of_tasks:
        if any(one.difference is not None for one in compared):
            yield Task(source, name, compared, _unfit(source, name))


def _unfit(source: Source, task: str) -> frozenset[str]:
    """The methods that cannot be applied to a task in their default configuration."""
    runs = (Run(source.columns, row) for row, ok in enumerate(source.columns.finished) if not ok)
    return frozenset(
        run.spec.method for run in runs if run.unfit and not run.spec.options and ", ".join(run.spec.variant()) == task
    )


def _picture(tasks: Sequence[Task]) -> str:
    """The picture of the page that the answer names first, or else of the one on which the most rows are compared."""
    by_page = {task.source.name: task for task in reversed(tasks)}
    order = pictured({name: task.source.summary for name, task in by_page.items()})
    if not order:
        return ""
    first = by_page[order[0]]
    address, title = first.source.address, text(first.source.summary.title)
    drawn = scatter(first.source.families[0].family, first.source.names).replace('href="#', f'href="{address}#')
    return f'<p><a href="{address}">{title}</a></p>{drawn}' if drawn else ""


def _breakable(head: str) -> str:
    """The head of a column, which may be broken within the name of its metric, and not before its signs."""
    return text(head.replace(" ", "\u00a0")).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _matrix(tasks: Sequence[Task], below: str) -> Iterator[str]:
    """Methods by tasks, and what stands below."""
    rows: dict[str, dict[int, Compared]] = defaultdict(dict)
    for place, task in enumerate(tasks):
        for one in task.compared:
            if one.verdict not in UNTOLD:
                rows[name_of(one.row)][place] = one
    if not rows:
        return
    links = [f'<a href="{task.source.address}">{text(task.title)}</a> {_breakable(task.head)}' for task in tasks]
    heads = ['<th scope="col" data-kind="name">Method</th>']
    heads += [f'<th scope="col" data-kind="number">{link}</th>' for link in links]
    costs = {
        method: median_cost(one.row.cost(one.baseline) for one in cells.values()) for method, cells in rows.items()
    }
    more = [TALLY, *(["Cost"] if any(costs.values()) else [])]
    heads += [f'<th scope="col" data-kind="number">{head}</th>' for head in more]
    lines = []
    for method, cells in sorted(rows.items()):
        lines.append(
            _line(method, cells, tasks, [tally(one.verdict for one in cells.values()), costs[method]][: len(more)])
        )
    body = "\n".join(lines)
    yield f'<details class="family" open data-family="{MATRIX}"><summary><h2>{MATRIX}</h2></summary>'
    yield f'<div class="wide"><table class="rows matrix"><thead><tr>{"".join(heads)}</tr></thead>\n<tbody>\n{body}'
    yield f"</tbody></table></div></details>\n{blocks([LEGEND])}{below}"
    if any('class="n unfit"' in line for line in lines):
        yield "<p>Hatched: the method cannot be applied. Empty: not run.</p>"


def _line(method: str, cells: Mapping[int, Compared], tasks: Sequence[Task], last: Sequence[str]) -> str:
    """A method and what it does on each task."""
    row = next(iter(cells.values())).row
    inner = "".join(_cell(cells.get(place), task, method) for place, task in enumerate(tasks))
    inner += "".join(f'<td class="n">{cell}</td>' for cell in last)
    return f'<tr><th scope="row">{method_name(method, row.first.spec.method)}</th>{inner}</tr>'


def _cell(one: Compared | None, task: Task, method: str) -> str:
    """The sign of a verdict and the difference, with a link to the row; empty where the method was not run."""
    about = {"class": "n"}
    if one is None:
        unfit = method in task.unfit
        about |= {"class": "n unfit", "title": "cannot be applied"} if unfit else {}
        return f"<td{attributes(about)}></td>"
    told = str(one.verdict)
    shown = marked(told_together(one.verdict), mean_of(one.difference), one.row.unit(one.row.ranked_by))
    address = f"{task.source.address}#r{one.row.first.key}"
    about |= {"class": f"n mark {CLASSES[one.verdict]}", "title": f"{method} on {task.title}: {told}"}
    return f'<td{attributes(about)}><a href="{text(address)}">{text(shown)}</a></td>'


def _cards(problems: Mapping[str, Mapping[str, PageSummary]], addresses: Mapping[str, str]) -> Iterator[str]:
    """A card for each problem, with what each page would have somebody run."""
    if not problems:
        return
    yield f"<h2>{TITLE}</h2>"
    yield '<div class="cards">'
    for place, (problem, pages) in enumerate(problems.items()):
        inner = "\n".join(_advice(page, addresses[name]) for name, page in pages.items())
        yield f'<section class="card" id="card{place}"><h3>{text(problem)}</h3>\n{inner}</section>'
    yield "</div>"


def _advice(page: PageSummary, address: str) -> str:
    """What to do on the data set of a page."""
    advice = page.advice
    protocol = capital(page.protocol.partition("/")[0].replace("_", " "))
    begin = f'<a href="{address}">{text(protocol)} on {text(page.dataset)}</a>'
    name = f"<b>{text(advice.name)}</b>" if advice.name else ""
    commands = [f'<p><code class="command">{text(command)}</code></p>' for command in advice.commands]
    return "\n".join([f"<p>{begin}: {text(advice.before)}{name}{text(advice.after)}.</p>", *commands])
