"""What papers print, beside our means. Nothing here imports torch."""

import csv
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from bench.metrics import METRICS
from bench.records.run import rule_name
from bench.tables.markdown import code, plain, table
from bench.tables.rows import Row, mean_and_error
from bench.tables.wording import capital


@cache
def published() -> list[dict[str, str]]:
    """The values that papers print, one a row of `bench/tables/published.csv`, by the names of its columns."""
    with files("bench.tables").joinpath("published.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def beside_the_papers(protocol: str, task: str, start: str, rows: Sequence[Row], rules: Sequence[str]) -> list[str]:
    """Our means beside the printed ones, for every method and metric that a paper reports on this task.

    Args:
        protocol: `name/version`.
        task: The data set, in brackets the options that make it another task.
        start: What the heading begins with.
        rows: Of this task, on the recipe.
        rules: The selection rules, each of which has a column.

    Returns:
        The lines of the section; none where no paper prints anything.
    """
    by_label = {row.label: row for row in rows if not row.changes}
    here = {"protocol": protocol.split("/")[0], "dataset": task}
    cells = []
    for printed in published():
        if not here.items() <= printed.items() or printed["metric"] not in METRICS:
            continue
        row, metric = by_label.get(printed["method"]), printed["metric"]
        paper = f"{printed['value']} ± {printed['error']}" if printed["error"] else printed["value"]
        values = [list(row.values(metric, rule).values()) if row else [] for rule in rules]
        source = f"{printed['paper']}, {printed['table']}, {printed['error_kind']} of {printed['runs']} runs"
        cells.append([printed["method"], metric, paper, *(mean_and_error(v) if v else "–" for v in values), source])
    if not cells or not rows:
        return []
    heads = ["Method", "Metric", "Paper", *(f"Ours, {plain(rule_name(r))}" for r in rules), "Source"]
    show = code(f"bench show {task.split('[')[0]}")
    note = (
        f"{show} says where our setting differs from the papers' and what they leave open; so does that of each method."
    )
    return [f"## {plain(capital(start + 'beside the papers'))}", "", note, "", *table(heads, cells), ""]
