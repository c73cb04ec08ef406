"""Records that cannot be used are named, skipped and kept, whatever is wrong with them; the exit code tells."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main

RUN = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1"]
RESULTS = Path("bench-results/results")
PAGE = Path("bench-results/class_fairness-v1-digits.md")


@pytest.fixture
def bench_in(tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)


def record(seed=0):
    (path,) = RESULTS.glob(f"digits.erm.{seed}.*.json")
    return path


def accuracy(path):
    return json.loads(path.read_text())["selected"]["last"]["metrics"]["test"]["accuracy"]


def test_a_record_that_was_copied_to_another_seed_is_not_its_result(bench_in):
    """It used to be told as seed 1's."""
    bench_in(*RUN, "--seeds", 2)
    first, second = record(0), record(1)
    right = accuracy(second)
    assert right != accuracy(first)
    shutil.copy(first, second)
    result = bench_in(*RUN, "--seeds", 2)
    assert result.exit_code == 1
    assert result.stderr == (
        f"erm, seed 1, is left out, as its record cannot be used: {second}: it holds the record that belongs in "
        f"{first.name}; --force repeats the run and moves the record to {RESULTS / 'superseded'}\n"
    )
    assert ", 1 seed(s)," in result.stdout
    assert second.read_bytes() == first.read_bytes()
    assert bench_in(*RUN, "--seed", 1, "--force").exit_code == 0
    assert accuracy(record(1)) == right
    assert (RESULTS / "superseded" / second.name).read_bytes() == first.read_bytes()


def test_nothing_is_trained_where_two_records_of_the_run_differ(bench_in):
    bench_in(*RUN)
    bench_in(*RUN, "--out", "elsewhere")  # the same run, with other costs
    copy = shutil.copy(Path("elsewhere/results") / record().name, RESULTS / "copy.json")
    result = bench_in(*RUN)
    assert result.exit_code == 1
    assert result.stderr.count("different records of one run") >= 2
    assert result.stdout == ""
    copy.unlink()
    assert bench_in(*RUN).exit_code == 0
