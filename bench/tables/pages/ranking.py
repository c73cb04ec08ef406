"""The tables of a page: families of rows beside their baselines. Nothing here imports torch."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from bench.records.run import rule_name
from bench.records.selections import RESAMPLES
from bench.tables.answers import SEEDS_ALONE
from bench.tables.cells import OWN_FLOOR_MARK, change_of, costs_of, head_of, rank_of, value_of, wins_of
from bench.tables.comparisons import CONCLUSIVE, baselines_of, cell, ranked, rules_of
from bench.tables.conclusions import MOST_RANKED, Compared, Verdict, conclude
from bench.tables.families import families_of
from bench.tables.markdown import plain, table
from bench.tables.names import Names
from bench.tables.pages.beside import FLOOR, Beside, rows_beside, training_alone
from bench.tables.pages.nearer import NEARER, nearer_to_constant
from bench.tables.pages.seeds import OTHER_SEEDS, other_seeds
from bench.tables.rows import ACCURACY, Row, mean_and_error, scale_of
from bench.tables.stats.paired import FEWEST
from bench.tables.wording import capital
from bench.text import join_first

CONSTANT = (
    "These selected models predict one and the same class for every test sample, so their numbers say nothing about "
    "what was learned:"
)


DEFAULT = "default"
"""What the task is called whose options are the defaults of the protocol."""
MOST = 100
"""More rows of one table are left to `bench export`."""
WITH_OPTIONS = "methods with their options"
"""The title of the rows of tasks whose methods all have options, beside those of tasks where they have none."""
Ranked = Sequence[tuple[str, Sequence[Compared]]]
"""For each task of a page, what tells it from the others, and the rows of one family, compared."""


@dataclass(frozen=True)
class RankedFamily:
    """The rows of one family on all tasks of a page, compared under one selection rule.

    Attributes:
        title: of the family; empty for the main one.
        main: whether it is the question that the protocol asks (`Family.main`).
        rule: the selection rule.
        of_tasks: the rows.
    """

    title: str
    main: bool
    rule: str
    of_tasks: Ranked


def by_task(rows: Iterable[Row]) -> dict[str, Sequence[Row]]:
    """The rows of each task of a page, by what tells it from the others.

    Args:
        rows: those of the page.
    """
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.variant].append(row)
    return dict(sorted(found.items()))


def ranked_families(tasks: Mapping[str, Sequence[Row]]) -> list[RankedFamily]:
    """All families of the tasks of a page under each selection rule, the one that the answer is about first.

    Args:
        tasks: what tells each task from the others -> its rows.
    """
    families: dict[tuple[bool, str], dict[str, Sequence[Row]]] = defaultdict(dict)
    of_each = {task: families_of(rows) for task, rows in tasks.items()}
    has_main = any(family.main for of_task in of_each.values() for family in of_task)
    for task, of_task in of_each.items():
        for family in of_task:
            title = family.title or ("" if family.main or not has_main else WITH_OPTIONS)
            families[not family.main, title][task] = family.rows
    found = []
    for (exploratory, title), of_tasks in sorted(families.items(), key=itemgetter(0)):
        for rule in rules_of([row for rows in of_tasks.values() for row in rows]):
            compared = [(task, conclude(rows, rule, _baselines(tasks[task], rule))) for task, rows in of_tasks.items()]
            if any(rows for _, rows in compared):
                found.append(RankedFamily(title, not exploratory, rule, [one for one in compared if one[1]]))
    return found


def _baselines(rows: Sequence[Row], rule: str) -> dict[Row, Row | None]:
    """What each row of a task is compared with, in whatever family that is."""
    applicable = ranked(rows, rule)
    return dict(zip(applicable, baselines_of(applicable), strict=True))


def heading(family: RankedFamily) -> str:
    """The heading of the table of a family.

    Args:
        family: the family.
    """
    told = ": ".join(filter(None, [titled(family), rule_name(family.rule)]))
    return told[0].upper() + told[1:] if family.title == WITH_OPTIONS else capital(told)


def titled(family: RankedFamily) -> str:
    """The title of a family, with the tasks that it is of where these alone tell it from the main one.

    Args:
        family: the family.
    """
    if family.title != WITH_OPTIONS:
        return family.title
    return f"{family.title}, {join_first([task or DEFAULT for task, _ in family.of_tasks], 2)}"


def family_table(family: RankedFamily, names: Names) -> list[str]:
    """The lines of the table of a family, with what has to be known of its rows below it.

    Args:
        family: the rows, compared.
        names: of the rows.
    """
    compared = [one for _, of_task in family.of_tasks for one in of_task]
    rows = [one.row for one in compared[:MOST]]
    columns = {head: cells for head, cells in _columns(family, names) if any(cells)}
    left = len(compared) - MOST
    more = [f"{left:,} more {'row is' if left == 1 else 'rows are'} in `bench export`.", ""] if left > 0 else []
    lines = list(zip(*(cells[:MOST] for cells in columns.values()), strict=True))
    lines += [tuple(cells.get(head, "") for head in columns) for cells in _beside(family, names)]
    more += training_alone(compared)
    more += _other_seeds(compared[:MOST], names) + _nearer(compared[:MOST], names)
    return [*table(list(columns), lines), "", *more, *_warning(rows, family.rule, names), *_used(rows, names)]


def _columns(family: RankedFamily, names: Names) -> Iterator[tuple[str, list[str]]]:
    """The columns of a table. Those without any text are left out."""
    rule = family.rule
    compared = [one for _, of_task in family.of_tasks for one in of_task]
    rows = [one.row for one in compared]
    first, *others = dict.fromkeys(metric for row in rows for metric in row.first.about.metrics)
    units = {metric: next((row.unit(metric) for row in rows), "%") for metric in (first, *others)}

    def values(metric: str) -> tuple[str, list[str]]:
        return plain(head_of(compared, metric)), [value_of(row, metric, rule) for row in rows]

    tasks = [task for task, of_task in family.of_tasks for _ in of_task]
    if any(tasks):
        yield "Task", [plain(task) or DEFAULT for task in tasks]
    yield "#", [rank_of(one) for one in compared]
    yield "Method", [names(row) for row in rows]
    yield values(first)
    yield f"Δ {plain(first)}", [_difference(one, units[first]) for one in compared]
    yield SEEDS_ALONE, [over_seeds(one, units[first]) for one in compared]
    said = any(one.verdict not in (Verdict.NONE, Verdict.BASELINE) for one in compared)
    yield "Verdict", [one.verdict for one in compared] if said else []
    for metric in others:
        yield values(metric)
        if metric == ACCURACY:
            yield f"Δ {metric}", [change_of(one) for one in compared]
    yield "Better in", [wins_of(one) for one in compared]
    yield "Seeds", [str(len(row.values(first, rule))) for row in rows]
    yield "Cost", costs_of(compared)
    yield "Val", ["yes" if row.uses_val else "no" for row in rows]


def _beside(family: RankedFamily, names: Names) -> Iterator[dict[str, str]]:
    """The cells of what the rows of each task stand beside, by the head of their column."""
    for task, of_task in family.of_tasks:
        for one in rows_beside(of_task, family.rule, names):
            cells = {"Task": plain(task) or DEFAULT, "#": "–", "Method": f"*{plain(one.name)}*", "Verdict": one.kind}
            for metric, values in one.values.items():
                cells[plain(head_of(of_task, metric))] = told_beside(one, values, of_task[0].row.unit(metric))
            yield cells | {"Seeds": str(one.seeds)}


def told_beside(one: Beside, values: Sequence[float], unit: str) -> str:
    """A value of a row that the others stand beside. The noise floor is an expectation, and has no error.

    Args:
        one: the row.
        values: of a metric.
        unit: of the metric.
    """
    told = mean_and_error(values, unit)
    return told.partition(" ")[0] if one.kind == FLOOR else told


def _difference(one: Compared, unit: str) -> str:
    """The difference in the metric that ranks, with its interval and its p."""
    if one.difference is None:
        return ""
    return cell(one.difference, one.p, scale_of(unit))


def over_seeds(one: Compared, unit: str) -> str:
    """The interval of the difference over the seeds alone, where the samples of the test set make it wider; empty
    elsewhere.

    Args:
        one: the row.
        unit: of the metric that ranks.
    """
    found = one.difference
    if found is None or not found.test_se:
        return ""
    if math.isnan(found.seeds_low):
        return "none"
    scale = scale_of(unit)
    return f"[{scale * found.seeds_low:+.2f}, {scale * found.seeds_high:+.2f}]"


OWN_FLOOR = (
    "Behind the value of a disparity stands its noise floor, such as `(≤ 7.14)`, where the mean is not above it: what "
    "the disparity is on average, by chance alone, where all groups have the rate that this row has over all of them. "
    "Such a value shows no disparity; nor does it show that there is none."
)
METRIC, SECOND = "Each metric", f"Δ {ACCURACY}"
NOTES = {
    "Task": "The options of the data set and of the protocol that differ from their defaults, which make another "
    "task. `default` has none of them.",
    "#": "The ranks that the row may have. All ranked rows of a task are compared in pairs over their common seeds. "
    "The best rank is 1 plus the number of rows that are better, the worst is the number of ranked rows minus that "
    "of those that are worse; a difference counts where p < 0.05 after Holm's correction for all pairs. Rows that "
    "are not separated so share their ranks, such as `1–4`. The verdict is of fewer tests, those with the baseline "
    "alone: a row that is `better` or `worse` may share ranks with the baseline. A dash stands for a row that is not "
    "ranked: it has fewer seeds than others or an undefined value, or it is not shown to be more accurate than a "
    "constant prediction. "
    f"Where there are more than {MOST_RANKED} rows, or neither direction of the first metric is the better one, no "
    "row is ranked.",
    "Method": "The method, in brackets its options that differ from their defaults, and in parentheses what differs "
    "from the recipe. The rows are in the order of Δ, in which a baseline and a row without one count as 0, and then "
    "in that of the first metric's mean. Rows with undefined values or no more accurate than a constant prediction "
    "come last. The row called *always* and a class is the best constant prediction: it gives every test sample the "
    "class that most training samples have, so that its accuracy is the share of this class in the test set. The row "
    "called *groups alike* is the noise floor of a disparity: what it is on average, by chance alone, where all groups "
    "have the rate that the baseline has over all of them. That of another row is at its own rate.",
    METRIC: "Its value on the test set (of `set/metric`, on that set), as mean ± standard error over the seeds of "
    "the row. Values are in percent unless the heading names a unit. ↑ marks metrics of which more is better, ↓ "
    "those of which less is. The standard error is the sample standard deviation (n - 1) divided by the root of the "
    "number of seeds n. It shows how much the seeds differ: unlike the interval of Δ, it has neither what overlapping "
    "splits add nor the error of the test samples, and is too small for a conclusion about unseen data.",
    "Δ": "The paired difference in the first metric: the row minus its baseline, over the seeds that both have; `0` "
    "means that it is zero for each of them. In brackets is its 95 % Student-t interval, which holds for this "
    f"difference alone; {FEWEST} common seeds are needed. p is adjusted for all differences of the task in this table "
    f"(Holm); {CONCLUSIVE} common seeds are needed. Differences that are the same for all seeds have neither. A seed "
    "draws the splits, the initial weights and the order of the samples; the data set stays the same. Where each "
    "seed draws its own test samples, the splits of two seeds overlap, and the variance of the mean difference is "
    "taken as s² (1/n + n_test / n_train) in place of s² / n (Nadeau and Bengio 2003); so it is where the records do "
    "not say what was drawn. The baseline of a row is trained on the same data as the row. A baseline that is "
    "trained on the validation data too is compared with the baseline that is not. A method that learns from the "
    "validation data is compared with a baseline trained on them where no other was run.",
    SEEDS_ALONE: "The same interval over the seeds alone, where all seeds share one test set: it holds for this test "
    "set and shows the randomness of training. That of Δ holds for unseen data: it has the error of the test samples "
    f"too, by {RESAMPLES} test sets that are drawn from them with replacement, the same ones for both rows (of "
    "accuracies without stored predictions, that of independent samples). The verdict follows from the wider one; "
    "where both are the same, it is that over the seeds, as it may be with few of them. "
    "`none`: all differences are the same.",
    "Verdict": "What follows from Δ. `baseline`: the others are compared with this row. `better`, `worse`: p < 0.05. "
    "`different`: p < 0.05 in a metric of which neither more nor less is better. `not separated`: p is 0.05 or more, "
    "or there is none as all differences are the same; that is no evidence of equal methods. "
    "`identical to the baseline`: the values of all metrics "
    "of the table are equal for each common seed, so that nothing is tested. `too few seeds`: fewer than "
    f"{CONCLUSIVE} in common with the baseline. `≈ constant`: the accuracy is not above that of the best constant "
    "prediction, by the 95 % interval of their difference, whatever Δ is; `< constant`: it is less accurate than that, "
    "by the whole interval. `undefined`: the metric is undefined for a "
    "common seed. `constant`, `noise floor`: what the rows stand beside.",
    SECOND: "The mean of the same paired difference in accuracy, in points. No test is made of it.",
    "Better in": "The share of the common seeds for which the row is better than its baseline in the first metric. "
    "Equal values count half.",
    "Compared with": "Between tasks, Δ is the row minus the same method on the task where this one option has the "
    "value in this column, and p is adjusted for all differences of the table. The option may change the test data "
    "too.",
    "Seeds": "The number of seeds that the values of the row are of; between tasks, of those that both rows have.",
    "Cost": "The training time relative to the baseline's on the same machine, without evaluation, as a ratio of "
    "medians over the seeds. Runs that shared the machine with other work are left out. A dash means that no time is "
    "left to compare.",
    "Val": "Whether the training uses the validation data. Where it does not, they serve only to select the epoch.",
}
"""What the columns of the tables are, by the beginning of their headings."""


def notes(tables: Sequence[str]) -> list[str]:
    """A bullet for each kind of column that the tables have.

    Args:
        tables: the lines of the page.
    """
    heads = [line.strip("| ").split(" | ") for line in tables if "| Seeds |" in line]
    told = {head: note for head, note in NOTES.items() if any(_has(line, head) for line in heads)}
    if METRIC in told and any(OWN_FLOOR_MARK in line for line in tables):
        told[METRIC] += f" {OWN_FLOOR}"
    return [f"- **{head}**: {note}" for head, note in told.items()]


def _has(heads: Sequence[str], kind: str) -> bool:
    """Whether a table has a kind of column, by the beginning of its headings."""
    if kind == SECOND:
        return kind in heads and sum(head.startswith("Δ") for head in heads) > 1
    return kind == METRIC or any(head.startswith(kind) for head in heads)


def _other_seeds(compared: Sequence[Compared], names: Names) -> list[str]:
    """A line for each row that has other seeds than its baseline."""
    lines = [f"- {names(row)}: {plain(said)}" for row, said in other_seeds(compared)]
    return [OTHER_SEEDS, "", *lines, ""] if lines else []


def _nearer(compared: Sequence[Compared], names: Names) -> list[str]:
    """A line for each row that may be better as it predicts one class more often."""
    lines = [f"- {names(row)}: {plain(said)}" for row, said in nearer_to_constant(compared)]
    return [NEARER.format(metric=plain(compared[0].row.ranked_by)), "", *lines, ""] if lines else []


def _used(rows: Sequence[Row], names: Names) -> list[str]:
    """A line for each row that was trained with something else than the recipe says."""
    lines = [
        f"- {names(row)}: {plain('; '.join(f'{name}: {value}' for name, value in row.first.about.used.items()))}"
        for row in rows
        if row.first.about.used
    ]
    return ["Trained with something else than the recipe says:", "", *lines, ""] if lines else []


def _warning(rows: Sequence[Row], rule: str, names: Names) -> list[str]:
    """A line that names the rows whose selected models are constant; nothing where there is none."""
    constant = {
        names(row): f"{len(seeds)} of {len(row.values(row.ranked_by, rule))}"
        for row in rows
        if (seeds := row.constant(rule))
    }
    if not constant:
        return []
    named = ", ".join(f"{name} ({seeds} seeds)" for name, seeds in constant.items())
    return [f"**{CONSTANT}** {named}.", ""]
