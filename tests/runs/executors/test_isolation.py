"""A process of its own gives the numbers of this one, and its end is told."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import bench.runs.executors.isolation
from bench import Files
from bench.runs.executors.isolation import Ended, in_own_process
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.runs.runner import record_failure, run
from bench.store.results import ResultStore
from tests.distributions import ROOT
from tests.experiments import CPU

REQUEST = Request("separable", "erm", options={"recipe.epochs": 1})


def end(experiment, seeds, observer):
    """Ends its process, as no other function may."""
    os._exit(7)


def hang_in_c(experiment, seeds, observer, timeout):
    """Holds Python's lock, and listens to no signal."""
    observer.note("begun")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(60)


def swallow(experiment, seeds, observer, timeout):
    """Ends at no error, and neither does what it has started."""
    subprocess.Popen(["sleep", "61"])
    observer.note("begun")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def kill(experiment, seeds, observer):
    os.kill(os.getpid(), signal.SIGKILL)


def wait(experiment, seeds, observer, told):
    """Waits for an interrupt, and says so, and that one came."""
    try:
        Path(told).write_text(str(os.getpid()))
        time.sleep(60)
    except KeyboardInterrupt:
        Path(told).write_text("interrupted")
        raise


def ignore(experiment, seeds, observer, told):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Path(told).write_text(str(os.getpid()))
    time.sleep(60)


def test_a_run_in_a_process_of_its_own_is_the_same_run(store, tmp_path):
    experiment = resolve(REQUEST, Files(tmp_path))
    other = ResultStore(tmp_path / "other")
    other.check_writable()
    (here,) = run(experiment, [0], store, CPU)
    (there,) = in_own_process(run, experiment, [0], store=other, device=CPU)
    assert there.ok
    assert there.reproducible() == here.reproducible()
    assert other.get(here.spec) is not None


def test_a_process_that_ends_itself_is_the_failure_of_its_run(store, tmp_path):
    experiment = resolve(REQUEST, Files(tmp_path))
    ended = in_own_process(end, experiment, [0])
    assert isinstance(ended, Ended)
    (result,) = record_failure(experiment, [0], store, CPU, ended.failure)
    assert result.status == "plugin error"
    assert result.error.endswith(": method erm: its process ended itself with exit code 7")
    assert store.path(result.spec).exists()


def processes_of(command: str) -> list[str]:
    return subprocess.run(["pgrep", "-f", command], capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("hangs", [hang_in_c, swallow])
def test_a_process_that_hangs_is_killed_with_what_it_has_started(tmp_path, monkeypatch, hangs):
    monkeypatch.setattr(bench.runs.executors.isolation, "GRACE", 0.2)
    before = processes_of("^sleep 61$")
    ended = in_own_process(hangs, resolve(REQUEST, Files(tmp_path)), [0], timeout=0.2)
    assert isinstance(ended, Ended)
    assert ended.failure[:2] == ("timed out", "no progress for 0.2 seconds, and its process did not listen")
    assert processes_of("^sleep 61$") == before


def test_a_process_that_is_killed_is_named_by_the_signal(tmp_path):
    ended = in_own_process(kill, resolve(REQUEST, Files(tmp_path)), [0])
    assert isinstance(ended, Ended)
    assert ended.failure[:2] == ("plugin error", "its process was ended by SIGKILL")


@pytest.mark.parametrize(("waits", "says"), [(wait, "interrupted"), (ignore, None)])
def test_an_interrupt_ends_the_other_process_too(tmp_path, monkeypatch, waits, says):
    monkeypatch.setattr(bench.runs.executors.isolation, "GRACE", 2.0)
    told = tmp_path / "told"

    def interrupt():
        while not (told.exists() and told.read_text()):
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        in_own_process(waits, resolve(REQUEST, Files(tmp_path)), [0], told=str(told))
    if says:
        assert told.read_text() == says
    else:
        assert not Path("/proc", told.read_text()).exists()


PARENT = """
import pathlib, sys, threading, time
from bench import Files
from bench.runs.executors.isolation import in_own_process
from bench.runs.resolve import resolve
from tests.runs.executors.test_isolation import REQUEST, outlives
if __name__ == "__main__":
    in_own_process(outlives, resolve(REQUEST, Files(pathlib.Path(sys.argv[1]))), [0], told=sys.argv[2])
"""


def outlives(experiment, seeds, observer, told):
    """Says its number, and lets no thread of its process run."""
    Path(told).write_text(str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread looks after it")
def test_a_process_whose_parent_is_killed_ends_though_it_hangs_in_c(tmp_path):
    script, told = tmp_path / "parent.py", tmp_path / "told"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script, tmp_path, told], env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        while not (told.exists() and told.read_text()):
            assert parent.poll() is None
            time.sleep(0.02)
    finally:
        parent.kill()
        parent.wait()
    child = Path("/proc", told.read_text())
    end = time.monotonic() + 5
    while child.exists() and "Z" not in (child / "stat").read_text().rpartition(")")[2] and time.monotonic() < end:
        time.sleep(0.02)
    assert time.monotonic() < end
