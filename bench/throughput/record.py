"""Records of throughput, one JSON file each, and what follows from their times. Nothing here imports torch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from bench.errors import BenchError
from bench.records.files import content_of_file
from bench.records.json_file import LARGEST, JsonRecord, files_in
from bench.records.sections import Environment
from bench.records.spec import canonical, digest
from bench.throughput.workload import Conditions, Workload

NOISE, WORSE = 1.05, 1.15
"""A ratio is worse than before if its lower quartile is above the old upper quartile times NOISE, or its median above
the old median times WORSE."""
EAGER, ONE_BY_ONE = "eager", "one by one"
WAYS = ("", EAGER, ONE_BY_ONE)
"""How the runs of a stacked workload are updated: at once, and captured where that is possible; at once and never
captured; and one after the other. A single run has only the first way."""


class Quartiles(NamedTuple):
    """The quartiles of a sample: the lower one, the median and the upper one."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class StepCost:
    """One method, or a rival: another implementation of a method.

    Attributes:
        way: one of WAYS.
        rival_of: the method that it implements; None for a method itself.
        exact: whether it computes the method's own update.
        backend: how its look-ahead finds its derivatives; None where it has no look-ahead of the engine.
        captured: whether its update is captured and replayed. eager_because: why not, where it was to be.
        error: why there are no numbers; else empty. unfit: whether that is because the method cannot be applied, which
            is no failure.
        seconds: of one update of all runs, by round.
        peak_bytes: the most memory in a step above that in use after setting up; None where it cannot be measured.
        calls: of one step: kernels on a GPU, operators that are no views elsewhere.
        waits: how often a step makes the host wait for a GPU; elsewhere, calls that would.
        flops: of one step's matrix products and convolutions.
        floor_flops: the least of these that the method needs, over all backends of its look-aheads that take the model.
    """

    name: str
    way: str = ""
    rival_of: str | None = None
    baseline: bool = False
    exact: bool = True
    backend: str | None = None
    captured: bool = False
    eager_because: str = ""
    error: str = ""
    unfit: bool = False
    seconds: Sequence[float] = ()
    peak_bytes: int | None = None
    calls: int | None = None
    waits: int | None = None
    flops: int | None = None
    floor_flops: int | None = None

    @property
    def failed(self) -> bool:
        """Whether its step failed; one that cannot be timed here has not."""
        return bool(self.error) and not self.unfit

    @property
    def label(self) -> str:
        """The name of this row in tables."""
        whose = f" (rival of {self.rival_of})" if self.rival_of else ""
        return self.name + whose + (f", {self.way}" if self.way else "")

    @property
    def method(self) -> str:
        """The method whose update this is."""
        return self.rival_of or self.name


@dataclass(frozen=True)
class ThroughputRecord(JsonRecord):
    """One workload under one set of conditions on one device.

    Attributes:
        command: the exact command.
        repeats: number of updates in one timing.
        environment: versions, device, plugins and git state.
    """

    command: str
    name: str
    workload: Workload
    conditions: Conditions
    repeats: int
    rows: Sequence[StepCost]
    environment: Environment

    @property
    def timed(self) -> list[StepCost]:
        """The rows that have times."""
        return [row for row in self.rows if not row.error]

    @property
    def baseline(self) -> StepCost:
        """The row that all others are compared with."""
        return next(row for row in self.rows if row.baseline and not row.way)

    def ratio(self, row: StepCost) -> Quartiles:
        """The time of a row relative to the baseline's in the same round.

        Args:
            row: one that was timed.

        Returns:
            The quartiles over the rounds.
        """
        return paired(row.seconds, self.baseline.seconds)

    def gain(self, row: StepCost) -> Quartiles | None:
        """The time of stacked runs relative to that of the same runs one after the other.

        Args:
            row: one of stacked runs that was timed.

        Returns:
            The quartiles over the rounds; None if the runs were not timed one after the other.
        """
        alone = [r for r in self.timed if r.way == ONE_BY_ONE and r.name == row.name]
        return paired(row.seconds, alone[0].seconds) if alone and row.way != ONE_BY_ONE else None

    def floor(self, row: StepCost) -> float | None:
        """The least FLOPs that the method of a row needs, relative to the baseline's.

        Args:
            row: a row of this record.

        Returns:
            The ratio; None if they were not counted.
        """
        return row.floor_flops / self.baseline.flops if row.floor_flops and self.baseline.flops else None

    @property
    def path(self) -> str:
        """The name of its file: the same for a repetition on the same kind of device."""
        asked = asdict(self.conditions) | {"rounds": None, "device": self.conditions.kind}
        key = digest([self.name, asdict(self.workload), asked, self.environment.device])
        return f"{self.name}.{self.conditions.kind}.{self.conditions.precision}.{key}.json".replace("/", "-")

    def check(self) -> None:
        """Whether the page and the picture can show it."""
        rounds = {len(row.seconds) for row in self.timed}
        if len(rounds) > 1 or min(rounds, default=2) < 2 or any(s <= 0 for row in self.timed for s in row.seconds):
            raise ValueError("its rows are not timed in the same rounds, two or more, by times above 0")
        if not any(row.baseline and not row.way and not (rounds and row.error) for row in self.rows):
            raise ValueError("it has no baseline that is timed")
        if unknown := {row.way for row in self.rows} - set(WAYS):
            raise ValueError(f"it has rows of an unknown way: {', '.join(sorted(unknown))}")
        if "torch" not in self.environment.versions:
            raise ValueError("it does not say the version of torch")

    @classmethod
    def of(cls, values: dict[str, Any], texts: Mapping[str, str]) -> "ThroughputRecord":
        workload, conditions = values["workload"], values["conditions"]
        values["workload"] = Workload(**workload | {"shape": tuple(workload["shape"])})
        values["conditions"] = Conditions(**conditions | {"methods": tuple(conditions.get("methods", ()))})
        values["environment"] = Environment.read(values["environment"])
        return cls(**values | {"rows": [StepCost(**row) for row in values["rows"]]})


