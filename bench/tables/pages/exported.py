"""The rows of the pages and their paired differences as tables for other programs, and as LaTeX. Nothing here imports
torch.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bench.columns.table import Columns
from bench.records.run import rule_name
from bench.tables.comparisons import baselines_of, difference_of, ranked, rules_of
from bench.tables.conclusions import Compared
from bench.tables.context import own_floor
from bench.tables.names import Names
from bench.tables.pages.ranking import RankedFamily, by_task, ranked_families
from bench.tables.rows import Row, mean_and_error, rows_of, scale_of
from bench.tables.stats.means import mean_se
from bench.tables.stats.paired import PairedDifference

if TYPE_CHECKING:
    import pandas as pd

NAMES = (
    *("protocol", "dataset", "task", "family", "main", "rule", "method", "model", "row", "metric", "unit"),
    *(
        "mean",
        "se",
        "seeds",
        "baseline",
        "difference",
        "low",
        "high",
        "seeds_low",
        "seeds_high",
        "p",
        "verdict",
        "rank_low",
        "rank_high",
        "cost",
        "floor",
    ),
)
FRACTION = "fraction"
"""The unit of values that pages show in percent."""
DIFFERENCES = (
    *("protocol", "dataset", "task", "row", "key", "baseline", "baseline_key", "seed", "rule", "metric"),
    *("value", "baseline_value", "difference"),
)
ESCAPED = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "<": "$<$",
    ">": "$>$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
}
"""How LaTeX writes signs that mean something to it, or that it lacks."""


def rows_frame(tasks: Iterable[Columns]) -> "pd.DataFrame":
    """A table with one row for each row of a page and each metric that the page shows.

    Args:
        tasks: the columns of each task.

    Returns:
        The table. Values and differences are in the unit that is named: `fraction` where pages show percent. `p`,
        `verdict` and the ranks are those of the metric that ranks, after Holm's correction for the family; the
        intervals of other metrics hold for themselves alone. `seeds_low` and `seeds_high` are the interval over the
        seeds alone, where the samples of a test set that all seeds share make the other one wider. `floor` is what a
        disparity would be on average by chance alone, were all groups alike at the row's own rate, under the rule that
        the task is concluded by.
    """
    import pandas as pd

    lines = [line for columns in tasks for line in _lines(columns)]
    return pd.DataFrame(lines, columns=list(NAMES))


def _lines(columns: Columns) -> Iterator[tuple[Any, ...]]:
    for family in families_of_page(columns):
        for task, compared in family.of_tasks:
            for one in compared:
                about = one.row.first.about
                spec = one.row.first.spec
                begin = (spec.protocol, spec.dataset, task, family.title, family.main, family.rule)
                for metric in about.metrics:
                    unit = one.row.unit(metric)
                    named = spec.method, spec.model, one.row.name, metric, FRACTION if unit == "%" else unit
                    yield *begin, *named, *_values(one, metric)


def families_of_page(columns: Columns) -> list[RankedFamily]:
    """The families of the page of a task, the one that its answer is about first.

    Args:
        columns: of the runs.
    """
    return ranked_families(by_task(rows_of([columns])))


def _values(one: Compared, metric: str) -> tuple[Any, ...]:
    """From `mean` on."""
    values = one.row.values(metric, one.rule)
    mean, se = mean_se(list(values.values()))
    ranks = metric == one.row.ranked_by
    difference = _difference(one, metric)
    of_difference = ("mean", "low", "high", "seeds_low", "seeds_high")
    ends = [getattr(difference, name) if difference else math.nan for name in of_difference]
    judged = (one.p, one.verdict.value, *(one.ranks or (None, None))) if ranks else (math.nan, "", None, None)
    baseline = one.baseline.name if one.baseline else ""
    told = one.cost, own_floor(one.row, metric, one.rule)
    return mean, math.nan if se is None else se, len(values), baseline, *ends, *judged, *told


def _difference(one: Compared, metric: str) -> PairedDifference | None:
    """From the baseline, in any metric."""
    if one.baseline is None or metric == one.row.ranked_by:
        return one.difference
    return difference_of(one.row, one.baseline, metric, one.rule)


def latex(tasks: Iterable[Columns]) -> str:
    """The tables that the answers of the pages rest on, in LaTeX with the package booktabs.

    Args:
        tasks: the columns of each task.
    """
    tables = []
    for columns in tasks:
        families = families_of_page(columns)
        if families:
            first = families[0].of_tasks[0][1][0].row.first.spec
            names = Names.of([one.row for family in families for _, compared in family.of_tasks for one in compared])
            for task, compared in families[0].of_tasks:
                about = ", ".join(filter(None, [first.protocol, first.dataset, task, rule_name(families[0].rule)]))
                tables.append(_table(about, compared, names))
    return "% needs \\usepackage{booktabs}\n" + "\n".join(tables)


def _table(about: str, compared: Sequence[Compared], names: Names) -> str:
    """One table."""
    row = compared[0].row
    metrics = row.first.about.metrics
    heads = ["Method", *metrics, f"difference in {row.ranked_by}", "verdict"]
    lines = []
    for one in compared:
        cells = [names.plain(one.row)]
        cells += [
            mean_and_error(list(one.row.values(metric, one.rule).values()), row.unit(metric)) for metric in metrics
        ]
        lines.append([*cells, _change(one), one.verdict.value])
    body = "\n".join(" & ".join(map(escaped, line)) + r" \\" for line in lines)
    head = " & ".join(map(escaped, heads))
    columns = "l" + "r" * (len(metrics) + 1) + "l"
    return (
        f"\\begin{{table}}\n\\caption{{{escaped(about)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head} \\\\\n"
        f"\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _change(one: Compared) -> str:
    """The difference with its interval."""
    found, scale = one.difference, scale_of(one.row.unit(one.row.ranked_by))
    if found is None or math.isnan(found.mean):
        return ""
    if math.isnan(found.low):
        return f"{scale * found.mean:+.2f}"
    return f"{scale * found.mean:+.2f} [{scale * found.low:+.2f}, {scale * found.high:+.2f}]"


def escaped(text: str) -> str:
    """A text that LaTeX shows as it is.

    Args:
        text: of any origin.
    """
    return "".join(ESCAPED.get(sign, sign) for sign in text)


def differences_of(tasks: Iterable[Columns]) -> "pd.DataFrame":
    """What each run differs by from the run of its baseline with the same seed, under each selection rule and in each
    metric that the pages show. The baseline of a row is that of the pages (`baselines_of`).

    Args:
        tasks: the columns of each task.

    Returns:
        A table with one row for each run, rule and metric. `task` has the changed options of the data set and of the
        protocol, `row` and `baseline` the names on the pages; `difference` is `value` minus `baseline_value`.
    """
    import pandas as pd

    lines = [
        line
        for columns in tasks
        for rows in _by_task(rows_of([columns]))
        for rule in rules_of(rows)
        for line in _by_seed(ranked(rows, rule), rule)
    ]
    return pd.DataFrame(lines, columns=list(DIFFERENCES))


def _by_task(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of each task, in whatever tables they stand."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.variant, []).append(row)
    return [rows for _, rows in sorted(parts.items(), key=lambda part: part[0])]


def _by_seed(rows: list[Row], rule: str) -> Iterator[tuple[Any, ...]]:
    for row, baseline in zip(rows, baselines_of(rows), strict=True):
        if baseline is None or baseline is row:
            continue
        task = row.first.spec.protocol, row.first.spec.dataset, row.variant
        for metric in row.first.about.metrics:
            values, others = row.values(metric, rule), baseline.values(metric, rule)
            for seed in sorted(values.keys() & others.keys()):
                runs = row.name, row.runs[seed].key, baseline.name, baseline.runs[seed].key
                difference = values[seed] - others[seed]
                yield *task, *runs, seed, rule, metric, values[seed], others[seed], difference
