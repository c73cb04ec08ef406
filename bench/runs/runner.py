"""Makes the runs of an experiment: each is trained, evaluated and recorded, and kept apart from the others."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.errors import DataError, DeviceError, OptionError, StoreError
from bench.failures import Interrupts, hangs
from bench.guards.allocator import keep_freed_memory
from bench.guards.guard import Guard
from bench.guards.outcome import Outcome
from bench.guards.process import ProcessState
from bench.guards.tensors import Watched, read_afresh, tensors_of
from bench.guards.watchdog import RelayingObserver, Watchdog
from bench.parts import Running
from bench.recipe import Recipe
from bench.records.run import OUT_OF_MEMORY, PLUGIN_ERROR, TIMED_OUT, RunResult
from bench.records.sections import UNKNOWN
from bench.registry import installed
from bench.runs.build import begin
from bench.runs.code import code_of
from bench.runs.environment import versions
from bench.runs.evaluation import Undisturbed
from bench.runs.experiment import Experiment
from bench.runs.recording import Computation, record_of
from bench.runs.threads import Threads, choose_threads
from bench.runs.train import FinishedTraining, train
from bench.store.checkpoints import checkpoint_path, checkpoints_of
from bench.store.results import ResultStore
from bench.streams import RandomStreams
from bench.training.observer import Observer


def device_of(name: str) -> torch.device:
    """The device that `--device` names.

    Args:
        name: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        DeviceError: if it cannot be used here; the message lists those that can.
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
    timeout: float | None = None,
    checked: bool = False,
) -> list[RunResult]:
    """Train an experiment with one seed, or with several at once if `stacked`, and record each run.

    Whatever is raised within a run is its failure and is recorded with its kind. A method that is not applicable is
    recorded with the reason. An interrupt passes through and leaves no record; the checkpoint of an interrupted run
    stays, and the same call goes on from it. What the run leaves behind in the process and in the data is put back.

    Args:
        experiment: what to run.
        seeds: one seed, or those of the stack.
        store: where the records go. The checkpoints are in a folder beside it.
        device: where it is computed.
        observer: is told of progress; None: nobody is.
        stacked: whether the runs are trained at once, with batched operators.
        resume: whether to go on from a checkpoint; otherwise the checkpoints of these runs are deleted.
        backend, check: how look-aheads take their derivatives, and whether these are checked (`bench.meta`).
        eager: whether to capture no updates (`bench.training.capture`). Else those of stacked runs and on a GPU are
            captured, except with a cyclical learning rate, where none could be used twice, and where the model leaves
            training mode. The record says whether updates were replayed, and why not.
        threads: of torch on the CPU, for this run alone; None: OMP_NUM_THREADS or a rule decides
            (`bench.runs.threads`).
        timeout: seconds without progress after which the run is a failure (`bench.guards.watchdog`); None: no limit.
        checked: whether bad input was looked for before (`check`). Then every error is a failure of this run.

    Returns:
        The record of each run, in the order of the seeds.

    Raises:
        BenchError: for a mistake that the user can mend, before the first update, unless `checked`; and where a record
            cannot be written, or data that the run has written to cannot be read afresh.
        KeyboardInterrupt: if the user has interrupted.
    """
    keep_freed_memory()
    code_of(experiment)  # reads the sources once, which takes longer than a short timeout allows on a busy machine
    if stacked and experiment.unstackable:
        raise OptionError(f"{experiment.unstackable} cannot train stacked runs: leave out --stack")
    computed = _computation(experiment, seeds, device, stacked, backend, check, eager, threads)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with Interrupts() as interrupts:
        trained = FinishedTraining(Outcome(experiment.parts, interrupts))
        trained.outcome.is_bad_input = lambda: not (checked or trained.has_begun)

        def give_up() -> str:
            error, traceback = hangs(experiment.parts)
            trained.outcome.fail(TIMED_OUT, f"{error}: no progress for {timeout:g} seconds", traceback)
            told = f"failed ({TIMED_OUT}): {trained.outcome.error}"
            _recorded(experiment, seeds, store, trained, computed)
            return _ended(told)

        watchdog = Watchdog(timeout, give_up)
        heard = RelayingObserver(observer or Observer(), interrupts, watchdog.beat)
        with _kept_apart(experiment, trained, heard.note) as guarded, trained.outcome, watchdog.watching():
            private = experiment.private(guarded.running)
            computed = replace(computed, threads=choose_threads(private, computed.runs, device, threads))
            checkpoint = _checkpoint(experiment, seeds, store, computed)
            if not resume:
                _discard(checkpoint)
            elif _is_of_others(checkpoint):
                why = "the checkpoint of this run is of other code or other data"
                heard.note(f"{why}, so the training starts from the beginning")
            streams = RandomStreams(tuple(seeds), stacked)
            how = {"backend": backend, "check": check, "capture": not computed.eager_because}
            with computed.threads.in_use():
                train(private, trained, streams, device, heard, checkpoint, how, guarded.undisturbed)
        results = _recorded(experiment, seeds, store, trained, computed)
        if trained.wrote_to:
            _read_afresh(experiment, trained.wrote_to)
        interrupts.check()
    return results


