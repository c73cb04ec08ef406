"""What commands leave behind: nothing when they are refused, and what a kill left goes with the next one."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.records.files import part_of

REFUSED = {
    "an unknown method": ["run", "--method", "nothing", "--dataset", "digits"],
    "an option out of range": ["run", "--method", "erm", "--dataset", "digits", "-o", "recipe.lr=-1"],
    "sizes that leave no training data": ["run", "--method", "erm", "--dataset", "digits", "--train-size", "99999999"],
    "a data set that cannot be downloaded": ["run", "--method", "erm", "--dataset", "mnist"],
    "no records to draw": ["plot", "fraction"],
    "no such picture": ["plot", "nothing"],
    "an unknown workload": ["throughput", "nothing"],
    "no records for tables": ["leaderboard"],
    "no records to verify": ["verify-store"],
    "no records to merge": ["merge", "."],
    "no records to export": ["export", "--file", "new/runs.csv"],
    "no records to rescore": ["rescore", "--metric", "ece"],
    "no such record": ["show", "0123abcd"],
    "data that cannot be prepared": ["data", "prepare", "mnist"],
}


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_refused_command_creates_nothing(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("bench_plugins.datasets.mnist.URL", (tmp_path / "nowhere").as_uri())
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    assert sorted(tmp_path.rglob("*")) == []


def abandoned(path: Path) -> None:
    """What a process leaves that is killed while it writes this file."""
    code = f"import os, pathlib; from bench.records.files import part_of; p = part_of(pathlib.Path({str(path)!r}))"
    code += "; p.parent.mkdir(parents=True, exist_ok=True); p.touch(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9


def test_what_a_kill_left_is_removed_and_foreign_files_stay(tmp_path):
    out = tmp_path / "out"
    for name in (
        "page.md",
        "results/a.json",
        "results/class_fairness-v1/digits/a.json",
        "results/class_fairness-v1/digits/a.0123456789ab.xz",
        "checkpoints/a.pt",
        "throughput/a.json",
    ):
        abandoned(out / name)
    foreign = [
        out / "results/class_fairness-v1/digits/mine.part",
        out / "results" / "mine.part",
        out / "checkpoints" / "mine.pt",
        part_of(out / "results" / "b.json"),
    ]
    for path in foreign:
        path.touch()
    words = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1", "--out", str(out)]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert sorted(path for path in out.rglob("*.p*t")) == sorted(foreign)
