"""What `bench run` prints of its runs, and what it calls them."""

import dataclasses
from collections.abc import Iterator, Sequence
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
    from bench.tables.rows import Row


def summary(results: "Sequence[RunResult]") -> None:
    """A table of the runs just made for each task, by method, options and selection rule; below it, what the methods
    differentiated through, and the numbers of samples.
    """
    from bench.columns.table import columns_of
    from bench.tables.rows import older_rows, rows_of

    tasks = columns_of(results)
    by_task: dict[tuple[Any, ...], list[Row]] = {}
    for row in (*rows_of(tasks), *older_rows(tasks)):
        first = row.first
        about = first.spec.protocol, first.spec.dataset, first.spec.model, row.variant, row.older, first.about.metrics
        by_task.setdefault((*about[:-1], tuple(about[-1])), []).append(row)
    for rows in by_task.values():
        _table_of_task(rows)


def _table_of_task(rows: "Sequence[Row]") -> None:
    about, spec = rows[0].first.about, rows[0].first.spec
    seeds = sorted({len(row.runs) for row in rows})
    of = f"{seeds[0]} to {counted(seeds[-1], 'seed')}" if len(seeds) > 1 else counted(seeds[0], "seed")
    task = f"{spec.protocol_name} on {spec.dataset}, {spec.model}" + (
        f" ({rows[0].variant})" if rows[0].variant else ""
    )
    task += ", older code" if rows[0].older else ""
    errors = "mean ± standard error" if seeds[-1] > 1 else "values"
    arrows = {True: " ↑", False: " ↓", None: ""}
    units = {name: f" ({unit})" for name in about.metrics if (unit := rows[0].unit(name)) != "%"}
    metrics = [f"{name}{units.get(name, '')}{arrows[about.higher_is_better[name]]}" for name in about.metrics]
    lines = [line for row in rows for line in _lines_of(row)]
    lines, heads, hidden = fitting(lines, ["method", "rule", *metrics, "s"])
    table(f"{task}: {errors} of {of}, test, percent; s: seconds of training", lines, heads)
    if hidden:
        say(f"the page has more metrics: {', '.join(hidden)}")
    for row in rows:
        for choice in row.first.costs.meta_step:
            say(f"{row.name}: {_look_ahead(choice)}")
    _tell_samples(rows)
    say("")


def _lines_of(row: "Row") -> "Iterator[list[str]]":
    """A line for each selection rule."""
    from bench.records.run import rule_name
    from bench.tables.rows import mean_and_error

    seconds = f"{sum(r.costs.all_seconds for r in row.runs.values()) / len(row.runs):.1f}"
    for number, rule in enumerate(row.first.layout.rules):
        values = (mean_and_error(list(row.values(m, rule).values()), row.unit(m)) for m in row.first.about.metrics)
        yield ["" if number else row.name, rule_name(rule), *values, "" if number else seconds]


def fitting(lines: list[list[str]], heads: list[str]) -> tuple[list[list[str]], list[str], list[str]]:
    """On a terminal, the columns that fit its width: the first two, the last one, and as many as fit between them.

    Args:
        lines: the cells.
        heads: of the columns.

    Returns:
        The lines and heads that are left, and the heads of what was left out.
    """
    from rich.console import Console

    console = Console()
    widths = [2 + max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    room = console.width - widths[0] - widths[1] - widths[-1] + 2 if console.is_terminal else sum(widths)
    shown = len(heads) - 3
    while shown > 1 and sum(widths[2 : 2 + shown]) > room:
        shown -= 1
    kept = [*range(2 + shown), len(heads) - 1]
    return [[line[i] for i in kept] for line in lines], [heads[i] for i in kept], heads[2 + shown : -1]


def _tell_samples(rows: "Sequence[Row]") -> None:
    """The numbers of samples: once, if they are those of all rows."""
    by_samples: dict[str, list[str]] = {}
    for row in rows:
        if row.first.data.counts:
            of_runs = list(dict.fromkeys(map(samples_of, row.runs.values())))
            text = f"data{' of the first seed' if len(of_runs) > 1 else ''}: {of_runs[0]}"
            by_samples.setdefault(text, []).append(row.name)
    for text, names in by_samples.items():
        say(text if len(by_samples) == 1 else f"{', '.join(names)}: {text}")


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
