"""The paired differences of the pages as one table for analysis with pandas. Nothing here imports torch."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bench.columns.table import Columns
from bench.tables.comparisons import baselines_of, ranked, rules_of
from bench.tables.rows import Row, rows_of

if TYPE_CHECKING:
    import pandas as pd

NAMES = (
    *("protocol", "dataset", "task", "row", "key", "baseline", "baseline_key", "seed", "rule", "metric"),
    *("value", "baseline_value", "difference"),
)


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
        for line in _differences(ranked(rows, rule), rule)
    ]
    return pd.DataFrame(lines, columns=list(NAMES))


def _by_task(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of each task, in whatever tables they stand."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.variant, []).append(row)
    return [rows for _, rows in sorted(parts.items(), key=lambda part: part[0])]


def _differences(rows: list[Row], rule: str) -> Iterator[tuple[Any, ...]]:
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