def check(
    experiment: Experiment,
    seeds: Sequence[int],
    device: torch.device,
    stacked: bool = False,
    timeout: float | None = None,
    observer: Observer | None = None,
) -> None:
    """Look for bad input before anything is trained: whether the data of every seed can be drawn, and the method can
    begin.

    Errors that are not bad input are left to the runs, and so is what takes longer than the timeout.

    Args:
        experiment, seeds, device, stacked, timeout: as for `run`.
        observer: not used; it stands here so that both functions can be called in the same way.

    Raises:
        BenchError: for a mistake that the user can mend.
        KeyboardInterrupt: if the user has interrupted.
    """
    with Interrupts() as interrupts:
        outcome = Outcome(experiment.parts, interrupts, is_bad_input=lambda: True)
        trained = FinishedTraining(outcome)
        watchdog = Watchdog(timeout, lambda: _ended(f"{hangs(experiment.parts)[0]}, in the checks before the training"))
        with _kept_apart(experiment, trained) as guarded, outcome, watchdog.watching():
            begin(experiment.private(guarded.running), seeds, device, stacked)
        if trained.wrote_to:
            _read_afresh(experiment, trained.wrote_to)
        interrupts.check()


def record_failure(
    experiment: Experiment,
    seeds: Sequence[int],
    store: ResultStore,
    device: torch.device,
    failure: tuple[str, str, str],
    **how: Any,
) -> list[RunResult]:
    """Record that runs failed of which nothing else is known, such as those whose process died.

    Args:
        experiment, seeds, store, device: as for `run`.
        failure: the status, the message in one line, and the traceback.
        how: further arguments of `run`, for the record.

    Returns:
        The records, in the order of the seeds.
    """
    trained = FinishedTraining(Outcome(experiment.parts))
    status, error, traceback = failure
    trained.outcome.fail(status, f"{experiment.parts[0]}: {error}", traceback)
    ways = {name: how[name] for name in ("stacked", "backend", "check", "eager", "threads") if name in how}
    return _recorded(experiment, seeds, store, trained, _computation(experiment, seeds, device, **ways))


def _ended(failure: str) -> str:
    """What is said when the process is ended."""
    return (
        f"{failure}: it does not end when it is told to, so the process is ended, and what else was asked for is not "
        f"run: --isolate keeps the other runs"
    )


def _computation(
    experiment: Experiment,
    seeds: Sequence[int],
    device: torch.device,
    stacked: bool = False,
    backend: str = "auto",
    check: bool = True,
    eager: bool = False,
    threads: int | None = None,
) -> Computation:
    """How runs are computed, with as many threads as torch has now."""
    return Computation(
        device=device,
        stacked=stacked,
        seeds=tuple(seeds) if stacked else (),
        backend=backend,
        check=check,
        eager=eager,
        eager_because=_eager_because(experiment.recipe, stacked, device, eager),
        threads_asked=threads,
        threads=Threads(torch.get_num_threads(), "torch"),
    )


class Guarded(NamedTuple):
    """The contexts of a run: for its evaluations, and for code of parts other than its method."""

    undisturbed: Undisturbed
    running: Running


