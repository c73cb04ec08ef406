"""Measures training steps: all methods interleaved in one process, on the same data."""

import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any

import torch

from bench.errors import BenchError, NotApplicableError
from bench.guards.allocator import keep_freed_memory
from bench.meta import BACKENDS, check_backend
from bench.models.operators import flops
from bench.registry import Plugin, Registry, installed
from bench.runs.environment import environment
from bench.throughput.counts import counts
from bench.throughput.memory import peak_bytes
from bench.throughput.record import EAGER, ONE_BY_ONE, WAYS, StepCost, ThroughputRecord
from bench.throughput.step import Step, new_step
from bench.throughput.workload import Conditions, Workload
from bench.training.capture.update import CapturedUpdate
from bench.training.method import Method

CAPTURING = CapturedUpdate.WARM_UP + 1  # updates after the first, until one is replayed
WARM_UP = CAPTURING  # rounds
LEAST_SECONDS = 2e-3  # of one timing of the baseline: a shorter step is repeated


@dataclass(frozen=True)
class Entrant:
    """A method or a rival that is timed.

    Attributes:
        kind: `methods` or `rivals`.
        way: How the runs of a stack are updated, one of `record.WAYS`.
    """

    kind: str
    name: str
    method: type[Method]
    plugin: Plugin
    way: str = ""

    def row(self, **measured: Any) -> StepCost:
        """Its row of the record, with the fields of `StepCost` that were measured."""
        rival_of = getattr(self.method, "rival_of", None) if self.kind == "rivals" else None
        exact = getattr(self.method, "exact", True)
        return StepCost(self.name, self.way, rival_of, self.method.baseline, exact, **measured)


def repeated(a_round: Callable[[], None], rounds: int) -> None:
    """Make a round as often as `rounds` says."""
    for _ in range(rounds):
        a_round()


def measure(
    name: str,
    workload: Workload,
    conditions: Conditions,
    registry: Registry,
    command: str = "",
    repeat: Callable[[Callable[[], None], int], object] = repeated,
    memory: bool = True,
) -> ThroughputRecord:
    """Time one update of each method and rival, interleaved: each once a round, in an order drawn for the round.

    An update is `Method.update` with a batch that is in memory already. Drawing the validation batch belongs to it;
    drawing and augmenting the training batch, and evaluation, do not. A method or rival that fails has a row with the
    reason; only an error of the baseline is raised.

    Args:
        name: the workload's name, for the record.
        workload, conditions: what is timed, and how.
        registry: where the model, the methods and the rivals are looked up.
        command: the exact command, for the record.
        repeat: calls a round a number of times.
        memory: whether the memory is measured, which on a CPU takes a process for each row.

    Returns:
        The record, with a row for each entrant.

    Raises:
        UnknownNameError: for an unknown method or backend.
    """
    device = torch.device(conditions.device)
    part = entrants(workload, conditions, registry)
    with _settings(conditions, device):
        steps, errors = _begun(part, workload, conditions, registry)
        repeats, times = _timed(steps, conditions.rounds, device, repeat)
        rows = [
            _row(e, steps[e], times[e], workload, conditions, memory) if e in steps else _without_numbers(e, errors[e])
            for e in part
        ]
        methods = {e.name: e.method for e in part if e.kind == "methods"}
        least = {n: least_flops(method, workload, conditions, registry) for n, method in methods.items()}
        rows = [replace(row, floor_flops=least[row.method]) for row in rows]
    plugins = {"model": registry.find("models", workload.model).plugin} | {e.name: e.plugin for e in part}
    made = environment(plugins, device)
    for plugin in plugins.values():
        made.versions.update(_rivals_libraries(plugin))
    return ThroughputRecord(command, name, workload, conditions, repeats, rows, made)


def entrants(workload: Workload, conditions: Conditions, registry: Registry) -> list[Entrant]:
    """What is timed: the baseline first, then the methods asked for, or all, and the rivals of these.

    Of a stacked workload, each takes part in every way in which it can be updated.

    Args:
        workload, conditions: what is timed, and how.
        registry: where the methods and the rivals are looked up.

    Returns:
        The entrants.

    Raises:
        UnknownNameError: for an unknown method or backend.
    """
    check_backend(conditions.backend)
    methods = registry.offers["methods"]
    asked = [name for name in conditions.methods if registry.find("methods", name)]
    baseline = next((name for name, offer in sorted(methods.items()) if offer.value.baseline), None)
    if baseline is None:
        raise BenchError("no method that is installed is a baseline, to state times relative to")
    chosen = dict.fromkeys([baseline, *(asked or sorted(methods))])
    offers = [("methods", name, methods[name]) for name in chosen]
    if conditions.rivals:
        rivals = sorted(registry.offers["rivals"].items())
        offers += [("rivals", name, offer) for name, offer in rivals if offer.value.rival_of in chosen]

    def takes_part(way: str, kind: str, method: type[Method]) -> bool:
        if way == EAGER:
            return kind == "methods" and method.stackable and method.capturable and not conditions.eager
        return method.stackable or workload.stack == 1 or way == ONE_BY_ONE

    return [
        Entrant(kind, name, offer.value, offer.plugin, way)
        for way in (WAYS if workload.stack > 1 else WAYS[:1])
        for kind, name, offer in offers
        if takes_part(way, kind, offer.value)
    ]


