"""`bench doctor`: its table, its exit codes, and what it says of versions, devices, plugins and folders."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click.testing
import numpy
import pandas
import pytest
import torch
from click.testing import CliRunner

import bench
import bench.registry
from bench.cli import main
from bench.cli.machine import found
from bench.cli.machine.lines import LOOK, OK, Line, lines_of, without_home
from bench.data.files import Files
from bench.records.processes import Process
from bench.registry import Plugin, Registry, load
from bench.runs import environment
from bench.runs.code import code_of
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from tests.store.test_claims import ELSEWHERE, forged
from tests.test_registry import GOOD, EntryPoint, plugin

Doctor = Callable[..., click.testing.Result]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """The entry points that are installed: one plugin that works, and what a test adds."""
    points = [GOOD]
    monkeypatch.setattr(bench.registry, "installed", lambda: load(points))  # type: ignore[arg-type]
    monkeypatch.setattr(bench.registry, "installed_entry_points", lambda: points)
    return points


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: list[EntryPoint]) -> Doctor:
    """Runs the command in an empty folder, without the speed check."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return lambda *words: CliRunner().invoke(main, ["doctor", "--no-speed", *words], catch_exceptions=False)


def told(table: str) -> dict[str, str]:
    """What -> what was found, with its mark, of a table whose lines were wrapped."""
    parts: dict[str, str] = {}
    what = ""
    for line in table.splitlines():
        if line.strip():
            what = line[:13].strip() or what
            parts[what] = f"{parts.get(what, '')} {' '.join(line[13:].split())}".strip()
    return parts


def test_the_table_is_80_columns_wide_and_has_a_line_for_each_part(doctor: Doctor, tmp_path: Path) -> None:
    result = doctor()
    assert (result.exit_code, result.stderr) == (0, "")
    assert 70 < max(map(len, result.stdout.splitlines())) <= 80
    parts = told(result.stdout)
    machine = {"python", "processor", "memory", "gpu", "device", "cores", "threads"}
    assert parts.keys() == machine | {"bench", "libraries", "optional", "plugins", "data folder", "records", "claims"}
    assert [what for what, text in parts.items() if "cannot be told" in text] == []
    assert platform.python_version() in parts["python"] and bench.__version__ in parts["bench"]
    for name, version in (("torch", torch.__version__), ("numpy", numpy.__version__), ("pandas", pandas.__version__)):
        assert f"{name} {version}," in parts["libraries"]
    assert re.search(r"good-dist 1\.2, code \w+: 1 plugin, 1 method ok$", parts["plugins"])
    assert list(tmp_path.iterdir()) == []


def test_broken_plugins_are_lines_and_make_the_exit_code_1(doctor: Doctor, offered: list[EntryPoint]) -> None:
    offered.append(EntryPoint("torn", ImportError("no module\nof that name"), "torn-dist"))
    offered.append(EntryPoint("twice", GOOD.found, "z-dist"))
    result = doctor()
    assert (result.exit_code, result.stderr) == (1, "broken: plugins\n")
    text = told(result.stdout)["plugins"].replace("look ", "").replace(" look", "")
    assert "torn (torn-dist 1.2) could not be loaded: ImportError: no module of that name" in text
    assert "twice (z-dist 1.2) could not be loaded: DuplicateNameError: the name 'mine' in methods is offered" in text


def test_plugins_that_are_broken_for_one_reason_are_one_line() -> None:
    broken = {Plugin(f"p{i}", "dist", "1"): "no torch" for i in range(5)} | {Plugin("q", "dist", "1"): "no luck"}
    texts = [line.found for line in found.plugins(Registry(broken=broken))]
    assert texts == [
        "p0, p1, p2 and 2 more (dist 1) could not be loaded: no torch",
        "q (dist 1) could not be loaded: no luck",
        "none could be loaded",
    ]


def test_a_device_that_is_not_there_is_broken(doctor: Doctor) -> None:
    result = doctor("--device", "abacus")
    assert (result.exit_code, result.stderr) == (1, "broken: device\n")
    assert "device 'abacus' cannot be used here; there is: cpu" in told(result.stdout)["device"]


