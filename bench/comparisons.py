"""Paired differences between rows, as cells of tables. Nothing here imports torch."""

import math
from collections.abc import Sequence

from bench.markdown import table
from bench.rows import Row
from bench.spec import canonical
from bench.stats import PairedDifference, holm, paired_difference


def baseline_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The baseline among the rows that is trained on the same data; of a baseline that is trained on the validation
    data too, that which is not; of a method that learns from the validation data, also one that is trained on them.
    """
    baselines = {
        (base.setting, base.any.spec.validation): base
        for base in rows
        if base.any.about["baseline"] and not base.any.spec.options
    }
    about, own = row.any.about, row.any.spec.validation
    policies = [own, *["shared"] * about["baseline"], *["paper"] * about["uses_val"]]
    found = [base for policy in policies if (base := baselines.get((row.setting, policy)))]
    return next((base for base in found if base is not row), row if found else None)


def differences(pairs: Sequence[tuple[Row, Row | None]], metric: str, rule: str) -> list[str]:
    """For each pair the first row less the second: mean, interval and p, adjusted for all of them (Holm); empty where
    there is nothing to compare with.
    """
    found = {
        i: paired_difference(row.values(metric, rule), other.values(metric, rule))
        for i, (row, other) in enumerate(pairs)
        if other and other is not row
    }
    adjusted = dict(zip(found, holm([d.p for d in found.values()]), strict=True))
    return [_difference(found[i], adjusted[i]) if i in found else "" for i in range(len(pairs))]


def between_tasks(rows: Sequence[Row], rule: str) -> list[str]:
    """A table of what an option of the task changes: each row less that of the same method without the option, over the
    seeds of both, of which there must be two.
    """
    metric = rows[0].any.about["metrics"][0]
    trained = {(_training(row), canonical(row.task)): row for row in rows}
    pairs, cells = [], []
    for row in rows:
        for name in row.task:
            rest = {option: value for option, value in row.task.items() if option != name}
            other = trained.get((_training(row), canonical(rest)))
            if not other:
                continue
            common = row.values(metric, rule).keys() & other.values(metric, rule).keys()
            if len(common) > 1:
                pairs.append((row, other))
                cells.append([row.name, row.variant, f"{name}={other.task_value(name)}", str(len(common))])
    if not pairs:
        return []
    lines = [[*cell, found] for cell, found in zip(cells, differences(pairs, metric, rule), strict=True)]
    return table(["Method", "Task", "Compared with", "Seeds", f"Δ {metric}"], lines)


def _training(row: Row) -> tuple[object, ...]:
    """What two rows share that differ in the task alone."""
    return row.label, row.changes, row.any.spec.validation, row.any.spec.model


def _difference(difference: PairedDifference, p: float) -> str:
    mean, low, high = (100 * value for value in (difference.mean, difference.low, difference.high))
    if math.isnan(low):
        return "" if math.isnan(mean) else f"{mean:+.2f}"
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}], p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