def paired(values: Sequence[float], base: Sequence[float]) -> Quartiles:
    """The quartiles of the ratios of each round.

    Args:
        values, base: one for each round.

    Returns:
        The quartiles of values / base.
    """
    return quartiles([value / of for value, of in zip(values, base, strict=True)])


def quartiles(values: Sequence[float]) -> Quartiles:
    """The quartiles of values, interpolated.

    Args:
        values: at least one.

    Returns:
        The quartiles.
    """
    return Quartiles(*quantiles(values, n=4, method="inclusive"))


def comparable(workload: Workload, conditions: Conditions) -> str:
    """What two records share whose ratios can be compared.

    Args:
        workload, conditions: those of a record.

    Returns:
        One text for equal conditions.
    """
    c = conditions
    return canonical([asdict(workload), c.kind, c.precision, c.channels_last, c.backend, c.eager, c.threads])


def older(path: Path, workloads: Iterable[Workload], conditions: Conditions) -> list[ThroughputRecord]:
    """The records to compare with.

    Args:
        path: a folder, a file of one record, or a file in which pytest-benchmark keeps them (`extra_info`).
        workloads, conditions: those of the new records.

    Returns:
        All records that are there, also those of other workloads and conditions.

    Raises:
        BenchError: if they cannot be read, or if none can be compared with one of the workloads.
    """
    try:
        paths = [path] if path.is_file() else files_in(path)
        contents = [json.loads(content_of_file(each, LARGEST)) for each in paths]
        records = [ThroughputRecord.from_values(values) for content in contents for values in _values(content)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BenchError(f"{path} holds no records to compare with: {error}") from error
    recorded = {comparable(record.workload, record.conditions) for record in records}
    eager = ", eager" if conditions.eager else ""
    for workload in workloads:
        if comparable(workload, conditions) not in recorded:
            raise BenchError(
                f"{path} has no record to compare with for {workload} ({conditions.kind}, {conditions.precision}, "
                f"backend {conditions.backend}, threads: {conditions.threads}{eager})"
            )
    return records


def _values(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The records in a JSON file: those that pytest-benchmark kept, or the only one."""
    if "benchmarks" in content:
        return [benchmark["extra_info"]["record"] for benchmark in content["benchmarks"]]
    return [content]


def regressions(new: ThroughputRecord, old: Iterable[ThroughputRecord]) -> list[str]:
    """Find what got worse: methods whose ratio to the baseline rose, that fail, or that are gone.

    Args:
        new: the new record.
        old: records to compare with; those that are not comparable are left out.

    Returns:
        A sentence for each method that got worse.
    """
    asked = comparable(new.workload, new.conditions)
    worse = []
    for record in old:
        if comparable(record.workload, record.conditions) == asked:
            rows = {row.label: row for row in new.rows}
            for row in record.timed:
                if not row.rival_of and (why := _worse(new, rows.get(row.label), record, row)):
                    worse.append(f"{new.name}: {row.label}{why}")
    return worse


def _worse(new: ThroughputRecord, row: StepCost | None, old: ThroughputRecord, before: StepCost) -> str:
    """What is worse about a row than it was; empty where nothing is."""
    if row is None:
        expected = before.name in new.conditions.methods or new.conditions.methods == old.conditions.methods
        return " is missing" if expected or before.baseline else ""
    if row.error:
        return f" failed: {row.error}"
    now, was = new.ratio(row), old.ratio(before)
    if now.low <= was.high * NOISE and now.median <= was.median * WORSE:
        return ""
    return f": {_shown(now)} × the baseline, before {_shown(was)}"


def _shown(q: Quartiles) -> str:
    return f"{q.median:.2f} [{q.low:.2f}, {q.high:.2f}]"
