"""Runs an experiment: train, evaluate, record. The only place that sees test data."""

import platform
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.data import Split
from bench.errors import BenchError, DeviceError, DivergedError, OptionError, PluginError
from bench.evaluation import Evaluations
from bench.experiment import Experiment
from bench.meter import Meter, Observer
from bench.method import Method, Task
from bench.metrics import METRICS
from bench.normalize import normalized
from bench.protocols import Splits
from bench.results import ResultStore, RunResult
from bench.spec import RunSpec, digest
from bench.stack import stack
from bench.streams import Streams, derive

LIBRARIES = ("reweight-bench", "torch", "torchvision", "timm", "numpy")


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
) -> list[RunResult]:
    """Train the experiment with one seed, or with several at once if `stacked`, and record each run.

    A training that fails is recorded with the kind of failure. Bad input (BenchError) and an interrupt pass through and
    leave no record; the checkpoint of an interrupted run stays, and the same call goes on from it unless told not to.
    """
    if stacked and not experiment.method.stackable:
        raise OptionError(f"method {experiment.method_name} cannot train stacked runs: leave out --stack")
    streams = Streams(tuple(seeds), stacked)
    splits = _splits(experiment, streams, device)
    task = _task(experiment, splits, streams, device)
    evaluations = _evaluations(experiment, splits)
    name = digest([[experiment.spec(seed).key for seed in seeds], stacked, _source(experiment)])
    checkpoint = store.folder.parent / "checkpoints" / f"{name}.pt"
    if not resume:
        checkpoint.unlink(missing_ok=True)
    meter = Meter(evaluations, observer, checkpoint)
    method = experiment.method(**experiment.options)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    outcome = _fit(method, task, meter)
    results = []
    for place, seed in enumerate(seeds):
        status, error = outcome
        if status == "ok" and meter.diverged[place]:
            status, error = "diverged", "the training loss or a parameter is not finite"
        result = RunResult(
            spec=(spec := experiment.spec(seed)),
            status=status,
            command=_command(experiment, spec, stacked),
            off_recipe=experiment.off_recipe,
            about=_about(experiment),
            resolved=experiment.resolved,
            data=_data(experiment, splits),
            history=_columns(meter.history, place),
            selected=evaluations.selected(meter.history, place) if status == "ok" else {},
            costs=_costs(meter, task, method, len(seeds) if stacked else 1),
            environment=environment(experiment, device),
            error=error,
        )
        if result.ok or not store.get(spec):  # a failure does not replace a result
            store.put(result, evaluations.predictions(place) if result.ok else None)
        results.append(result)
    if outcome[0] != "out of memory":  # that may go well another time, from where it is
        checkpoint.unlink(missing_ok=True)
    return results


def _fit(method: Method, task: Task, meter: Meter) -> tuple[str, str]:
    """Train; the status and, of a failure, its message."""
    try:
        with torch.random.fork_rng([task.device] if task.device.type == "cuda" else []):
            model = method.fit(task, meter)
        if model is not method.model or not meter.history or meter.history[-1]["epoch"] != task.epochs:
            raise PluginError("`fit` must return self.model after all of meter.epochs(self): that is what is evaluated")
    except DivergedError as error:
        return "diverged", str(error)
    except BenchError:
        raise
    except Exception as error:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            return "out of memory", str(error).split("\n")[0]
        return "plugin error", traceback.format_exc()
    return "ok", ""


def _source(experiment: Experiment) -> list[str]:
    """What code trains: a checkpoint of another version is not gone on from."""
    return [*map(str, experiment.plugins.values()), *(version(name) for name in LIBRARIES)]


def _command(experiment: Experiment, spec: RunSpec, stacked: bool) -> str:
    own = experiment.dataset.recipe
    flags = ["--allow-unofficial-data"] if experiment.dataset.unofficial else []
    return spec.command(own.model, own.protocol, [*flags, "--stack"] if stacked else flags)


def new_model(experiment: Experiment, streams: Streams, device: torch.device) -> nn.Module:
    """The model with initial weights drawn by the purpose `init`, normalising its input; one of all stacked runs."""
    dataset, models = experiment.dataset, []
    for seed in streams.seeds:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive(seed, "init"))
            model = experiment.model(dataset.shape, len(dataset.classes), **experiment.model_options)
        models.append(normalized(model, dataset.mean, dataset.std))
    return (stack(models) if streams.stacked else models[0]).to(device)