def _begun(
    part: Sequence[Entrant], workload: Workload, conditions: Conditions, registry: Registry
) -> tuple[dict[Entrant, Step], dict[Entrant, Exception]]:
    """The steps, each made once, and why the others could not be made."""
    steps, errors = {}, {}
    for entrant in part:
        try:
            step = new_step(entrant.kind, entrant.method, entrant.way, workload, conditions, registry)
            step()
            steps[entrant] = step
        except Exception as error:
            if entrant.method.baseline:
                raise
            errors[entrant] = error
    return steps, errors


def _timed(
    steps: Mapping[Entrant, Step],
    rounds: int,
    device: torch.device,
    repeat: Callable[[Callable[[], None], int], object],
) -> tuple[int, dict[Entrant, list[float]]]:
    """The number of updates in one timing, and the seconds of one update in each round."""
    for step in [*steps.values()] * WARM_UP:
        step()
    baseline = next(iter(steps.values()))
    repeats = math.ceil(LEAST_SECONDS / min(seconds(baseline, 1, device) for _ in range(5)))
    times: dict[Entrant, list[float]] = {entrant: [] for entrant in steps}
    order, generator = list(steps), random.Random(0)

    def a_round() -> None:
        generator.shuffle(order)
        for entrant in order:
            times[entrant].append(round(seconds(steps[entrant], repeats, device), 9))

    repeat(a_round, rounds)
    return repeats, times


def seconds(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The time of one call of a step; on a GPU by its own clock, between synchronisations.

    Args:
        step: makes one step when it is called.
        repeats: number of calls over which the time is averaged.
        device: on which the step runs.

    Returns:
        Seconds.
    """
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        for _ in range(repeats):
            step()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / 1000 / repeats
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def _row(
    entrant: Entrant, step: Step, times: Sequence[float], workload: Workload, conditions: Conditions, memory: bool
) -> StepCost:
    new = partial(installed_step, entrant.kind, entrant.name, entrant.way, workload, conditions)
    return entrant.row(
        backend=step.backend if entrant.kind == "methods" else None,
        captured=step.captured,
        eager_because=step.eager_because,
        seconds=times,
        peak_bytes=peak_bytes(conditions.device, new, CAPTURING if step.captured else 2) if memory else None,
        **counts(step, step.eager, torch.device(conditions.device))._asdict(),
    )


def _without_numbers(entrant: Entrant, error: Exception) -> StepCost:
    return entrant.row(error=_reason(error), unfit=isinstance(error, NotApplicableError))


def least_flops(method: type[Method], workload: Workload, conditions: Conditions, registry: Registry) -> int | None:
    """The FLOPs of a step by the backend that needs the fewest.

    They are counted for a run by itself, which each backend may take; stacked runs have as many times these.

    Args:
        method: whose look-ahead is computed by each backend in turn.
        workload, conditions, registry: as for `measure`.

    Returns:
        The FLOPs. Backends that fail are left out; None if all do.
    """
    flops_of_backends = []
    for backend in BACKENDS[1:]:  # without auto
        single, asked = replace(workload, stack=1), replace(conditions, backend=backend, eager=True)
        with suppress(Exception):
            step = new_step("methods", method, "", single, asked, registry)
            step()  # chooses, which is no part of a step
            flops_of_backends.append(flops(step))
            if step.backend is None:  # there is no look-ahead
                break
    return workload.stack * min(flops_of_backends, default=0) or None


def installed_step(kind: str, name: str, way: str, workload: Workload, conditions: Conditions) -> Step:
    """The step of what is installed under a name, for a process that has nothing yet.

    Args:
        name: of the method or rival.
        kind, way, workload, conditions: as for `new_step`, which gives the step.
    """
    torch.set_num_threads(conditions.threads)
    registry = installed()
    return new_step(kind, registry.find(kind, name).value, way, workload, conditions, registry)


def _rivals_libraries(plugin: Plugin) -> dict[str, str]:
    """Versions of the libraries in the extras `rivals...` of a plugin's distribution, as far as they are installed."""
    versions: dict[str, str] = {}
    with suppress(metadata.PackageNotFoundError):
        for requirement in metadata.requires(plugin.distribution) or []:
            library = re.match(r"""([\w.-]+).*extra == ['"]rivals""", requirement)
            with suppress(metadata.PackageNotFoundError):
                versions |= {library[1]: metadata.version(library[1])} if library else {}
    return versions


@contextmanager
def _settings(conditions: Conditions, device: torch.device) -> Iterator[None]:
    """Threads, random state and current GPU, put back afterwards; and for good the allocator as runs have it."""
    keep_freed_memory()
    threads, gpus = torch.get_num_threads(), [device] if device.type == "cuda" else []
    torch.set_num_threads(conditions.threads)
    try:
        with torch.random.fork_rng(gpus), torch.cuda.device(device) if gpus else nullcontext():
            yield
    finally:
        torch.set_num_threads(threads)


def _reason(error: Exception) -> str:
    """In one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BenchError | ImportError) else f"{type(error).__name__}: {text}"
