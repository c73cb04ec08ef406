"""Paired differences between rows, as cells of tables. Nothing here imports torch."""

import math
from collections.abc import Sequence

from bench.tables.markdown import table
from bench.tables.rows import Row
from bench.tables.stats import PairedDifference, holm, paired_difference


def baselines_of(rows: Sequence[Row]) -> list[Row | None]:
    """For each row the baseline among them that is trained on the same data; of a baseline that is trained on the
    validation data too, that which is not; of a method that learns from the validation data, also one that is trained
    on them.
    """
    baselines = {
        (row.setting, row.any.spec.validation): row
        for row in rows
        if row.any.about.baseline and not row.any.spec.options
    }

    def of(row: Row) -> Row | None:
        about, own, setting = row.any.about, row.any.spec.validation, row.setting
        policies = [own, *["shared"] * about.baseline, *["paper"] * about.uses_val]
        found = [base for policy in policies if (base := baselines.get((setting, policy)))]
        return next((base for base in found if base is not row), row if found else None)

    return [of(row) for row in rows]


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
    """A table of what an option of the protocol changes: each row less that of the same training without the option,
    over the seeds of both, of which there must be two. Nothing where there are no such rows.
    """
    metric = rows[0].ranked_by
    compared = [
        (row, name, other, seeds)
        for row in rows
        for name in row.any.spec.protocol_options
        for other in rows
        if row.ranked_by == other.ranked_by == metric and _only_in(name, row, other)
        if (seeds := len(row.values(metric, rule).keys() & other.values(metric, rule).keys())) > 1
    ]
    found = differences([(row, other) for row, _, other, _ in compared], metric, rule)
    lines = [
        [row.name, row.variant, f"{name}={other.protocol_value(name)}", str(seeds), difference]
        for (row, name, other, seeds), difference in zip(compared, found, strict=True)
        if difference
    ]
    return table(["Method", "Task", "Compared with", "Seeds", f"Δ {metric}"], lines) if lines else []


def _only_in(name: str, row: Row, other: Row) -> bool:
    """Whether they differ in this option of the protocol alone, which the other has at its default."""
    specs = row.any.spec, other.any.spec
    given, fewer = (spec.protocol_options for spec in specs)
    used, also = ({**r.any.resolved.protocol_options, name: None} for r in (row, other))
    return (
        {option: value for option, value in given.items() if option != name} == fewer
        and all(used[option] == also[option] for option in used.keys() & also.keys())  # with the defaults of their time
        and specs[0].validation == specs[1].validation
        and specs[0].dataset_options == specs[1].dataset_options
        and (row.label, row.setting) == (other.label, other.setting)
        and row.any.resolved.options == other.any.resolved.options
    )


def _difference(difference: PairedDifference, p: float) -> str:
    mean, low, high = (100 * value for value in (difference.mean, difference.low, difference.high))
    if math.isnan(low):
        return "" if math.isnan(mean) else f"{mean:+.2f}"
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}], p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