def _splits(experiment: Experiment, streams: Streams, device: torch.device) -> Splits:
    """The data of the run, or of all stacked runs, on the device."""
    found = []
    for seed in streams.seeds:
        splits = experiment.protocol.splits(experiment.dataset, experiment.recipe, Streams((seed,)))
        if _trains_on_val(experiment):
            splits = replace(splits, train=Split.cat([splits.train, splits.val]))
        found.append(splits)

    def join(splits: Sequence[Split]) -> Split:
        return (Split.stack(splits) if streams.stacked else splits[0]).to(device)

    tests = {name: join([s.tests[name] for s in found]) for name in found[0].tests}
    return Splits(join([s.train for s in found]), join([s.val for s in found]), tests)


def _trains_on_val(experiment: Experiment) -> bool:
    return experiment.validation == "paper" and not experiment.method.uses_val


def _task(experiment: Experiment, splits: Splits, streams: Streams, device: torch.device) -> Task:
    return Task(
        train=splits.train,
        val=splits.val,
        classes=experiment.dataset.classes,
        groups=experiment.protocol.groups(experiment.dataset),
        recipe=experiment.recipe,
        new_model=lambda: new_model(experiment, streams, device),
        streams=streams,
        augment=experiment.dataset.augment if experiment.recipe.augment else None,
    )


def _evaluations(experiment: Experiment, splits: Splits) -> Evaluations:
    return Evaluations(
        splits,
        groups=len(experiment.protocol.groups(experiment.dataset)),
        group_is_class=experiment.protocol.group_is_class,
        batch_size=experiment.recipe.eval_batch_size,
        select=None if _trains_on_val(experiment) else experiment.recipe.select,
    )


def _about(experiment: Experiment) -> dict[str, Any]:
    return {
        "metrics": list(experiment.metrics),
        "higher_is_better": {name: METRICS[name].higher_is_better for name in experiment.metrics},
        "select": experiment.recipe.select,
        "groups": list(experiment.protocol.groups(experiment.dataset)),
        "classes": list(experiment.dataset.classes),
        "uses_val": experiment.method.uses_val,
        "uses_groups": experiment.method.uses_groups,
        "baseline": experiment.method.baseline,
        "protocol_reference": experiment.protocol.reference,
        "dataset_reference": experiment.dataset.reference,
    }


def _data(experiment: Experiment, splits: Splits) -> dict[str, Any]:
    sizes = {"train": len(splits.train), "val": len(splits.val)} | {n: len(s) for n, s in splits.tests.items()}
    return {
        "revision": experiment.dataset.revision,
        "unofficial": dict(experiment.dataset.unofficial),
        "sizes": sizes,
    }


def _columns(history: list[dict[str, Any]], run: int) -> dict[str, list[float]]:
    """The history of one run, by column."""
    columns: dict[str, list[float]] = {}
    for row in history:
        for name, value in row.items():
            cells = {f"{name}/{k}": v[run] for k, v in value.items()} if isinstance(value, dict) else {name: value}
            for column, cell in cells.items():
                columns.setdefault(column, []).append(cell)
    return columns


def _costs(meter: Meter, task: Task, method: Method, stacked: int) -> dict[str, Any]:
    """What the training took; of stacked runs, each run's share."""
    cuda = task.device.type == "cuda"
    seconds = meter.seconds / stacked
    model = getattr(method, "model", None)
    return {
        "train_seconds": seconds,
        "steps": meter.steps,
        "seconds_per_step": seconds / meter.steps if meter.steps else None,
        "parameters": sum(p.numel() for p in model.parameters()) // stacked if model else None,
        "peak_memory_bytes": torch.cuda.max_memory_allocated(task.device) if cuda else None,
        "peak_process_bytes": _peak_process_bytes(),
        "stacked": stacked,
        "threads": torch.get_num_threads(),
    }


def _peak_process_bytes() -> int | None:
    """Since the process began; None on Windows, which has no such count."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment(experiment: Experiment, device: torch.device) -> dict[str, Any]:
    """Versions, device, plugins and the state of the source, where it is a git checkout."""
    cuda = device.type == "cuda"
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
        "plugins": {kind: str(plugin) for kind, plugin in experiment.plugins.items()},
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "platform": sys.platform,
        "git": _git(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"CPU {name or platform.machine()}"


def _git() -> dict[str, Any] | None:
    """Commit of the checkout that `bench` is imported from, and whether it has uncommitted changes."""

    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # else it is installed below somebody else's checkout
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", ".", "../plugins")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None
