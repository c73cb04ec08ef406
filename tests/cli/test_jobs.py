"""`bench run --jobs`: several runs at once, in processes that are given the next one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.records.run import RunResult
from bench.store.results import ResultStore

WORDS = ["run", "--method", "erm,random", "--dataset", "digits", "--seeds", "2"]


def bench(folder: Path, *words: str) -> "subprocess.Popen[str]":
    """Start a command in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *words],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def numbers(folder: Path) -> dict[str, tuple[object, object]]:
    """Path of a record -> what it says of the selected models, and its history."""
    store = ResultStore(folder / "bench-results" / "results")
    return {one.path: (one.selected, store.sidecar(one).history) for one in store.load()[0]}


def children(pid: int) -> list[int]:
    """The processes that make runs: those that lead a group of their own."""
    listed = subprocess.run(["ps", "-o", "pid=,pgid=,ppid=", "-A"], capture_output=True, text=True).stdout
    rows = [list(map(int, line.split())) for line in listed.splitlines()]
    return [child for child, group, parent in rows if parent == pid and child == group]


def left_over(folder: Path) -> list[str]:
    """Claims, checkpoints and unfinished files."""
    out = folder / "bench-results"
    return [
        str(path)
        for path in out.rglob("*")
        if path.is_file() and path.suffix not in (".json", ".xz", ".md", ".svg", ".parquet")
    ]


def test_the_records_are_those_of_one_process(tmp_path):
    for name, jobs in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        process = bench(tmp_path / name, *WORDS, "--epochs", "2", "--jobs", jobs)
        printed = process.communicate()[0]
        assert process.returncode == 0, printed
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    assert len(numbers(tmp_path / "two")) == 4
    assert left_over(tmp_path / "two") == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_process_that_is_killed_is_replaced_and_its_run_goes_on(tmp_path):
    process = bench(tmp_path, *WORDS, "--epochs", "30", "--jobs", "2")
    checkpoints = tmp_path / "bench-results" / "checkpoints"
    while not (list(checkpoints.glob("*.pt")) or process.poll() is not None):
        time.sleep(0.02)
    workers = children(process.pid)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    results = ResultStore(tmp_path / "bench-results" / "results").load()[0]
    assert [one.ok for one in results] == [True] * 4
    assert left_over(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_an_interrupt_leaves_what_the_same_command_goes_on_from(tmp_path):
    process = bench(tmp_path, *WORDS, "--epochs", "2000", "--jobs", "2")
    checkpoints = tmp_path / "bench-results" / "checkpoints"
    while not (list(checkpoints.glob("*.pt")) or process.poll() is not None):
        time.sleep(0.02)
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    printed = process.communicate()[0]
    assert process.returncode == 130, printed
    assert "give the same command again to go on" in printed
    assert "the same command goes on after epoch" in printed
    assert [worker for worker in workers if Path("/proc", str(worker)).exists()] == []
    assert list((tmp_path / "bench-results").rglob("*.claim")) == []


CRASHING = """
import os
from bench import Method, hookimpl

class Crashing(Method):
    '''Ends its process.'''
    def update(self, batch):
        os.abort()

@hookimpl
def bench_methods():
    return {"crashing": Crashing}
"""


def test_a_run_that_ends_its_process_fails_alone(tmp_path):
    (tmp_path / "crashing_plugin.py").write_text(CRASHING)
    about = tmp_path / "crashing-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[bench]\ncrashing = crashing_plugin\n")
    words = ["run", "--method", "crashing,erm", "--dataset", "digits", "--epochs", "1", "--seeds", "2", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *words],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    printed = process.communicate()[0]
    assert process.returncode == 1, printed
    results: list[RunResult] = ResultStore(tmp_path / "bench-results" / "results").load()[0]
    assert {(one.spec.method, one.ok) for one in results} == {("crashing", False), ("erm", True)}
    assert len(results) == 4
    assert printed.count("its process was ended by SIGABRT") == 2
