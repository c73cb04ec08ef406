"""What `bench run` prints of its runs, and what it calls them."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.cli.common import say, table
from bench.records.selections import TEST
from bench.records.spec import OPTION_FIELDS
from bench.text import counted, counts_by_name

if TYPE_CHECKING:
    from bench.columns.run import Run
    from bench.records.run import RunResult
    from bench.records.sections import MetaStep, Resolved
    from bench.records.spec import RunSpec
    from bench.runs.experiment import Experiment


def summary(results: "Sequence[RunResult]") -> None:
    """A table of the runs just made, by method, options and selection rule."""
    from bench.columns.table import columns_of
    from bench.records.run import rule_name
    from bench.tables.rows import mean_and_error, older_rows, rows_of

    tasks = columns_of(results)
    for row in (*rows_of(tasks), *older_rows(tasks)):
        metrics = row.first.about.metrics
        cells = []
        for rule in row.first.layout.rules:
            values = {metric: list(row.values(metric, rule).values()) for metric in metrics}
            cells.append((rule_name(rule), *(mean_and_error(values[m], row.unit(m)) for m in metrics)))
        seconds = sum(r.costs.all_seconds for r in row.runs.values()) / len(row.runs)
        task = f" ({row.variant})" if row.variant else ""
        task += ", older code" if row.older else ""
        title = f"{row.name}{task}: test, percent, {counted(len(row.runs), 'seed')}, {seconds:.1f} s of training each"
        for choice in row.first.costs.meta_step:
            title += f"; {_look_ahead(choice)}"
        table(title, cells, ("rule", *metrics))
        if row.first.data.counts:
            samples = list(dict.fromkeys(map(samples_of, row.runs.values())))
            say(f"data{' of the first seed' if len(samples) > 1 else ''}: {samples[0]}")


def _look_ahead(choice: "MetaStep") -> str:
    """A look-ahead's backend, and how far its meta-gradient was from what it was compared with."""
    error = "" if choice.error is None else f"{choice.error:.0e} off "
    text = f"look-ahead: {choice.backend}, {error}{choice.against}"
    if choice.differences_error is not None:
        text += f", {choice.differences_error:.0e} off central differences"
    if choice.float32_error:
        text += f", {choice.float32_error:.0e} off float32"
    return text


def samples_of(result: "Run") -> str:
    """The number of samples of each set; of the training data also that of each class and group, or most and least."""
    counts = result.data.counts["train"]
    sizes = result.data.sizes
    parts = [counts_by_name(result.about.classes, result.data.class_counts("train"), "classes")]
    if len(counts) > 1:
        parts.append(counts_by_name(result.about.groups, [sum(row) for row in counts], "groups"))
    train = f"{sizes['train']:,} for training ({'; '.join(parts)})"
    others = [f"{sizes[name]:,} in {name}" for name in result.about.sets if name in sizes]
    tests = [f"{sizes[TEST]:,} for testing"] if TEST in sizes else others
    return ", ".join([train, f"{sizes['val']:,} for validation", *tests])


def each_options(spec: "RunSpec", resolved: "Resolved", each: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options of `--each` that a run has, with the values that it uses, also where these are the defaults.

    Args:
        spec: The run.
        resolved: All of its values.
        each: The texts of `--each`.

    Returns:
        Field of a spec -> name of the option -> value.
    """
    options: dict[str, dict[str, Any]] = {}
    for text in each:
        owner, _, name = text.partition("=")[0].rpartition(".")
        field = OPTION_FIELDS.get("method" if owner in ("", spec.method) else owner, "")
        if name in (values := getattr(resolved, field, {})):
            options.setdefault(field, {})[name] = values[name]
    return options


def named_by_each(result: "RunResult", each: Sequence[str]) -> "RunResult":
    """The result with a spec that names every option of `--each`, so that each value is told apart in the summary."""
    options = each_options(result.spec, result.resolved, each)
    changes: dict[str, Any] = {field: getattr(result.spec, field) | values for field, values in options.items()}
    return dataclasses.replace(result, spec=dataclasses.replace(result.spec, **changes))


def label_of(experiment: "Experiment", each: Sequence[str]) -> str:
    """The method, and the value that this experiment has of each option of `--each`: `forml[weight_lr=1]`."""
    spec = experiment.spec(0)
    none: dict[str, Any] = {field: {} for field in OPTION_FIELDS.values()}
    only_each = dataclasses.replace(spec, **none | each_options(spec, experiment.resolved, each))
    changes = [*only_each.changes(["validation"]), *only_each.variant()]
    return f"{only_each.label()} ({', '.join(changes)})" if changes else only_each.label()