@contextmanager
def _kept_apart(
    experiment: Experiment, trained: FinishedTraining, note: Callable[[str], None] = lambda text: None
) -> Iterator[Guarded]:
    """Within, a run is trained. What it leaves behind in the process is put back, and what it did is its failure where
    its own numbers were computed with it. Gives the contexts for its evaluations and for parts other than its method.
    """
    packages = {plugin.module.partition(".")[0] for plugin in installed().plugins}
    state = ProcessState({"bench", *packages})
    watched = _watched(experiment, note)
    guard = Guard(packages, watched, experiment.parts)
    try:
        yield Guarded(state.undisturbed, guard.running)
    finally:
        left = state.put_back()
        trained.left_behind = [*dict.fromkeys(guard.put_back), *left.code, *left.settings]
        whose = f"{experiment.parts[0]}: " if experiment.parts else ""
        if left.code:
            names = ", ".join(left.code)
            trained.outcome.fail(PLUGIN_ERROR, f"{whose}replaced {names}, with which other code computes too")
        if changed := watched.changed():
            trained.wrote_to = watched
            trained.outcome.fail(PLUGIN_ERROR, f"{whose}wrote to data that it may only read: {', '.join(changed)}")


def _watched(experiment: Experiment, note: Callable[[str], None]) -> Watched:
    """The tensors of the data set, as they were loaded: what an earlier run left, such as a `__del__` or a thread, can
    write to them when that run is over.
    """
    watched = Watched(tensors_of(experiment.dataset))
    while experiment.as_loaded and not experiment.as_loaded.has_content_of(watched):
        note("what an earlier run left has written to the data, which are read afresh")
        _read_afresh(experiment, experiment.as_loaded)
        watched = Watched(tensors_of(experiment.dataset))
    return watched


def _read_afresh(experiment: Experiment, watched: Watched) -> None:
    """Load the data again, as a run has written to them. Raises DataError where that does not give the same data."""
    if not (experiment.load and read_afresh(watched, experiment.load())):
        raise DataError(
            f"{experiment.method_name}, or what ran before it, has written to the data of {experiment.dataset.name}, "
            f"and reading them again does not give the same data: leave out that method, or give each run a process of "
            f"its own (--isolate)"
        )


def _recorded(
    experiment: Experiment,
    seeds: Sequence[int],
    store: ResultStore,
    trained: FinishedTraining,
    computed: Computation,
) -> list[RunResult]:
    """The records of runs that are over, which the store has too. Checkpoints that nobody needs any more go."""
    if computed.device.type == "cuda":
        trained.peak_memory = torch.cuda.max_memory_allocated(computed.device)
    results = []
    for place, seed in enumerate(seeds):
        result = record_of(experiment, seed, trained, place, computed)
        if result.ok or not store.get(result.spec):  # a failure does not replace a result
            store.put(result)
        results.append(result)
    if trained.outcome.status not in (OUT_OF_MEMORY, TIMED_OUT):  # these may go well another time, from where they are
        _discard(_checkpoint(experiment, seeds, store, computed))
    return results


def _checkpoint(experiment: Experiment, seeds: Sequence[int], store: ResultStore, computed: Computation) -> Path:
    """The file of these runs, `RUN-CODE.pt`. Other code or data have another one, and so has a way of computing that
    rounds otherwise.
    """
    way = [computed.stacked, computed.backend, computed.eager]
    way += [computed.threads.count] if computed.device.type == "cpu" else []
    code = code_of(experiment)
    source = [experiment.dataset.content, code.core, *code.plugins.items(), *map(str, experiment.plugins.values())]
    source += versions(experiment.plugins.values()).values()
    if UNKNOWN in code.plugins.values():
        source.append(secrets.token_hex())  # it may be any code, so there is nothing to go on from
    return checkpoint_path(store.folder, experiment.spec(seeds[0]), seeds, way, source)


def _is_of_others(checkpoint: Path) -> bool:
    """Whether there are checkpoints of these runs, and none of this code and data. They stay until the run is done."""
    files = [path.name for path in checkpoints_of(checkpoint)]
    return bool(files) and not any(name.startswith(checkpoint.stem) for name in files)


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
    """Delete the checkpoints of these runs. Raises StoreError where that cannot be done."""
    for path in checkpoints_of(checkpoint):
        try:
            path.unlink()
        except OSError as error:
            raise StoreError(f"cannot remove {path}: {error.strerror}: remove it by hand") from error
