"""The suite shares the cores out: its workers together have no more threads than there are cores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cores import SETTINGS, share, usable_cores

ROOT = Path(__file__).parents[1]
REPORT = """
import json, os, subprocess, sys
import cv2, pytest, sklearn, torch
from threadpoolctl import threadpool_info

@pytest.mark.parametrize("turn", [0, 1])
def test_report(turn):
    started = subprocess.check_output([sys.executable, "-c", "import torch; print(torch.get_num_threads())"])
    found = [torch.get_num_threads(), cv2.getNumThreads(), int(started), *(p["num_threads"] for p in threadpool_info())]
    with open(os.environ["PYTEST_XDIST_WORKER"], "w") as file:
        json.dump(found, file)
"""


@pytest.mark.parametrize(
    ("workers", "cores", "threads"), [("1", 2, "2"), ("2", 2, "1"), ("3", 2, "1"), ("2", 5, "2"), ("16", 64, "4")]
)
def test_workers_share_the_cores(workers, cores, threads):
    assert share({"PYTEST_XDIST_WORKER_COUNT": workers}, cores) == dict.fromkeys(SETTINGS, threads)


def test_one_process_has_all_cores():
    assert share({}, 8) == {}


def test_what_the_user_has_set_stays():
    assert share({"PYTEST_XDIST_WORKER_COUNT": "2", "OMP_NUM_THREADS": "8"}, 4) == {}
    assert "MKL_NUM_THREADS" not in share({"PYTEST_XDIST_WORKER_COUNT": "2", "MKL_NUM_THREADS": "8"}, 4)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), (None, 6)])
def test_cores_are_those_that_the_process_may_use(tmp_path, monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)))
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_a_worker_has_its_share(tmp_path):
    """Seen in a worker of a suite with our conftest: by torch, by every library loaded, and by a process it starts."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import *")
    (tmp_path / "test_threads.py").write_text(REPORT)
    clean = {n: v for n, v in os.environ.items() if n not in SETTINGS and not n.startswith("PYTEST_")}
    environment = clean | {"PYTHONPATH": os.pathsep.join([str(ROOT), clean.get("PYTHONPATH", "")])}
    words = [sys.executable, "-m", "pytest", "-n", "2", tmp_path]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    for name in ("gw0", "gw1"):
        found = json.loads((tmp_path / name).read_text())
        assert set(found) == {max(1, usable_cores() // 2)} and len(found) >= 4
