"""The front page: what is measured, which method helps where, and the answer of each task. A pure function of the
summaries of the pages. Nothing here imports torch.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from bench.tables.cells import ARROWS
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
    "A cell is the difference from the baseline in the task's first metric, in points. ↑ marks metrics of which more "
    "is better, ↓ those of which less is. ▲ better and ▼ worse by more "
    "than chance (p < 0.05 after Holm's correction within the task), · not separated, = trains exactly as the "
    "baseline, ≈ not shown to be more accurate than a constant prediction, ? too few seeds."
)
CHANCE = "°"
"""What stands behind the head of a task whose baseline has no disparity above that of chance."""
AT_CHANCE = f"{CHANCE} The baseline has no disparity above that of chance, so that this task cannot say what lowers it."
TALLY = "Better · not separated · worse"
"""The head of the column that counts verdicts."""
LEGEND = (
    "Methods stand in the order of their names: tasks ask different questions, so there is no single score. **Cost** "
    "is the median over the tasks of the training time relative to the baseline's. Methods that train exactly as the "
    "baseline count as not separated."
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
        pictures: the files of the pages' pictures, of which the one of the task is shown that the answer names first.
        others: the files of further pages, such as that of the throughput.
        board: the table of the throughput.
        across: the section of the methods across tasks.

    Returns:
        Markdown.
    """
    lines = [f"{MARK}# Leaderboards", "", f"**{plain(answer(pages))}**", "", *INTRODUCTION, ""]
    for shown in pictured(pages):
        if (picture := picture_of(shown)) in pictures:
            lines += ["!" + link(f"Paired differences from the baseline: {plain(pages[shown].title)}", picture), ""]
            break
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


def pictured(pages: Mapping[str, PageSummary]) -> list[str]:
    """The pages in the order in which their pictures are wanted: those that the answer names, and then those with the
    most rows.

    Args:
        pages: file name -> summary.
    """
    named = [name for name, page in sorted(pages.items()) if _is_decidable(page) and _won(page)]
    others = sorted(pages, key=lambda page: (_tested(pages[page]), page), reverse=True)
    return list(dict.fromkeys([*named, *others]))


def answer(pages: Mapping[str, PageSummary]) -> str:
    """On how many tasks some method is better than the baseline, and at what price, as plain text. A protocol and a
    data set are one task here, whatever options they have.

    Args:
        pages: file name -> summary.
    """
    if not any(_is_compared(task) for page in pages.values() for task in page.tasks):
        return "No method is compared with a baseline yet."
    decided = [page for _, page in sorted(pages.items()) if _is_decidable(page)]
    if not decided:
        return "No task has what a verdict takes yet."
    won = [
        f"{of.name} on {_name(page, task)}{f' ({of.gain})' if of.gain else ''}"
        for page in decided
        for task, of in _won(page)[:1]
    ]
    of = "the one task" if len(decided) == 1 else f"the {len(decided)} tasks"
    of = f"{len(won)} of {of}" if 0 < len(won) < len(decided) else of
    all_of = f" (of {len(pages)})" if len(pages) > len(decided) else ""
    said = f"On {of} that can be decided so far{all_of},"
    said += f" {'a' if won else 'no'} method, in its default configuration, beats the baseline by more than chance"
    which = f": {'; '.join(won[:NAMED])}{'; and others' if len(won) > NAMED else ''}" if won else ""
    return f"{said}{which}."


def _name(page: PageSummary, task: TaskSummary) -> str:
    """What a task is called in a sentence."""
    title = page.title[:1].lower() + page.title[1:]
    return f"{title}, {task.task}" if task.task else title


def _won(page: PageSummary) -> list[tuple[TaskSummary, RowSummary]]:
    """The methods of a page that are better than the baseline, in their default configuration, with their tasks."""
    tasks = [task for task in page.tasks if _is_decided(task)]
    return [(task, row) for task in tasks for row in task.rows if row.verdict == Verdict.BETTER]


def _is_decidable(page: PageSummary) -> bool:
    """Whether some task of a page has what a verdict takes."""
    return any(_is_decided(task) for task in page.tasks)


def _is_decided(task: TaskSummary) -> bool:
    """Whether methods are compared over seeds enough, and there is something to gain."""
    found = [row for row in task.rows if row.difference is not None and row.verdict not in (*UNTOLD, Verdict.FEW)]
    return task.main and bool(found) and not task.at_chance


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
    links = [link(plain(task_title(page, task.task)), name) for name, page, task in tasks]
    heads = ["Method", *(f"{of} {plain(metric_head(task))}" for of, (_, _, task) in zip(links, tasks, strict=True))]
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
        *table([*heads, TALLY, "Cost"], cells),
        "",
        *notes(pages),
    ]


def notes(pages: Mapping[str, PageSummary]) -> list[str]:
    """What stands below the matrix: what its marks mean, and which pages are in none of its columns.

    Args:
        pages: file name -> summary.
    """
    lines = []
    if any(task.at_chance for page in pages.values() for task in page.tasks if _is_compared(task)):
        lines += [AT_CHANCE, ""]
    others = [(name, page) for name, page in sorted(pages.items()) if not any(map(_is_compared, page.tasks))]
    if others:
        named = "; ".join(link(plain(task_title(page, "")), name) for name, page in others)
        lines += [f"In no column, as no method in its default configuration is compared there: {named}.", ""]
    return lines


def metric_head(task: TaskSummary) -> str:
    """What the cells of a task are differences in: the metric, its better direction, and the mark of a task whose
    question has no answer.

    Args:
        task: the task.
    """
    unit = "" if task.unit == "%" else f" ({task.unit})"
    return f"{task.metric}{unit}{ARROWS[task.higher]}{f' {CHANCE}' if task.at_chance else ''}"


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
    open_ones = found[Verdict.OPEN] + found[Verdict.IDENTICAL]
    return f"{found[Verdict.BETTER]} · {open_ones} · {found[Verdict.WORSE]}"


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
