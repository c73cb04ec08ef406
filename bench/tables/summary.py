"""What the front page says of a page, as JSON: so that a page that has not changed need not be made again for it.
Nothing here imports torch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.tables.ahead import brief
from bench.tables.conclusions import NOT_ABOVE, Compared, Verdict
from bench.tables.rows import Row
from bench.tables.stats.paired import PairedDifference


@dataclass(frozen=True)
class RowSummary:
    """One row of a table, compared with its baseline.

    Attributes:
        name: the method with its options, and what differs from the recipe.
        method: its name.
        verdict: one of `Verdict`, `CONSTANT` for all rows that are not shown to be more accurate than a constant: the
            matrix has one sign for them.
        difference: in the metric that ranks; None where it is not defined.
        accuracy: the difference in accuracy; None where it is not defined.
        cost: the training time relative to the baseline's; None where it is not known.
        seeds: the number of common seeds.
        key: by which the row is known, that of its first run.
        baseline: the key of what it is compared with; empty where there is nothing.
        values: seed -> value of the metric that ranks, also where it is undefined.
        gain: the differences in the metric that ranks and in accuracy with their intervals, as plain text.
    """

    name: str
    method: str
    verdict: str
    difference: float | None
    accuracy: float | None
    cost: float | None
    seeds: int
    key: str = ""
    baseline: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    gain: str = ""


@dataclass(frozen=True)
class TaskSummary:
    """One task of a page.

    Attributes:
        task: what tells it from the others of the page; empty where there are none.
        main: whether its rows are methods in their default configuration, by the recipe.
        metric: the one that ranks.
        unit: of its values.
        higher: whether larger values are better; None where neither is.
        rule: the selection rule.
        answer: the sentence that answers the question, as markdown.
        rows: those of the family that the answer is about.
        overlap: the number of test samples over that of the training samples where each seed draws both; else 0.
        at_chance: whether the baseline has no disparity above that of chance, so that the question has no answer.
    """

    task: str
    main: bool
    metric: str
    unit: str
    higher: bool | None
    rule: str
    answer: str
    rows: Sequence[RowSummary] = ()
    overlap: float = 0.0
    at_chance: bool = False


@dataclass(frozen=True)
class Advice:
    """What a page would have somebody do, as plain text: `before`, `name` and `after`.

    Attributes:
        before: what stands before the name; empty for nothing.
        name: of the row that it is about; empty where there is none.
        after: what stands behind it.
        commands: to run.
        helps: whether the row is shown to be better than the baseline.
    """

    before: str = ""
    name: str = ""
    after: str = ""
    commands: Sequence[str] = ()
    helps: bool = False


@dataclass(frozen=True)
class PageSummary:
    """One page.

    Attributes:
        title: of the page.
        protocol, dataset: of its runs.
        runs, failed: how many runs are finished, and how many are not.
        methods: the names of the methods.
        tasks: its tasks.
        problem: what somebody has to whom it is of use, in words that follow `I have`; empty where that is not said.
        advice: what to do.
    """

    title: str
    protocol: str
    dataset: str
    runs: int = 0
    failed: int = 0
    methods: Sequence[str] = ()
    tasks: Sequence[TaskSummary] = field(default=())
    problem: str = ""
    advice: Advice = Advice()

    def to_values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "PageSummary":
        """Of what JSON has. Raises TypeError or LookupError where that is none."""
        tasks = [
            TaskSummary(**{**task, "rows": [RowSummary(**row) for row in task["rows"]]}) for task in values["tasks"]
        ]
        return cls(**{**values, "tasks": tasks, "advice": Advice(**values["advice"])})


def row_summary(one: Compared) -> RowSummary:
    """What the front page says of a row.

    Args:
        one: the row, compared.
    """
    values = one.row.values(one.row.ranked_by, one.rule)
    return RowSummary(
        name_of(one.row),
        one.row.first.spec.method,
        told_together(one.verdict).value,
        mean_of(one.difference),
        mean_of(one.accuracy),
        one.cost,
        one.difference.n if one.difference else len(values),
        one.row.first.key,
        one.baseline.first.key if one.baseline else "",
        {str(seed): values[seed] for seed in sorted(values)},
        brief(one) if one.difference else "",
    )


def told_together(verdict: Verdict) -> Verdict:
    """The verdict that the matrix of the front page has a sign for.

    Args:
        verdict: that of a row.
    """
    return Verdict.CONSTANT if verdict in NOT_ABOVE else verdict


def name_of(row: Row) -> str:
    """The name of a row across pages: its method, its options and what differs from the recipe. It has no marks, which
    are of one page.

    Args:
        row: the row.
    """
    return " ".join(filter(None, [row.label, row.changes and f"({row.changes})"]))


def mean_of(difference: PairedDifference | None) -> float | None:
    """The mean of a difference.

    Args:
        difference: the difference, if there is one.

    Returns:
        None where it is not defined.
    """
    return None if difference is None or math.isnan(difference.mean) else difference.mean
