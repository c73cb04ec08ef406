"""`bench status`: what is recorded, who makes what, and what commands have left."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.runs.executors.plans import FOLDER, Plan, plans_in
from bench.store.claims import STALE_SECONDS, Claims
from bench.store.results import ResultStore


@pytest.fixture
def bench_in(tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its result."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)


def test_an_empty_folder_is_told_and_stays_empty(bench_in, tmp_path):
    told = bench_in("status")
    assert told.exit_code == 0
    assert told.output.strip() == "nothing is recorded in bench-results/results, and nothing is being made"
    assert list(tmp_path.iterdir()) == []


def test_what_is_recorded_made_and_left_is_told(bench_in, make_result):
    store = ResultStore(Path("bench-results/results"))
    done = [make_result("erm", seed) for seed in range(3)]
    failed = make_result("erm", 3, status="diverged", error="the loss is NaN")
    for result in (*done, failed):
        store.put(result)
    left = [make_result("erm", seed).path for seed in (4, 5, 6)]
    Plan.of("bench run --method erm", [one.path for one in (*done, failed)] + left).write(Path("bench-results"))
    with Claims(store.folder) as claims:
        assert claims.take(left[0]) and claims.take(left[1])
        stale = store.folder / left[1].replace(".json", ".claim")
        os.utime(stale, (0, os.stat(stale).st_mtime - 2 * STALE_SECONDS))
        told = bench_in("status")
    assert told.exit_code == 0
    lines = told.output.splitlines()
    (row,) = (line.split() for line in lines if line.startswith("class_fairness/1"))
    assert row == ["class_fairness/1,", "digits", "3", "1", "0"]
    (made,) = (line for line in lines if line.startswith(left[0].removesuffix(".json")))
    assert f"process {os.getpid()} on " in made and " s ago)" in made
    assert f"1 run left by processes that have ended: {left[1]}" in lines
    assert lines[-2] == "bench run --method erm"
    assert lines[-1].endswith(": 3 of 7 runs are recorded, 1 are being made, 1 failed")


def test_a_command_is_planned_until_all_of_it_is_recorded(bench_in, monkeypatch):
    words = ["run", "--method", "erm", "--dataset", "digits", "--epochs", 1, "--seeds", 2]
    assert bench_in(*words).exit_code == 0
    assert plans_in(Path("bench-results")) == [] and not Path("bench-results", FOLDER).exists()
    assert bench_in(*words, "-o", "recipe.lr=1e30").exit_code == 1
    (plan,) = plans_in(Path("bench-results"))
    assert plan.command == "bench run --method erm --dataset digits --epochs 1 --seeds 2 -o recipe.lr=1e30"
    assert len(plan.runs) == 2 and all(Path("bench-results/results", run).exists() for run in plan.runs)
    assert "0 of 2 runs are recorded, 0 are being made, 2 failed" in bench_in("status").output


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"command": 1, "begun": 2, "runs": 3}'])
def test_files_that_hold_no_plan_are_left_out(tmp_path, content):
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "a.json").write_text(content)
    assert plans_in(tmp_path) == []


def test_a_plan_that_is_given_again_keeps_its_date(tmp_path):
    plan = Plan.of("bench run", ["a.json"])
    plan.write(tmp_path)
    earlier = json.loads(plan.file(tmp_path).read_text()) | {"begun": "2020-01-01T00:00:00+00:00"}
    plan.file(tmp_path).write_text(json.dumps(earlier))
    plan.write(tmp_path)
    assert [one.begun for one in plans_in(tmp_path)] == ["2020-01-01T00:00:00+00:00"]
    Plan.of("bench run", ["a.json", "b.json"]).write(tmp_path)
    (one,) = plans_in(tmp_path)
    assert one.begun > "2020-01-02" and one.runs == ("a.json", "b.json")
