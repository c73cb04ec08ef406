"""A run that cannot be ended: it is recorded, and its process is ended where that is allowed."""

import contextlib
import subprocess
import sys
import threading
import time

import pytest

from bench.guards.ending import ENDING
from bench.runs.code import code_of
from tests.experiments import one
from tests.runs.test_kept_apart import doing, experiment


def test_a_run_that_swallows_every_error_is_recorded_before_its_process_is_ended(store, monkeypatch):
    released, said, recorded = threading.Event(), [], []

    def swallow(self):
        try:
            while not released.is_set():
                with contextlib.suppress(BaseException):
                    released.wait()
        except BaseException:  # it was raised between two lines
            swallow(self)

    def end(line):
        recorded.extend(path.read_text() for path in store.folder.rglob("*.json"))
        said.append(line)
        released.set()

    made = experiment(doing(swallow))
    code_of(made)  # reads all sources, once in a process, which takes longer than the timeout on a busy machine
    monkeypatch.setattr(ENDING, "end", end)
    with ENDING.allowed():
        result = one(made, store, timeout=1.5)
    assert result.status == "timed out"
    assert '"status": "timed out"' in "".join(recorded), (result.error, result.traceback)
    assert said[0].startswith("failed (timed out): toy 1: method doing: it hangs in swallow, ")
    assert "no progress for 1.5 seconds" in said[0]
    assert "--isolate" in said[0]


def test_in_a_program_of_somebody_else_no_process_is_ended(store, monkeypatch):
    monkeypatch.setattr(ENDING, "end", pytest.fail)
    begun = time.perf_counter()

    def stubborn(self):
        while time.perf_counter() < begun + 4:
            try:
                time.sleep(1)
            except BaseException:
                continue

    assert one(experiment(doing(stubborn)), store, timeout=0.1).status in ("ok", "timed out")


SCRIPT = """
import threading, time
from bench.guards.ending import ENDING
def tidy(what):
    print(what)
    raise OSError
def swallow():
    while True:
        try: time.sleep(60)
        except BaseException: continue
with ENDING.allowed(), ENDING.before(lambda: tidy("last")), ENDING.before(lambda: tidy("first")):
    threading.Thread(target=ENDING.end, args=("it hangs",)).start()
    swallow()
"""


def test_the_end_of_a_process_is_told_and_tidied_up_before():
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "first\nlast\n", "it hangs\n")
