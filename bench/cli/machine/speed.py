"""The speed check of `bench doctor`: the plain step of a small workload, timed as `bench throughput` does it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.cli.machine.lines import LOOK, OK, Line
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.registry import Registry
    from bench.throughput import Conditions, ThroughputRecord, Workload

SECONDS = 8.0
"""Of timing, all devices together. With what comes before it, a check takes about ten seconds."""
SLOW = 2.0
"""A step that takes so many times as long as the record's is worth a look: another processor explains less."""


class Plain(NamedTuple):
    """What is timed: the baseline's step of a workload under usual conditions, and the record that it is compared with.

    Attributes:
        name: of the workload.
        method: the name of the baseline.
    """

    name: str
    workload: "Workload"
    method: str
    record: "ThroughputRecord | None" = None

    @property
    def recorded(self) -> float:
        """Seconds of the step in the record; infinite without one."""
        return _median(self.record.baseline.seconds) if self.record else float("inf")

    @property
    def device(self) -> str:
        """The device of the record; empty without one."""
        return self.record.environment.device if self.record else ""


def speed(asked: str, records: Path, registry: "Registry") -> Iterator[Line]:
    """A line for each device: that which is asked for or, for `auto`, the CPU and the GPU if there is one.

    Args:
        asked: as `--device` names it.
        records: the folder with the folder `throughput`.
        registry: the plugins.
    """
    from bench.runs.environment import device_name
    from bench.runs.runner import device_of

    device = device_of(asked)
    devices = ["cpu"] if asked == "auto" and device.type != "cpu" else []
    known, why = _known(records / "throughput")
    for name in (*devices, str(device)):
        conditions = _usual(name)
        plain = _compared(known, device_name(device_of(name)), conditions, registry) or _small(registry)
        seconds = _timed(plain, conditions, registry, SECONDS / (1 + len(devices)))
        yield _line(name, plain, seconds, why or f"no record is of such a step on {conditions.kind}")


def _usual(device: str) -> "Conditions":
    from bench.throughput import Conditions

    return Conditions(device=device)


def _known(folder: Path) -> tuple[list["ThroughputRecord"], str]:
    """The records; without any, why."""
    from bench.records.json_file import load
    from bench.throughput import ThroughputRecord

    records, damaged = load(folder, ThroughputRecord)
    if records:
        return records, ""
    if damaged:
        return [], f"of {len(damaged)} records in {folder} none can be read"
    return [], f"there are no records in {folder} (a clone of the repository has some: name its folder with --records)"


def _compared(
    known: list["ThroughputRecord"], device: str, conditions: "Conditions", registry: "Registry"
) -> Plain | None:
    """The quickest plain step that is recorded on the most similar device; None where no record fits."""
    from bench.throughput.record import comparable

    usable = []
    installed = registry.values("workloads")
    for record in known:
        workload, method = installed.get(record.name), record.baseline.name
        if workload is None or workload.stack > 1 or method not in registry.offers["methods"]:
            continue
        if comparable(workload, conditions) == comparable(record.workload, record.conditions):
            usable.append(Plain(record.name, workload, method, record))
    return min(usable, key=lambda plain: (-likeness_of(device, plain.device), plain.recorded), default=None)


def likeness_of(device: str, other: str) -> float:
    """How similar two devices are by their names: the share of their words that both have, from 0 to 1.

    Args:
        device, other: the names, as records have them.
    """
    words, others = set(device.lower().split()), set(other.lower().split())
    return len(words & others) / len(words | others)


def _small(registry: "Registry") -> Plain:
    """The installed workload with the fewest numbers in a batch, for want of times. Raises BenchError without one."""
    baselines = sorted(name for name, offer in registry.offers["methods"].items() if offer.value.baseline)
    workloads = {n: w for n, w in sorted(registry.values("workloads").items()) if w.stack == 1}
    if not baselines or not workloads:
        raise BenchError("there is no workload, or no baseline, that could be timed")
    name = min(workloads, key=lambda name: workloads[name].batch_size * prod(workloads[name].shape))
    return Plain(name, workloads[name], baselines[0])


def _timed(plain: Plain, conditions: "Conditions", registry: "Registry", seconds: float) -> list[float]:
    """The times of a step, in seconds, for about so many seconds."""
    from bench.throughput.measure import measure

    def repeat(a_round: Callable[[], None], rounds: int) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end or rounds > 0:
            a_round()
            rounds -= 1

    asked = replace(conditions, rounds=2, methods=(plain.method,), rivals=False)
    record = measure(plain.name, plain.workload, asked, registry, repeat=repeat, memory=False)
    row = next(row for row in record.rows if row.name == plain.method)
    if row.error:
        raise BenchError(row.error)
    return list(row.seconds)


def _median(seconds: Sequence[float]) -> float:
    from bench.throughput.record import quartiles

    return quartiles(seconds).median


def _line(device: str, plain: Plain, seconds: list[float], without: str) -> Line:
    from bench.throughput.record import quartiles

    low, median, high = (f"{1e3 * value:.3g}" for value in quartiles(seconds))
    found = f"{plain.method} on {plain.name}, {device}: {median} ms a step [{low}, {high}]"
    if plain.record is None:
        return Line("speed", f"{found}; compared with nothing: {without}")
    ratio = _median(seconds) / plain.recorded
    made = plain.record.environment
    of = f"{plain.device}, torch {made.versions['torch']}, {made.created[:10]}"
    mark = LOOK if ratio > SLOW else OK
    return Line("speed", f"{found}, {ratio:.2f} × the {1e3 * plain.recorded:.3g} ms of the record of {of}", mark)
