"""The kill test itself: it kills where it says, and it sees what differs."""

import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from bench.records.sidecar import sidecar_path
from bench.store.results import ResultStore
from tests.tools.test_programs import TOOLS
from tools import kill as tool


@pytest.fixture
def folders(tmp_path, make_result):
    """Two equal folders with a record and its sidecar."""
    for name in ("one", "other"):
        store = ResultStore(tmp_path / name / "results")
        store.put(make_result(seconds=1.0 if name == "one" else 2.0, arrays={"test/last": np.arange(3)}))
    return tmp_path / "one", tmp_path / "other"


def test_equal_records_are_equal_whatever_they_cost(folders):
    assert tool.differences(*folders) == []


def test_what_differs_is_named(folders, make_result):
    one, other = folders
    shutil.rmtree(one / "results")
    result = make_result(test={"tprd": 0.5}, arrays={"test/last": np.arange(3)})
    path = sidecar_path(ResultStore(one / "results").put(result), result.sidecar)
    path.write_bytes(b"another")
    (one / "results" / "a.part").touch()
    (other / "page.md").touch()
    assert tool.differences(one, other) == [
        "file left over: results/a.part",
        "file missing: page.md",
        f"record differs: {result.path}",
        f"sidecar differs: {path.relative_to(one)}",
    ]


@pytest.mark.parametrize("late", [False, True])
def test_a_blow_comes_before_or_after_the_call_that_it_counts(late, monkeypatch):
    told = []
    monkeypatch.setattr(tool.Blow, "strike", lambda blow: told.append("blow"))
    call = tool.Blow("evaluation", signal.SIGKILL, 2, late).calling(told.append)
    for number in (1, 2, 3):
        call(number)
    assert told == ([1, 2, "blow", 3] if late else [1, "blow", 2, 3])


@pytest.mark.parametrize(("late", "content"), [(False, b"half"), (True, b"whole")])
def test_a_blow_comes_while_a_file_is_written(late, content, tmp_path, monkeypatch):
    at = []
    monkeypatch.setattr(tool.Blow, "strike", lambda blow: at.append((tmp_path / "a").read_bytes()))

    def write(path, content):
        with path.open("wb") as file:
            content(file)

    tool.Blow("record", signal.SIGKILL, 1, late).writing(write)(tmp_path / "a", b"whole")
    assert at == [content]


def test_what_a_point_names_is_there():
    """Each is replaced within the context, and back afterwards."""
    for point in tool.POINTS[1:]:
        module, _, name = tool.WRITERS.get(point, "").rpartition(".")
        owner, name = tool.CALLS.get(point, (sys.modules.get(module), name))
        before = getattr(owner, name)
        with tool.Blow(point, signal.SIGKILL, 1, True).armed(1.0):
            assert getattr(owner, name) is not before
        assert getattr(owner, name) is before


@pytest.mark.parametrize("protocol", ["pruning", "robustness"])
def test_every_point_that_runs_get_to_has_its_turn(protocol, tmp_path, monkeypatch):
    """Also after one at which the command was not killed; only runs with stages get to `stage`."""
    points = []
    monkeypatch.setattr(tool.Case, "begin", lambda case: None)
    monkeypatch.setattr(tool.Case, "finish", lambda case: None)
    monkeypatch.setattr(tool.Case, "hit", lambda case, blow: points.append(blow.point) or blow.point != "table")
    tool.kill({"erm": tool.Case([protocol], tmp_path, tmp_path)}, 20, random.Random(0))
    reached = {*tool.POINTS} - ({"stage"} if protocol == "robustness" else set())
    assert {*points} == reached


def test_a_killed_command_is_given_again_and_ends_with_the_record_of_an_undisturbed_one():
    words = ["--kills", "1", "--processes", "0", "--method", "random"]
    ended = subprocess.run([sys.executable, TOOLS / "kill.py", *words], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert ended.stderr.startswith("random: SIG") and len(ended.stderr.splitlines()) == 1
    assert ended.stdout.splitlines()[-1] == "nothing is wrong"
    assert len(ended.stdout.splitlines()) == 4
