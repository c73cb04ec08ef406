"""What `bench show` prints of a record, on one screen."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.common import say, table
from bench.text import counted, join_first

if TYPE_CHECKING:
    from bench.records.run import RunResult

MOST = 8
"""So many names are shown of each kind."""


def show_record(result: "RunResult", path: Path) -> bool:
    """Print a record: its command, what was selected, the data, the costs, the code, and what lies beside it.

    Args:
        result: the record.
        path: its file.

    Returns:
        Whether what lies beside it is there and is its own.
    """
    from bench.errors import StoreError

    spec = result.spec
    task = ", ".join([spec.protocol, spec.dataset, *spec.variant(), spec.model, *spec.changes()])
    say(f"{spec.label()}, seed {spec.seed}: {result.status}\n{task}\n{path}\n\n{result.command}\n")
    if result.error:
        say(f"{result.error}\n")
    _metrics(result)
    try:
        beside, whole = _beside(result, path), True
    except StoreError as error:
        beside, whole = f"NOT WHOLE: {error}", False
    changed = ", ".join(result.off_recipe)
    others = [name for name in result.selected.metrics if name not in ("val", "test")]
    export = f"`bench export{_out_option(path)}`"
    rows = [("further sets", f"{len(others)}: {join_first(others, MOST)} ({export})")] if others else []
    rows += [("key", spec.key), ("recipe", f"changed: {changed}" if changed else "as published")]
    rows.append(("data", _data(result)))
    rows += [("costs", _costs(result)), ("code", _code(result)), ("environment", _environment(result))]
    rows += [("beside", beside), *(("note", note) for note in result.notes)]
    if result.rescored:
        rows.append(("rescored", ", ".join(f"{metric} (code {code})" for metric, code in result.rescored.items())))
    if result.completed:
        rows.append(("completed", f"by a repetition of {result.completed.created} with the same numbers"))
    table("", rows)
    return whole


def _out_option(path: Path) -> str:
    """The option that names the output folder of a record, where commands need it."""
    from bench.store.repetition import RECORDS, out_of

    return next((out_of(folder) for folder in path.parents if folder.name == RECORDS), "")


def _metrics(result: "RunResult") -> None:
    """A table of the metrics that tables show, and of all others of the test set."""
    if not result.selected:
        return
    columns = [name if "/" in name else f"test/{name}" for name in result.about.metrics]
    columns += [f"test/{metric}" for metric in result.selected.metrics.get("test", {})]
    rows = [("epoch", *(str(epoch) for epoch in result.selected.epochs.values()))]
    for column in dict.fromkeys(columns):
        of_set, _, metric = column.rpartition("/")
        cells = (chosen.metrics.get(of_set, {}).get(metric) for chosen in result.selected.values())
        rows.append((column.removeprefix("test/"), *(_value(result, metric, cell) for cell in cells)))
    table("Test, percent unless a unit is given", rows, ("", *result.selected))


def _value(result: "RunResult", metric: str, value: float | None) -> str:
    """In percent; of a metric with a unit, or of one whose unit is not known, as it is."""
    from bench.metrics import METRICS

    if value is None:
        return "undefined"
    fraction = metric in METRICS or (metric in result.about.higher_is_better and metric not in result.about.units)
    return f"{100 * value:.2f}" if fraction else f"{value:.4g} {result.about.units.get(metric, '')}".rstrip()


def _data(result: "RunResult") -> str:
    data = result.data
    text = join_first([f"{size:,} {name}" for name, size in data.sizes.items()], MOST) or "none"
    classes = f"{len(result.about.classes)} classes, {len(result.about.groups)} groups"
    unofficial = f"; NOT the official files: {', '.join(data.unofficial)}" if data.unofficial else ""
    return f"{text}; {classes}; revision {data.revision}, content {data.content or 'not known'}{unofficial}"


def _costs(result: "RunResult") -> str:
    costs = result.costs
    parts = [f"{costs.all_seconds:.1f} s of training", f"{costs.steps:,} steps"]
    if costs.seconds_per_step is not None:
        parts.append(f"{1000 * costs.seconds_per_step:.2f} ms for a step")
    if costs.parameters is not None:
        parts.append(f"{costs.parameters:,} parameters")
    for name, size in (("GPU", costs.peak_memory_bytes), ("process", costs.peak_process_bytes)):
        if size:
            parts.append(f"{_size(size)} at most ({name})")
    parts.append(counted(costs.threads, "thread"))
    if costs.stacked > 1:
        parts.append(f"{costs.stacked} runs at once")
    parts += [f"stage {stage.name}: {stage.seconds:.1f} s" for stage in costs.stages[:MOST]]
    parts += [f"look-ahead: {choice.backend}" for choice in costs.meta_step[:MOST]]
    return ", ".join(parts)


def _code(result: "RunResult") -> str:
    if not result.code.core:
        return "no hashes (by an earlier version)"
    return ", ".join(f"{use} {one}" for use, one in ({"core": result.code.core} | result.code.plugins).items())


def _environment(result: "RunResult") -> str:
    made = result.environment
    libraries = [f"{name} {version}" for name, version in made.versions.items()]
    git = f", {made.git}" if made.git else ""
    return f"{made.created}, {made.device}, {made.platform}, Python {made.python}, {join_first(libraries, MOST)}{git}"


def _beside(result: "RunResult", path: Path) -> str:
    """What lies beside a record. Raises StoreError where it is not whole."""
    from bench.records.sidecar import sidecar_path
    from bench.store.beside import sidecar_of_file
    from bench.store.predicted import sets_predicted

    beside: Any = sidecar_of_file(result, path)
    if not beside.history and not beside.arrays:
        return "nothing"
    evaluations = len(beside.history.get("epoch", []))
    parts = [f"{evaluations} evaluations of {len(beside.history)} columns"]
    predicted = sets_predicted(result, beside)
    parts.append(f"predictions of {join_first(predicted, MOST)}" if predicted else "no predictions")
    if result.sidecar:
        file = sidecar_path(path, result.sidecar)
        parts.append(f"{_size(file.stat().st_size)} in {file.name}, verified")
    else:
        parts.append("in the record and its .npz file, by an earlier version")
    return "; ".join(parts)


def _size(size: int) -> str:
    """In the unit that leaves a few digits."""
    number = float(size)
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
