"""What papers print, beside our means. Nothing here imports torch."""

import csv
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from bench.metrics import METRICS
from bench.records.run import rule_name
from bench.tables.markdown import code, plain, table
from bench.tables.rows import Row, mean_and_error
from bench.tables.stats.means import mean_se
from bench.tables.stats.verdicts import AGREES, agreement, standard_error
from bench.tables.wording import capital

KINDS = {"se": "standard error", "sd": "standard deviation", "ci95": "95 % interval"}
"""What stands behind a printed mean, by its name in the table of published values."""


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
        verdict = _verdict(values[0], printed) if values and values[0] else "not run"
        source = f"{printed['paper']}, {printed['table']}, {printed['error_kind']} of {printed['runs']} runs"
        cells.append(
            [printed["method"], metric, paper, *(mean_and_error(v) if v else "–" for v in values), verdict, source]
        )
    if not cells or not rows:
        return []
    heads = ["Method", "Metric", "Paper", *(f"Ours, {plain(rule_name(r))}" for r in rules), "Verdict", "Source"]
    show = code(f"bench show {task.split('[')[0]}")
    note = (
        f"{show} says where our setting differs from the papers' and what they leave open; so does that of each "
        f"method. The verdict is on the {rule_name(rules[0]).lower()}. In brackets is our mean minus the printed one, "
        f"in combined standard errors: up to {AGREES:.0f} of them agree. Where one of the two standard errors is not "
        "known, there is no verdict."
    )
    return [f"## {plain(capital(start + 'beside the papers'))}", "", note, "", *table(heads, cells), ""]


def _verdict(values: Sequence[float], printed: Mapping[str, str]) -> str:
    """Whether our mean agrees with the printed one, and by how many combined standard errors they differ."""
    mean, se = mean_se([100 * value for value in values])
    kind, runs = KINDS.get(printed["error_kind"], ""), int(printed["runs"] or 0)
    error = standard_error(float(printed["error"]), kind, runs) if printed["error"] else None
    if math.isnan(mean):
        return "undefined"
    found = agreement(mean, se, float(printed["value"]), error)
    return found.word if math.isnan(found.errors) else f"{found.word} ({found.errors:+.1f})"
