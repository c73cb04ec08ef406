"""What the epoch that is best on the test set would give. Nothing here imports torch."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from bench.records.run import rule_name
from bench.tables.context import oracle_values
from bench.tables.markdown import plain, table
from bench.tables.names import Names
from bench.tables.pages.ranking import DEFAULT, MOST
from bench.tables.rows import Row, mean_and_error

TITLE = "What the test set would select"
NOTE = (
    "No rule that a method may use: the epoch is the one after which the first metric is best on the test set itself, "
    "of those that were evaluated. It shows how much the choice of the epoch may decide, and the numbers are too good "
    "by that choice. Papers that select on the test set report such numbers."
)


def oracle_table(tasks: Mapping[str, Sequence[Row]], names: Names) -> list[str]:
    """The lines of the table of what could be selected by the test set.

    Args:
        tasks: what tells each task of the page from the others -> its rows.
        names: of the rows.

    Returns:
        None where no record tells it. Those of the first MOST rows.
    """
    several = len(tasks) > 1
    every = (
        [plain(task) or DEFAULT] * several + cells for task, rows in tasks.items() for cells in _lines(rows, names)
    )
    lines = list(islice(every, MOST))
    heads = ["Method", "Metric", "Best on the test set", "Minus the value under the rule", "Rule", "Seeds"]
    return [NOTE, "", *table(["Task"] * several + heads, lines), ""] if lines else []


def _lines(rows: Sequence[Row], names: Names) -> Iterator[list[str]]:
    """The cells of each row whose records tell it."""
    for row in rows:
        metric, rule = row.ranked_by, row.first.about.rule
        best, own = oracle_values(row), row.values(metric, rule)
        if common := sorted(best.keys() & own.keys()):
            unit = row.unit(metric)
            gain = mean_and_error([best[seed] - own[seed] for seed in common], unit)
            told = mean_and_error([best[seed] for seed in common], unit)
            yield [names(row), plain(metric), told, gain, rule_name(rule), str(len(common))]
