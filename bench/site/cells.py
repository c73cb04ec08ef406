"""The columns of a table of rows, cell by cell: the numbers of the markdown pages. Nothing here imports torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.metrics import metric_of
from bench.site.drawing import CLASSES, Scale
from bench.site.intervals import CUT, axis, is_cut, picture, shared_scale
from bench.site.text import breakable, text, title
from bench.tables.answers import SEEDS_ALONE
from bench.tables.cells import change_of, costs_of, head_of, rank_of, value_of, wins_of
from bench.tables.comparisons import cell as difference_and_p
from bench.tables.conclusions import Compared, Verdict
from bench.tables.names import Names
from bench.tables.pages.beside import rows_beside
from bench.tables.pages.front import SIGNS
from bench.tables.pages.ranking import DEFAULT, MOST, RankedFamily, over_seeds, told_beside
from bench.tables.rows import ACCURACY, MARKS, Row, scale_of
from bench.tables.stats.paired import PairedDifference
from bench.tables.wording import described

SEEDS = 30
"""So many values are told when the pointer rests on a mean."""
ABOUT_HEADS = {
    "#": "the ranks that it may have: rows that are not separated share them",
    "p": "of the difference from the baseline, corrected for all tests of the table (Holm)",
    SEEDS_ALONE: "the interval over the seeds alone; that of Δ has the error of the test samples too",
    "Verdict": "better or worse: by more than chance, p below 0.05",
    "Better in": "the share of the seeds with which it is better than the baseline",
    "Cost": "training time relative to the baseline's on the same machine",
    "Val": "whether the training uses the validation data",
}
"""Head of a column -> what is told when the pointer rests on it."""
ABOUT_DIFFERENCE = "the mean difference from the baseline over the seeds of both; in brackets its 95 % interval alone"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: its head, of any origin.
        cells: HTML of each row.
        hints: what is told of each cell when the pointer rests on it, as an attribute; empty for nothing.
        below: HTML below the head.
        kind: `number`, `interval`, `words` or `name`.
        about: what is told when the pointer rests on the head; of any origin, empty for nothing.
        more: what it is a further one of, where it may be hidden in a table that is too wide: `metric` or `seeds`.
    """

    head: str
    cells: Sequence[str]
    hints: Sequence[str] = ()
    below: str = ""
    kind: str = "number"
    about: str = ""
    more: str = ""


@dataclass(frozen=True)
class Shown:
    """The rows of a family that its table shows.

    Attributes:
        family: the family.
        names: of its rows.
        compared: the rows.
        tasks: what tells the task of each row from the others of the page.
        left_out: how many more rows there are.
    """

    family: RankedFamily
    names: Names
    compared: Sequence[Compared]
    tasks: Sequence[str]
    left_out: int = 0
    metrics: Sequence[str] = field(default=())

    @classmethod
    def of(cls, family: RankedFamily, names: Names) -> "Shown":
        """The first rows of a family.

        Args:
            family: the family.
            names: of its rows.
        """
        every = [(task, one) for task, of_task in family.of_tasks for one in of_task]
        metrics = dict.fromkeys(metric for _, one in every for metric in one.row.first.about.metrics)
        tasks, compared = zip(*every[:MOST], strict=True)
        return cls(family, names, compared, tasks, max(0, len(every) - MOST), list(metrics))

    @property
    def rows(self) -> list[Row]:
        """The rows."""
        return [one.row for one in self.compared]

    def unit(self, metric: str) -> str:
        """The unit of a metric."""
        return next((row.unit(metric) for row in self.rows), "%")


def columns_of(shown: Shown) -> list[Column]:
    """The columns of a table. Those without any text are left out.

    Args:
        shown: the rows.
    """
    return [column for column in _columns(shown) if any(column.cells)]


