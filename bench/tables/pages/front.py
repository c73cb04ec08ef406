"""The front page: what is measured, which method helps where, and the answer of each task. A pure function of the
summaries of the pages. Nothing here imports torch.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench.tables.conclusions import Verdict
from bench.tables.markdown import MARK, link, plain, table
from bench.tables.pages.cards import cards
from bench.tables.rows import scale_of
from bench.tables.summary import PageSummary, RowSummary, TaskSummary

SIGNS = {
    Verdict.BETTER: "▲",
    Verdict.WORSE: "▼",
    Verdict.OTHER: "◆",
    Verdict.OPEN: "·",
    Verdict.IDENTICAL: "=",
    Verdict.FEW: "?",
    Verdict.CONSTANT: "≈",
}
"""What stands before a difference."""
UNTOLD = (Verdict.BASELINE, Verdict.NONE, Verdict.UNDEFINED)
"""Verdicts of rows that the matrix leaves out."""
NAMED = 3
"""Of so many tasks the best method is named."""
INTRODUCTION = (
    "Methods that reweight training data, compared with plain training on the same data, seeds and updates.",
    "",
    "Every number is computed from the records in `results/`, each of which names the command that made it.",
)
MADE = "`bench show RUN` shows a record, and `bench leaderboard` makes these pages."
BOARD = (
    "The time of a training step relative to plain training, and in brackets that of the fastest other implementation "
    "that computes the same update. [The page](throughput.md) has the conditions, memory and quartiles."
)
CELLS = (
    "A cell is the difference from the baseline in the task's first metric, in points. ▲ better and ▼ worse by more "
    "than chance (p < 0.05 after Holm's correction within the task), · not separated, = trains exactly as the "
    "baseline, ≈ not shown to be more accurate than a constant prediction, ? too few seeds."
)
LEGEND = (
    "Methods stand in the order of their names: tasks ask different questions, so there is no single score. **Cost** "
    "is the median over the tasks of the training time relative to the baseline's."
)


def front(
    pages: Mapping[str, PageSummary],
    pictures: Sequence[str] = (),
    others: Sequence[str] = (),
    board: Sequence[str] = (),
    across: Sequence[str] = (),
) -> str:
    """The front page.

    Args:
        pages: file name -> summary.
        pictures: the files of the pages' pictures, of which the one with the most rows is shown.
        others: the files of further pages, such as that of the throughput.
        board: the table of the throughput.
        across: the section of the methods across tasks.

    Returns:
        Markdown.
    """
    lines = [f"{MARK}# Leaderboards", "", f"**{plain(answer(pages))}**", "", *INTRODUCTION, ""]
    if pages:
        shown = max(pages, key=lambda page: (_tested(pages[page]), page))
        if (picture := picture_of(shown)) in pictures:
            lines += ["!" + link(f"Paired differences from the baseline: {plain(pages[shown].title)}", picture), ""]
    lines += [*_matrix(pages), *_answers(pages), *cards(pages), *across]
    if board:
        lines += ["## Cost of a step", "", BOARD, "", *board, ""]
    lines += _ledger(pages)
    if others:
        lines += ["## Further pages", "", *(f"- {link(plain(name.removesuffix('.md')), name)}" for name in others), ""]
    return "\n".join(lines)


def picture_of(page: str) -> str:
    """The file of the picture of a page.

    Args:
        page: the file name of the page.
    """
    return f"forests/{page.removesuffix('.md')}.svg"


def answer(pages: Mapping[str, PageSummary]) -> str:
    """On how many tasks some method is better than the baseline, as plain text.

    Args:
        pages: file name -> summary.
    """
    tasks = [(page, task) for _, page in sorted(pages.items()) for task in page.tasks if _is_compared(task)]
    if not tasks:
        return "No method is compared with a baseline yet."
    better = [(page, [row for row in task.rows if row.verdict == Verdict.BETTER]) for page, task in tasks]
    won = [f"{rows[0].name} on {page.title.lower()}" for page, rows in better if rows]
    said = f"Of {len(tasks)} task{'s' if len(tasks) > 1 else ''}, {len(won) or 'none'}"
    said += f" {'have' if len(won) > 1 else 'has'} a method that, in its default configuration,"
    said += " beats plain training by more than chance"
    which = f": {'; '.join(won[:NAMED])}{'; and others' if len(won) > NAMED else ''}" if won else ""
    return f"{said}{which}."


def _tested(page: PageSummary) -> int:
    """How many rows of the first task of a page are compared with a baseline."""
    return sum(row.difference is not None for task in page.tasks[:1] for row in task.rows) if page.tasks else 0


def _matrix(pages: Mapping[str, PageSummary]) -> list[str]:
    """Methods by tasks, in their default configuration."""
    tasks = [(name, page, task) for name, page in sorted(pages.items()) for task in page.tasks if _is_compared(task)]
    rows: dict[str, dict[int, RowSummary]] = {}
    for place, (_, _, task) in enumerate(tasks):
        for row in task.rows:
            if row.verdict not in UNTOLD:
                rows.setdefault(row.name, {})[place] = row
    if not rows:
        return []
    heads = ["Method", *(link(plain(task_title(page, task.task)), name) for name, page, task in tasks)]
    cells = [
        [
            plain(method),
            *(_cell(of.get(place), task.unit) for place, (_, _, task) in enumerate(tasks)),
            tally(row.verdict for row in of.values()),
            median_cost(row.cost for row in of.values()),
        ]
        for method, of in sorted(rows.items())
    ]
    return [
        "## Methods by tasks",
        "",
        f"{CELLS} {LEGEND}",
        "",
        *table([*heads, "Better · level · worse", "Cost"], cells),
        "",
    ]


def _is_compared(task: TaskSummary) -> bool:
    """Whether methods in their default configuration are compared with a baseline."""
    return task.main and any(row.difference is not None for row in task.rows)


def task_title(page: PageSummary, task: str) -> str:
    """What a column of the matrix is called.

    Args:
        page: of the task.
        task: what tells it from the others of the page; empty where there are none.
    """
    name = f"{page.protocol.partition('/')[0].replace('_', ' ')}, {page.dataset}"
    return f"{name}, {task}" if task else name


def _cell(row: RowSummary | None, unit: str) -> str:
    """What a method does on a task; empty where it was not run."""
    return "" if row is None else marked(Verdict(row.verdict), row.difference, unit)


def marked(verdict: Verdict, difference: float | None, unit: str) -> str:
    """The sign of a verdict and the difference.

    Args:
        verdict: the verdict.
        difference: in the metric that ranks; None where it is not defined.
        unit: of its values.
    """
    sign = SIGNS.get(verdict, "")
    if difference is None or verdict is Verdict.IDENTICAL:
        return sign
    return f"{sign} {scale_of(unit) * difference:+.2f}".strip()


def tally(verdicts: Iterable[str]) -> str:
    """How often a method is better, not separated, and worse.

    Args:
        verdicts: one for each task.
    """
    found = Counter(verdicts)
    level = found[Verdict.OPEN] + found[Verdict.IDENTICAL]
    return f"{found[Verdict.BETTER]} · {level} · {found[Verdict.WORSE]}"


def median_cost(costs: Iterable[float | None]) -> str:
    """The median over the tasks of the training time relative to the baseline's; empty where none is known.

    Args:
        costs: one for each task, None where it is not known.
    """
    known = [cost for cost in costs if cost is not None]
    return f"{median(known):.2f} ×" if known else ""


def _answers(pages: Mapping[str, PageSummary]) -> list[str]:
    """A line for each task, with the answer."""
    lines = []
    for name, page in sorted(pages.items()):
        head = link(f"**{plain(page.title)}**", name)
        said = [(task, task.answer) for task in page.tasks if task.answer]
        if len(said) == 1:
            lines.append(f"- {head}: {said[0][1]}")
        elif said:
            alike: dict[str, list[str]] = defaultdict(list)
            for task, answer in said:
                alike[answer].append(plain(task.task) or "default")
            lines.append(f"- {head}:")
            lines += [f"  - {'; '.join(of)}: {answer}" for answer, of in alike.items()]
        else:
            lines.append(f"- {head}: no method is compared with a baseline.")
    return ["## Answers", "", *lines, ""]


def _ledger(pages: Mapping[str, PageSummary]) -> list[str]:
    """How much there is."""
    runs, failed = sum(page.runs for page in pages.values()), sum(page.failed for page in pages.values())
    methods = {method for page in pages.values() for method in page.methods}
    text = (
        f"{runs:,} finished runs of {len(methods)} methods on {len(pages)} pages; {failed:,} failed or not applicable."
    )
    return ["## Ledger", "", f"{text} {MADE}", ""]
