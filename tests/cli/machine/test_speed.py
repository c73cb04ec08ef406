"""The speed check of `bench doctor`: which record it takes, what it says, and that it times for as long as it may."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from click.testing import CliRunner

import bench.registry
import bench.throughput.measure
from bench.cli import main
from bench.cli.machine import speed as module
from bench.cli.machine.lines import LOOK, OK
from bench.cli.machine.speed import likeness_of, speed
from bench.errors import BenchError
from bench.registry import Offer, Plugin, Registry
from bench.throughput import Conditions, ThroughputRecord, Workload
from bench.throughput.record import StepCost
from tests.environments import made_up_environment

PLUGIN = Plugin("p", "dist", "1")
SMALL = Workload("logistic", (3,), 2, batch_size=8)
LARGE = replace(SMALL, batch_size=64)
STACK = replace(SMALL, stack=3)
WORKLOADS = {"small": SMALL, "large": LARGE, "stack": STACK}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What is installed, with three workloads of its own alone."""
    found = bench.registry.installed()
    own = {name: Offer(workload, PLUGIN) for name, workload in WORKLOADS.items()}
    registry = replace(found, offers=found.offers | {"workloads": own})
    monkeypatch.setattr(bench.registry, "installed", lambda: registry)
    return registry


def record(
    name: str, seconds: Sequence[float], processor: str = "CPU A", workload: Workload | None = None, **conditions: Any
) -> ThroughputRecord:
    """A record of these times of the baseline."""
    rows = [StepCost("erm", baseline=True, seconds=seconds)]
    made = made_up_environment(device=processor)
    return ThroughputRecord("c", name, workload or WORKLOADS[name], Conditions(**conditions), 4, rows, made)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Workload, Conditions]]:
    """What was timed; each step took 2, 4 and 6 ms."""
    asked = []

    def measure(name: str, workload: Workload, conditions: Conditions, *_: Any, **options: Any) -> ThroughputRecord:
        asked.append((name, workload, conditions))
        assert options["memory"] is False
        return record(name, [2e-3, 4e-3, 6e-3], workload=workload)

    monkeypatch.setattr(bench.throughput.measure, "measure", measure)
    return asked


