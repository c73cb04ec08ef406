"""What is printed: nothing that a terminal obeys, nothing that the output cannot encode, long words cut."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import bench.registry
from bench import Method
from bench.cli import main
from bench.errors import BenchError
from bench.registry import Offer, Plugin
from bench.store.results import ResultStore

RUN = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1", "--seeds", "2"]


def bench_as(encoding, folder, *words, **variables):
    env = os.environ | {"PYTHONIOENCODING": encoding} | variables
    command = [sys.executable, "-m", "bench.cli", *words]
    return subprocess.run(command, capture_output=True, cwd=folder, env=env, timeout=300)


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "cp1252"])
def test_an_output_that_lacks_a_sign_gets_one_in_ascii(tmp_path, encoding):
    """It ended with UnicodeEncodeError before the tables were written."""
    done = bench_as(encoding, tmp_path, *RUN)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b" +/- " if "ascii" in encoding else b" \xb1 ") in done.stdout
    assert (tmp_path / "bench-results" / "class_fairness-v1-digits.md").exists()
    for words in (["list"], ["show", "forml"], ["leaderboard"], ["--help"], ["show", "d±gits"]):
        shown = bench_as(encoding, tmp_path, *words)
        assert b"Traceback" not in shown.stderr
        assert shown.returncode == (2 if "d±gits" in words else 0)


def test_the_tables_are_written_before_the_summary_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def closed(*arguments, **more):
        raise BrokenPipeError

    monkeypatch.setattr("bench.cli.summary.table", closed)
    CliRunner().invoke(main, RUN)
    assert (tmp_path / "bench-results" / "class_fairness-v1-digits.md").exists()


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_run_whose_output_nobody_reads_is_recorded_as_what_it_is(tmp_path, closed):
    """As of `bench run | head`: it was recorded as a failure of the method, with a BrokenPipeError."""
    ours, its = os.pipe()
    os.close(ours)
    words = [sys.executable, "-m", "bench.cli", *RUN, "--out", str(tmp_path)]
    subprocess.run(words, **({"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {closed: its}))
    os.close(its)
    records = ResultStore(tmp_path / "results").load()[0]
    assert {(record.status, record.error) for record in records} == {("ok", "")}


@pytest.fixture
def offering(tmp_path, monkeypatch):
    """`offering(kind, name, value)` adds it to what is installed."""
    monkeypatch.chdir(tmp_path)
    registry = bench.registry.load(list(bench.registry.importlib.metadata.entry_points(group="bench")))
    monkeypatch.setattr(bench.registry, "installed", lambda: registry)

    def add(kind, name, value):
        registry.offers[kind][name] = Offer(value, Plugin("acme", "acme-bench", "0.1"))

    return add


RED = "\x1b[31m\x9b0m\u202e"


class Red(Method):
    """Red \x1b[31m."""

    def setup(self):
        raise ValueError(f"no {RED}")


def test_nothing_that_a_terminal_obeys_is_printed(offering):
    def load(files):
        raise BenchError(f"no {RED}\nfile")

    offering("datasets", f"d{RED}", load)
    offering("methods", f"m{RED}", Red)
    commands = [
        ["list"],
        ["show", f"m{RED}"],
        ["run", "--method", "erm", "--dataset", f"d{RED}"],
        ["run", "--method", "erm", "--dataset", f"x{RED}"],
        ["run", "--method", f"m{RED}", "--dataset", "digits", "--epochs", "1"],
        ["leaderboard"],
        [f"x{RED}"],
        ["run", f"--x{RED}"],
        ["plot", f"x{RED}"],
        ["plot", "counts", "--records", f"x{RED}"],
        ["leaderboard", "--out", f"x{RED}"],
        ["run", "--method", "erm", "--dataset", "digits", "-o", f"x{RED}=1"],
    ]
    for words in commands:
        result = CliRunner().invoke(main, words)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        assert not set(RED[0] + "\x9b\u202e") & set(result.output), words
    assert "error: no \\x1b[31m\\x9b0m\\u202e file\n" in CliRunner().invoke(main, commands[2]).output


def test_long_words_are_cut(offering):
    long = "x" * 100_000
    for words in (
        ["run", "--method", long, "--dataset", "digits"],
        ["run", "--method", "erm", "--dataset", "digits", "-o", long],
        ["run", "--method", "erm", "--dataset", "digits", "-o", f"model.{long}=1"],
        ["run", "--method", "erm", "--dataset", "digits", "-o", f"recipe.lr={long}"],
        ["show", long],
        ["plot", long],
        [long],
        ["throughput", long],
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2, words[:3]
        assert len(result.output) < 3000, words[:3]
