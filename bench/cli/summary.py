"""What `bench run` prints of its runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.cli.common import say, table
from bench.text import counts_by_name

if TYPE_CHECKING:
    from bench.records.run import RunResult
    from bench.records.sections import MetaStep


def summary(results: "Sequence[RunResult]") -> None:
    """A table of the runs just made, by method, options and selection rule."""
    from bench.records.run import rule_name
    from bench.tables.rows import mean_and_error, older_rows, rows_of

    for row in (*rows_of(results), *older_rows(results)):
        metrics = row.first.about.metrics
        cells = []
        for rule in row.first.selected:
            values = {metric: list(row.values(metric, rule).values()) for metric in metrics}
            cells.append((rule_name(rule), *(mean_and_error(values[m], row.unit(m)) for m in metrics)))
        seconds = sum(r.costs.train_seconds for r in row.runs.values()) / len(row.runs)
        task = f" ({row.variant})" if row.variant else ""
        task += ", older code" if row.older else ""
        title = f"{row.name}{task}: test, percent, {len(row.runs)} seed(s), {seconds:.1f} s of training each"
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


def samples_of(result: "RunResult") -> str:
    """The number of samples of each set; of the training data also that of each class and group, or most and least."""
    counts = result.data.counts["train"]
    sizes = result.data.sizes
    parts = [counts_by_name(result.about.classes, result.class_counts("train"), "classes")]
    if len(counts) > 1:
        parts.append(counts_by_name(result.about.groups, [sum(row) for row in counts], "groups"))
    train = f"{sizes['train']:,} for training ({'; '.join(parts)})"
    return f"{train}, {sizes['val']:,} for validation, {sizes['test']:,} for testing"