def kept(folder: Path, *records: ThroughputRecord) -> Path:
    """The folder, with these records."""
    for each in records:
        each.save(folder / "throughput")
    return folder


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor of this machine."""
    monkeypatch.setattr("bench.runs.environment.processor", lambda: "CPU B 9 of Maker")


@pytest.mark.parametrize(
    ("device", "other", "share"),
    [
        ("CPU Intel(R) Xeon(R) Processor", "CPU Intel(R) Xeon(R) Processor", 1.0),
        ("CPU Intel(R) Xeon(R) Processor", "CPU AMD EPYC", 1 / 6),
        ("CPU AMD EPYC 7763", "CPU AMD EPYC", 3 / 4),
        ("CPU", "NVIDIA H100", 0.0),
    ],
)
def test_devices_are_similar_by_the_words_that_they_share(device: str, other: str, share: float) -> None:
    assert likeness_of(device, other) == likeness_of(other, device) == pytest.approx(share)


@pytest.mark.usefixtures("on")
def test_the_quickest_step_of_the_most_similar_device_is_timed(
    registry: Registry, measured: list[Any], tmp_path: Path
) -> None:
    records = kept(
        tmp_path,
        record("small", [1e-4, 1e-4], "CPU A"),  # quicker, by another maker
        record("large", [1e-3, 1e-3], "CPU B 7 of Maker"),
        record("stack", [1e-5, 1e-5], "CPU B 9 of Maker"),
        record("small", [2e-3, 2e-3], "CPU B 7 of Maker"),
        record("large", [1e-6, 1e-6], "CPU B 9 of Maker", precision="bf16"),
        record("small", [1e-6, 1e-6], "CPU B 9 of Maker", threads=2),
        record("small", [1e-6, 1e-6], "CPU B 9 of Maker", workload=replace(SMALL, batch_size=9)),
        record("gone", [1e-6, 1e-6], "CPU B 9 of Maker", workload=SMALL),
        record("large", [1e-6, 1e-6], "CPU B 9 of Maker", device="cuda"),
    )
    (line,) = speed("cpu", records, registry)
    assert measured == [("large", LARGE, Conditions(rounds=2, methods=("erm",), rivals=False))]
    assert line.mark == LOOK and not line.broken  # four times as long
    of = "the record of CPU B 7 of Maker, torch 2.0, 2026-01-02"
    assert line.found == f"erm on large, cpu: 4 ms a step [3, 5], 4.00 × the 1 ms of {of}"


@pytest.mark.parametrize(
    ("recorded", "mark", "ratio"), [(2e-3, OK, "2.00"), (1.9e-3, LOOK, "2.11"), (8e-3, OK, "0.50")]
)
@pytest.mark.usefixtures("on", "measured")
def test_a_step_that_takes_more_than_twice_as_long_is_worth_a_look(
    registry: Registry, tmp_path: Path, recorded: float, mark: str, ratio: str
) -> None:
    records = kept(tmp_path, record("small", [recorded / 2, recorded, 9.0]))
    (line,) = speed("auto", records, registry)
    assert line.mark == mark
    assert f", {ratio} × the {1e3 * recorded:.3g} ms of the record of CPU A, " in line.found


@pytest.mark.usefixtures("on")
def test_without_records_the_bare_time_is_told(registry: Registry, measured: list[Any], tmp_path: Path) -> None:
    (line,) = speed("cpu", tmp_path, registry)
    assert [asked[:2] for asked in measured] == [("small", SMALL)]
    assert (line.mark, line.found) == (
        "",
        f"erm on small, cpu: 4 ms a step [3, 5]; compared with nothing: there are no records in "
        f"{tmp_path / 'throughput'} (a clone of the repository has some: name its folder with --records)",
    )


@pytest.mark.usefixtures("on", "measured")
@pytest.mark.parametrize("damaged", [True, False])
def test_records_that_cannot_be_compared_are_told(registry: Registry, tmp_path: Path, damaged: bool) -> None:
    kept(tmp_path, record("stack", [1.0, 1.0]))
    if damaged:
        (path,) = (tmp_path / "throughput").iterdir()
        path.write_text("half")
    (line,) = speed("cpu", tmp_path, registry)
    why = (
        f"of 1 records in {tmp_path / 'throughput'} none can be read"
        if damaged
        else "no record is of such a step on cpu"
    )
    assert line.found.endswith(f"; compared with nothing: {why}")


def test_what_cannot_be_timed_says_why(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no workload"):
        [*speed("cpu", tmp_path, replace(registry, offers=registry.offers | {"workloads": {}}))]
    with pytest.raises(BenchError, match="cannot be used here"):
        [*speed("abacus", tmp_path, registry)]


def test_a_step_is_really_timed_for_about_so_long(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the timings are longer than the median, and together they take the time that there is."""
    monkeypatch.setattr(module, "SECONDS", 0.3)
    kept_times: list[float] = []
    timed = module._timed
    monkeypatch.setattr(module, "_timed", lambda *a: kept_times.extend(timed(*a)) or kept_times)
    begin = time.monotonic()
    (line,) = speed("cpu", tmp_path, registry)
    assert time.monotonic() - begin > 0.3
    assert len(kept_times) >= 2 and min(kept_times) > 0
    assert f": {1e3 * median(kept_times):.3g} ms a step [" in line.found


def test_the_command_has_the_line_of_the_speed(
    registry: Registry, measured: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    bare = replace(registry, offers=registry.offers | {"datasets": {}})
    monkeypatch.setattr(bench.registry, "installed", lambda: bare)
    kept(tmp_path / "leaderboards", record("small", [4e-3, 4e-3]))
    result = CliRunner().invoke(main, ["doctor"], catch_exceptions=False)
    text = " ".join(result.stdout.replace(" ok", "").split())
    assert "1.00 × the 4 ms of the record of CPU A, torch 2.0," in text
    assert result.stderr == "A training step is timed for about ten seconds; --no-speed leaves it out.\n"
    assert max(map(len, result.stdout.splitlines())) <= 80