def _columns(shown: Shown) -> Iterator[Column]:
    compared, first = shown.compared, shown.metrics[0]
    if any(shown.tasks):
        yield Column("Task", [breakable(task) or DEFAULT for task in shown.tasks], kind="words")
    yield Column("#", _ranks(shown))
    yield Column("Method", [_name(one, shown.names) for one in compared], kind="name")
    yield _metric(shown, first)
    yield from _difference(shown, first)
    yield Column("Verdict", [verdict_mark(one.verdict) + _badge(one) for one in compared], kind="words")
    for metric in shown.metrics[1:]:
        if metric == ACCURACY:
            yield _metric(shown, metric)
            yield _change(shown)
        else:
            yield replace(_metric(shown, metric), more="metric")
    yield Column("Better in", [wins_of(one) for one in compared])
    yield Column("Seeds", [str(len(one.row.values(first, shown.family.rule))) for one in compared])
    yield Column("Cost", costs_of(compared))
    yield Column("Val", ["yes" if one.row.uses_val else "no" for one in compared], kind="words")


def _ranks(shown: Shown) -> list[str]:
    """The ranks of the rows; none in a task with one ranked row alone."""
    told = []
    for _, of_task in shown.family.of_tasks:
        alone = sum(one.ranks is not None for one in of_task) == 1
        told += ["" if alone and one.ranks else rank_of(one) for one in of_task]
    return told[: len(shown.compared)]


def _name(one: Compared, names: Names) -> str:
    """The name of a row, which leads to what else is known of it."""
    name = method_name(names.plain(one.row), one.row.first.spec.method)
    return f'<a class="to-row" href="#r{one.row.first.key}">{name}</a>'


def method_name(name: str, method: str) -> str:
    """The name of a row: that of its method, and smaller what else is in it.

    Args:
        name: of the row, of any origin.
        method: what it begins with.
    """
    rest = name.removeprefix(method)
    if not rest or set(rest.split()) <= set(MARKS):
        return f"<b>{text(method)}</b>{text(rest)}"
    return f"<b>{text(method)}</b><small>{breakable(rest)}</small>"


def verdict_mark(verdict: Verdict) -> str:
    """A verdict in words, with its sign.

    Args:
        verdict: the verdict.
    """
    if verdict is Verdict.NONE:
        return ""
    sign = SIGNS.get(verdict, "")
    words = str(verdict).removeprefix(sign).strip()
    shown = f"<i>{text(sign)}</i> {text(words)}" if sign else text(words)
    return f'<span class="mark {CLASSES[verdict]}">{shown}</span>'


def _badge(one: Compared) -> str:
    """How many selected models predict one class for all samples; nothing where none does."""
    constant, seeds = len(one.row.constant(one.rule)), len(one.row.values(one.row.ranked_by, one.rule))
    if not constant:
        return ""
    hint = "the selected models of so many seeds predict one and the same class for every test sample"
    return f' <span class="badge" title="{hint}">one class: {constant} of {seeds}</span>'


def _metric(shown: Shown, metric: str) -> Column:
    """The means of a metric, with the value of each seed."""
    unit, rule = shown.unit(metric), shown.family.rule
    values = [row.values(metric, rule) for row in shown.rows]
    cells = [text(value_of(row, metric, rule)) if of else "" for row, of in zip(shown.rows, values, strict=True)]
    return Column(
        head_of(shown.compared, metric),
        cells,
        [hint(of_row, unit) for of_row in values],
        about=described(shown.rows[0].first.about).get(metric_of(metric), ""),
    )


def hint(values: Mapping[int, float], unit: str, form: str = ".2f") -> str:
    """The value of each seed, as an attribute.

    Args:
        values: by seed.
        unit: of the metric.
        form: of a number.
    """
    return title([seeds_told(values, unit, form)] if values else [])


