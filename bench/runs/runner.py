"""Runs an experiment: train, evaluate, record."""

import secrets
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.errors import DeviceError, OptionError
from bench.recipe import Recipe
from bench.records.run import OUT_OF_MEMORY, RunResult
from bench.records.sections import UNKNOWN
from bench.records.spec import digest
from bench.records.store import ResultStore
from bench.runs.allocator import keep_freed_memory
from bench.runs.code import code_of
from bench.runs.environment import versions
from bench.runs.experiment import Experiment
from bench.runs.recording import Computation, record_of
from bench.runs.threads import choose_threads
from bench.runs.train import train
from bench.streams import RandomStreams
from bench.training.observer import Observer


def device_of(name: str) -> torch.device:
    """The device of a name.

    Args:
        name: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.

    Returns:
        The device.

    Raises:
        DeviceError: if it cannot be used, with those that can.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        usable = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise DeviceError(f"device {name!r} cannot be used here; there is: {', '.join(usable)}") from error
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
    together = len(seeds) if stacked else 1
    computed = Computation(
        device=device,
        stacked=stacked,
        runs=together,
        backend=backend,
        check=check,
        eager=eager,
        eager_because=_eager_because(experiment.recipe, stacked, device, eager),
        threads_asked=threads,
        threads=choose_threads(experiment, together, device, threads),
    )
    checkpoint = _checkpoint(experiment, seeds, store, computed)
    if not resume:
        _discard(checkpoint)
    elif _is_of_others(checkpoint):
        (observer or Observer()).note(
            "the checkpoint of this run is of other code or other data, so the training starts from the beginning"
        )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    streams = RandomStreams(tuple(seeds), stacked)
    method = experiment.new_method()
    how = {"backend": backend, "check": check, "capture": not computed.eager_because}
    with computed.threads.in_use():
        trained = train(experiment, method, streams, device, observer or Observer(), checkpoint, how)
    results = []
    for place, seed in enumerate(seeds):
        result = record_of(experiment, method, seed, trained, place, computed)
        if result.ok or not store.get(result.spec):  # a failure does not replace a result
            store.put(result, trained.arrays(place) if result.ok else None)
        results.append(result)
    if trained.outcome.status != OUT_OF_MEMORY:  # that may go well another time, from where it is
        _discard(checkpoint)
    return results


def _checkpoint(experiment: Experiment, seeds: Sequence[int], store: ResultStore, computed: Computation) -> Path:
    """The file of these runs, `RUN-CODE.pt`. Other code or data have another one, and so has a way of computing that
    rounds otherwise.
    """
    way = [computed.stacked, computed.backend, computed.eager]
    way += [computed.threads.count] if computed.device.type == "cpu" else []
    run = digest([[experiment.spec(seed).key for seed in seeds], way])
    code = code_of(experiment)
    source = [experiment.dataset.content, code.core, *code.plugins.items(), *map(str, experiment.plugins.values())]
    source += versions(experiment.plugins.values()).values()
    if UNKNOWN in code.plugins.values():
        source.append(secrets.token_hex())  # it may be any code, so there is nothing to go on from
    return store.folder.parent / "checkpoints" / f"{run}-{digest(source)}.pt"


def _is_of_others(checkpoint: Path) -> bool:
    """Whether there are checkpoints of these runs, and none of this code and data. They stay until the run is done."""
    files = [path.name for path in _files_of_run(checkpoint)]
    return bool(files) and not any(name.startswith(checkpoint.stem) for name in files)


def _files_of_run(checkpoint: Path) -> list[Path]:
    """The checkpoints of the evaluated training and of those before it, of any code."""
    return list(checkpoint.parent.glob(f"{checkpoint.stem.partition('-')[0]}-*.pt"))


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
    """Delete the checkpoints of these runs."""
    for path in _files_of_run(checkpoint):
        path.unlink()