def test_a_folder_that_cannot_be_written_to_is_broken(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = doctor("--out", "file/out")
    assert (result.exit_code, result.stderr) == (1, "broken: records\n")
    assert told(result.stdout)["records"] == "file/out, cannot be written to: Not a directory look"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_data_folder_that_cannot_be_written_to_is_not(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = doctor("--data-dir", "file/data")
    assert result.exit_code == 0
    assert (
        told(result.stdout)["data folder"].startswith("file/data (--data-dir), ")
        and "look" in told(result.stdout)["data folder"]
    )


@pytest.mark.parametrize(
    ("seconds", "age"), [(30, "30 s"), (119, "119 s"), (300, "5 min"), (7300, "2 h"), (260_000, "3 days")]
)
def test_claims_are_told_with_their_holder_and_age(
    tmp_path: Path, seconds: float, age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results" / "class_fairness-v1" / "digits"
    folder.mkdir(parents=True)
    path = forged(folder, ELSEWHERE)  # made at the beginning of 2026, by the clock of a far machine
    now = 1767225600 + seconds
    os.utime(path, (0, now - 10))
    monkeypatch.setattr(time, "time", lambda: now)
    (line,) = found.claims(tmp_path)
    run = "class_fairness-v1/digits/digits.erm.0.0123456789ab"
    assert line == Line("claims", f"1: {run} by process 1 on far, {age} old", OK)
    assert [*tmp_path.rglob("*.*")] == [path]


def test_claims_of_dead_processes_are_worth_a_look_and_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    this = Process.this()
    monkeypatch.setattr("bench.records.processes._started", lambda pid: "2")
    for seed in range(7):
        forged(tmp_path / "results", replace(this, started="1"), name=f"a.erm.{seed}.0123456789ab.claim")
    (tmp_path / "results" / "mine.claim").touch()
    (line,) = found.claims(tmp_path)
    assert line.mark == LOOK and not line.broken
    assert line.found.startswith(f"7: a.erm.0.0123456789ab by process {this.pid} on far, ")
    assert line.found.count("and stale; ") == 4 and line.found.count("0123456789ab") == 5
    assert line.found.endswith(" old and stale and 2 more (stale: the next command takes it over)")
    assert len([*(tmp_path / "results").iterdir()]) == 8


def test_a_damaged_claim_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.erm.0.0123456789ab.claim").write_text("half")
    (line,) = found.claims(tmp_path)
    assert "by whoever made " in line.found


def test_a_claim_that_says_no_time_is_as_old_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    path = forged(tmp_path / "results", ELSEWHERE)
    path.write_text(path.read_text().replace("2026-01-01T00:00:00+00:00", "yesterday"))
    os.utime(path, (0, time.time() - 200))
    (line,) = found.claims(tmp_path)
    assert line.found.endswith(" by process 1 on far, 3 min old")


def test_without_claims_there_are_none(tmp_path: Path) -> None:
    assert [*found.claims(tmp_path)] == [Line("claims", "none", OK)]


def test_the_hash_of_a_distribution_is_that_of_records() -> None:
    registry = bench.registry.installed()
    experiment = resolve(Request(method="erm", dataset="moons"), Files(Path()), registry)
    ours = next(line.found for line in found.plugins(registry) if line.found.startswith("reweight-bench "))
    name, code = ours.split(": ")[0].split(", code ")
    assert code_of(experiment).loaded[name] == code


def test_what_is_offered_is_counted() -> None:
    registry = load([EntryPoint("a", plugin(methods={}), "a"), GOOD])  # type: ignore[list-item]
    texts = [re.sub("code [0-9a-f?]+", "code", line.found) for line in found.plugins(registry)]
    assert [text.split(": ")[1] for text in texts] == ["1 plugin", "1 plugin, 1 method"]
    assert [line.broken for line in found.plugins(Registry())] == [True]


@pytest.fixture
def requires(monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that needs two packages, of which one is not installed, and has extras."""
    versions = {"here": "1.0", "ray": "2.9"}
    needs = ["here>=1", "gone", 'other; python_version < "3"', 'pytest; extra == "test"', "fast>=2; extra == 'speed'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)

    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.usefixtures("requires")
def test_a_library_that_is_missing_is_broken_and_an_optional_one_is_not() -> None:
    assert [*found.libraries()] == [
        Line("libraries", "not installed: gone", LOOK, broken=True),
        Line("libraries", "here 1.0"),
    ]
    (line,) = found.optional()
    assert line == Line("optional", "ray 2.9; not installed: submitit, tensorboard, mlflow, wandb, fast")


@pytest.mark.parametrize(("load_now", "mark"), [(2.5, OK), (3.01, LOOK)])
def test_cores_are_those_that_may_be_used_and_a_busy_machine_is_worth_a_look(
    monkeypatch: pytest.MonkeyPatch, load_now: float, mark: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (load_now, 0.0, 0.0), raising=False)
    assert [*found.cores()] == [Line("cores", f"3 usable of 8, load of the last minute {load_now:.2f}", mark)]


def test_threads_are_torchs_and_the_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert [line.found for line in found.threads()] == ["torch takes 5; OMP_NUM_THREADS is 7"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [line.found for line in found.threads()] == ["torch takes 5; OMP_NUM_THREADS is not set"]


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="this system has no /proc/meminfo")
def test_memory_is_that_of_the_machine() -> None:
    (line,) = found.memory()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert line.found.startswith(f"{total / 1e9:.1f} GB, of which ")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A made-up nvidia-smi."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 580.65.06\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    environment.driver.cache_clear()
    yield
    environment.driver.cache_clear()


@pytest.mark.usefixtures("driver")
def test_gpus_are_told_with_memory_driver_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="Card X", major=9, minor=0, total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (10 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    cudnn = torch.backends.cudnn.version()
    text = f"Card X, 80.0 GB, of which 10.0 GB are free; driver 580.65.06, CUDA 13.0, cuDNN {cudnn}"
    assert [*found.gpus()] == [Line("gpu", text, OK)] * 2


@pytest.mark.usefixtures("driver")
def test_a_gpu_that_torch_cannot_use_is_worth_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    said = "none that torch can use: torch is built without CUDA, and there is a driver 580.65.06"
    assert [*found.gpus()] == [Line("gpu", said, LOOK)]


def test_an_error_ends_its_own_part_alone() -> None:
    def look() -> Iterator[Line]:
        yield Line("a", "1", OK)
        raise OSError("no\nsuch file")

    first, second = lines_of("a", look)
    assert first == Line("a", "1", OK)
    assert second.mark == LOOK and not second.broken
    assert re.fullmatch(r"cannot be told: OSError in .*: no such file", second.found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/al/data (x)", "~/data (x)"),
        ("in /home/al: 1", "in ~: 1"),
        ("/home/alice/data", "/home/alice/data"),
        ("/home/al.bak", "/home/al.bak"),
    ],
)
def test_the_home_folder_is_not_shown(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    monkeypatch.setenv("HOME", "/home/al")
    assert without_home(text) == shown
    assert Line("data", text).cells == ("data", shown, "")


def test_it_tells_what_it_can_where_torch_and_numpy_cannot_be_imported(tmp_path: Path) -> None:
    gone = ["torch", "torchvision", "timm", "numpy", "pandas"]
    code = f"import sys; sys.modules |= dict.fromkeys({gone}); from bench.cli import main; main(['doctor'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    parts = told(done.stdout)
    assert parts["processor"] == without_home(environment.processor().removeprefix("CPU "))
    assert parts["threads"].startswith("cannot be told: ModuleNotFoundError in threads, ")
    ours = (
        rf"ant, augmix, balanced_softmax and \d\d more \(reweight-bench look {re.escape(bench.__version__)}\) could not"
    )
    assert re.search(ours, parts["plugins"])
    assert parts["speed"].startswith("cannot be told: ModuleNotFoundError in ")