def seeds_told(values: Mapping[int, float], unit: str, form: str = ".2f") -> str:
    """The value of each seed, in a line.

    Args:
        values: by seed, one or more.
        unit: of the metric.
        form: of a number.
    """
    factor = scale_of(unit)
    told = {
        seed: f"{factor * values[seed]:{form}}" if math.isfinite(values[seed]) else "undefined"
        for seed in sorted(values)[:SEEDS]
    }
    more = f" and {len(values) - SEEDS:,} more" if len(values) > SEEDS else ""
    if list(told) == list(range(len(told))):
        begin = f"seeds 0 to {len(told) - 1}: " if len(told) > 1 else "seed 0: "
        return f"{begin}{', '.join(told.values())}{more}"
    return f"{', '.join(f'seed {seed}: {value}' for seed, value in told.items())}{more}"


def _difference(shown: Shown, metric: str) -> Iterator[Column]:
    """The paired differences on one scale, and their p."""
    unit = shown.unit(metric)
    factor = scale_of(unit)
    scale = shared_scale([one.difference for one in shown.compared], factor)
    if scale is None:
        return
    cells = [_interval(one, scale, factor) for one in shown.compared]
    hints = []
    for one in shown.compared:
        values = _differences(one, metric) if one.difference else {}
        told = [seeds_told(values, unit, "+.2f")] if values else []
        cut = one.difference is not None and is_cut(one.difference, scale, factor)
        hints.append(title([*told, *([CUT] if cut else [])]))
    yield Column(f"Δ {metric}", cells, hints, axis(scale), "interval", ABOUT_DIFFERENCE)
    yield Column(SEEDS_ALONE, [text(over_seeds(one, unit)) for one in shown.compared], more="seeds")
    yield Column("p", ["" if math.isnan(one.p) else _p(one.p) for one in shown.compared])


def _interval(one: Compared, scale: Scale, factor: int) -> str:
    if one.difference is None or math.isnan(one.difference.mean):
        return ""
    words = difference_and_p(one.difference, math.nan, factor)
    return f"{picture(one.difference, one.verdict, scale, factor)} <span>{text(words)}</span>"


def _p(p: float) -> str:
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def _differences(one: Compared, metric: str) -> dict[int, float]:
    """The row minus its baseline, by seed."""
    assert one.baseline is not None
    ours, theirs = one.row.values(metric, one.rule), one.baseline.values(metric, one.rule)
    return {seed: ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()}


def _change(shown: Shown) -> Column:
    """The differences in accuracy, in points."""
    known = [one.accuracy if one.accuracy and not math.isnan(one.accuracy.mean) else None for one in shown.compared]
    cells = [change_of(one) for one in shown.compared]
    told = [
        _interval_and_seeds(one, change) if change else "" for one, change in zip(shown.compared, known, strict=True)
    ]
    return Column(f"Δ {ACCURACY}", cells, told)


def _interval_and_seeds(one: Compared, change: PairedDifference) -> str:
    """The interval of a difference in accuracy, which its column has not, and that of each seed, as an attribute."""
    lines = [f"95 % interval: {100 * change.low:+.2f} to {100 * change.high:+.2f}"] * math.isfinite(change.low)
    return title([*lines, seeds_told(_differences(one, ACCURACY), "%", "+.2f")])


def cells_beside(shown: Shown, columns: Sequence[Column]) -> Iterator[tuple[str, list[str], list[str]]]:
    """What the rows of each task stand beside: of each its kind, its cells, and what is told of each of these.

    Args:
        shown: the rows.
        columns: those of the table.
    """
    for task, of_task in shown.family.of_tasks:
        if task not in shown.tasks:
            continue
        for one in rows_beside(of_task, shown.family.rule, shown.names):
            cells = {"Task": breakable(task) or DEFAULT, "#": "–", "Method": f"<em>{text(one.name)}</em>"}
            cells |= {"Verdict": one.kind, "Seeds": str(one.seeds)}
            told = {}
            for metric, values in one.values.items():
                head, unit = head_of(shown.compared, metric), shown.unit(metric)
                cells[head] = told_beside(one, values, unit)
                told[head] = hint(dict(enumerate(values)), unit)
            yield (
                one.kind.partition(" ")[0],
                [cells.get(column.head, "") for column in columns],
                [told.get(column.head, "") for column in columns],
            )
