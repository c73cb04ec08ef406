"""Runs an experiment: train, evaluate, record."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.data.split import Split
from bench.errors import DeviceError, OptionError
from bench.metrics import METRICS, metric_of
from bench.protocol import Prepared
from bench.recipe import Recipe
from bench.records.run import RunResult
from bench.records.spec import RunSpec, digest
from bench.records.store import ResultStore
from bench.runs.allocator import keep_freed_memory
from bench.runs.environment import environment, versions
from bench.runs.experiment import Experiment
from bench.runs.threads import Threads, chosen
from bench.runs.train import FinishedTraining, train
from bench.streams import RandomStreams
from bench.training.capture import Capture
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.stages import meta_steps


def device_of(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:1`. Raises DeviceError when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise DeviceError(f"device {name!r} cannot be used here; there is: {', '.join(there)}") from error
    return device


def run(
    experiment: Experiment,
    seeds: Sequence[int],
    store: ResultStore,
    device: torch.device,
    observer: Observer | None = None,
    stacked: bool = False,
    resume: bool = True,
    backend: str = "auto",
    check: bool = True,
    eager: bool = False,
    threads: int | None = None,
) -> list[RunResult]:
    """Train the experiment with one seed, or with several at once if `stacked`, and record each run.

    backend, check: how look-aheads find their derivatives, and whether they check themselves (`bench.meta`).
    eager: capture no updates to replay them (`bench.training.capture`); stacked runs and those on a GPU else do, except
        with a cyclical learning rate, where no captured update could be used twice, or where the model's mode changes.
        The record says whether updates were replayed, and else why they were not.
    threads: of torch on the CPU, for this run alone; None: OMP_NUM_THREADS or a rule says (`bench.runs.threads`).

    A training that fails is recorded with the kind of failure, a method that is not applicable with the reason. Bad
    input (other BenchErrors) and an interrupt pass through and leave no record; the checkpoint of an interrupted run
    stays, and the same call goes on from it unless told not to.
    """
    keep_freed_memory()
    if stacked and experiment.unstackable:
        raise OptionError(f"{experiment.unstackable} cannot train stacked runs: leave out --stack")
    streams = RandomStreams(tuple(seeds), stacked)
    taken = chosen(experiment, len(seeds) if stacked else 1, device, threads)
    way = [stacked, backend, eager]  # of computing: another one rounds otherwise
    way += [taken.count] if device.type == "cpu" else []
    name = digest([[experiment.spec(seed).key for seed in seeds], way, _source(experiment)])
    checkpoint = store.folder.parent / "checkpoints" / f"{name}.pt"
    if not resume:
        _discard(checkpoint)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    eager_because = _eager_because(experiment.recipe, stacked, device, eager)
    how = {"backend": backend, "check": check, "capture": not eager_because}
    method = experiment.new_method()
    with taken.in_use():
        trained = train(experiment, method, streams, device, observer or Observer(), checkpoint, how)
    results = []
    for place, seed in enumerate(seeds):
        status, error = trained.outcome.status, trained.outcome.error
        if status == "ok" and trained.meter.diverged[place]:
            status, error = "diverged", "the training loss or a parameter is not finite"
        selected = trained.selected(place) if status == "ok" else {}
        result = RunResult(
            spec=(spec := experiment.spec(seed)),
            status=status,
            command=_command(experiment, spec, stacked, backend, check, eager, threads),
            off_recipe=experiment.off_recipe,
            about=_about(experiment, method),
            resolved=experiment.resolved,
            data=_data(experiment, trained.prepared, place),
            history=_columns(trained.meter.history, place),
            selected=selected,
            costs=_costs(trained, len(seeds) if stacked else 1, eager_because, taken),
            environment=environment(experiment.plugins, device),
            error=error,
        )
        if result.ok or not store.get(spec):  # a failure does not replace a result
            store.put(result, trained.arrays(place) if result.ok else None)
        results.append(result)
    if trained.outcome.status != "out of memory":  # that may go well another time, from where it is
        _discard(checkpoint)
    return results


def _eager_because(recipe: Recipe, stacked: bool, device: torch.device, eager: bool) -> str:
    """Why no update of this run is to be captured; empty where it is."""
    if eager:
        return "--eager"
    if not stacked and device.type != "cuda":
        return "a run that is not stacked, on a CPU"
    if recipe.schedule == "cyclical":
        return "the learning rate changes with every update"
    return "the model leaves training mode" if recipe.dropout == "faithful" else ""


def _discard(checkpoint: Path) -> None:
    """Of the evaluated training and of those before it."""
    for path in checkpoint.parent.glob(f"{checkpoint.stem}*.pt"):
        path.unlink()


def _source(experiment: Experiment) -> list[str]:
    """What code trains: a checkpoint of another version is not gone on from."""
    return [*map(str, experiment.plugins.values()), *versions(experiment.plugins.values()).values()]


def _command(
    experiment: Experiment, spec: RunSpec, stacked: bool, backend: str, check: bool, eager: bool, threads: int | None
) -> str:
    """That of the spec, with the flags that say how the same run is computed."""
    flags = ["--allow-unofficial-data"] * bool(experiment.dataset.unofficial) + ["--stack"] * stacked
    flags += ["--backend", backend] * (backend != "auto") + ["--no-check"] * (not check) + ["--eager"] * eager
    flags += ["--threads", str(threads)] if threads else []
    return spec.command(
        experiment.own_recipe.model, experiment.dataset.recipe.protocol or experiment.default_protocol, flags
    )


def _about(experiment: Experiment, method: Method) -> dict[str, Any]:
    shown = {column: experiment.known_metrics[metric_of(column)] for column in experiment.metrics}
    foreign = {metric_of(column): metric for column, metric in shown.items() if metric_of(column) not in METRICS}
    return {
        "metrics": list(experiment.metrics),
        "higher_is_better": {column: metric.higher_is_better for column, metric in shown.items()},
        "units": {column: metric.unit for column, metric in shown.items() if metric.unit != "%"},
        "described": {name: metric.summary for name, metric in foreign.items()},
        "sets": dict(experiment.protocol.sets),
        "select": experiment.recipe.select,
        "groups": list(experiment.protocol.groups(experiment.dataset)),
        "classes": list(experiment.dataset.classes),
        "uses_val": method.uses_val,
        "uses_groups": method.uses_groups,
        "baseline": method.baseline,
        "protocol_reference": experiment.protocol.reference,
        "dataset_reference": experiment.dataset.reference,
    }


def _data(experiment: Experiment, prepared: Prepared, place: int) -> dict[str, Any]:
    splits = prepared.splits
    labelled = {"train": splits.train, "val": splits.val, **splits.tests, **prepared.left_out}
    sizes = {name: len(split) for name, split in (labelled | dict(splits.probes)).items()}
    classes, protocol = len(experiment.dataset.classes), experiment.protocol
    groups = 0 if protocol.group_is_class else len(protocol.groups(experiment.dataset))
    return {
        "revision": experiment.dataset.revision,
        "unofficial": dict(experiment.dataset.unofficial),
        "sizes": sizes,
        "counts": {name: _counts(split, place, classes, groups) for name, split in labelled.items()},
    }


def _counts(split: Split, run: int, classes: int, groups: int) -> list[list[int]]:
    """Samples of each group (rows; without groups, one row) and class (columns), of one of stacked runs."""
    y, group = (t[run] if t.dim() == 2 else t for t in (split.y, split.group))
    cell = group * classes + y if groups else y
    counts: list[list[int]] = cell.bincount(minlength=max(groups, 1) * classes).view(-1, classes).tolist()
    return counts


def _columns(history: list[dict[str, Any]], run: int) -> dict[str, list[float]]:
    """The history of one run, by column."""
    columns: dict[str, list[float]] = {}
    for row in history:
        for name, value in row.items():
            cells = {f"{name}/{k}": v[run] for k, v in value.items()} if isinstance(value, dict) else {name: value}
            for column, cell in cells.items():
                columns.setdefault(column, []).append(cell)
    return columns


def _costs(trained: FinishedTraining, stacked: int, eager_because: str, threads: Threads) -> dict[str, Any]:
    """What the training took; of stacked runs, each run's share. With the trainings before it, but those that are the
    same for every method; a step's seconds are those of the training that is evaluated.

    eager_because: why no update was to be captured.
    """
    meter, method = trained.meter, trained.prepared.method
    own = [stage for stage in trained.stages.done if not stage.common]
    seconds = meter.seconds / stacked
    model, capture = getattr(method, "model", None), getattr(method, "capture", Capture())
    return {
        "train_seconds": seconds + sum(stage.seconds for stage in own),
        "steps": meter.steps + sum(stage.steps for stage in own),
        "seconds_per_step": seconds / meter.steps if meter.steps else None,
        "stages": [asdict(stage) for stage in trained.stages.done],
        "parameters": sum(p.numel() for p in model.parameters()) // stacked if model else None,
        "peak_memory_bytes": trained.peak_memory,
        "peak_process_bytes": _peak_process_bytes(),
        "stacked": stacked,
        "captured": capture.captured,
        "eager_because": "" if capture.captured else eager_because or capture.eager_because,
        "graph_memory_bytes": capture.memory_bytes,
        "meta_step": [choice for stage in own for choice in stage.meta_step] + meta_steps(method),
        "threads": threads.count,
        "threads_chosen_by": threads.chosen_by,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,  # of the last minute; Windows has none
    }


def _peak_process_bytes() -> int | None:
    """Since the process began; None on Windows, which has no such count."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
