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


COMMANDS = [
    [*RUN[:-2], "--no-check"],
    ["leaderboard"],
    ["export"],
    ["export", "--format", "parquet"],
    ["verify-store"],
    ["show", "erm"],
    ["list"],
    [],
]
ISOLATED = [*COMMANDS[0], "--isolate", "--seed", "1"]


def in_shell(folder, words, streams):
    """What `bench WORDS STREAMS` does, as `bench list >&-`."""
    command = ["bash", "-c", f'"$@" {streams}', "bash", sys.executable, "-m", "bench.cli", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=folder, timeout=300)


def recorded(folder):
    """The status of each run in a folder, by its seed."""
    return {result.spec.seed: result.status for result in ResultStore(folder / "bench-results" / "results").load()[0]}


def test_a_closed_stream_is_as_the_null_device(tmp_path):
    """Python has None in its place, and gives its number to the next file that is opened."""
    for words, streams in [*((words, ">&-") for words in COMMANDS), (ISOLATED, "<&- >&- 2>&-")]:
        done = in_shell(tmp_path, words, streams)
        assert (done.returncode, done.stderr) == (0, ""), words
    assert recorded(tmp_path) == {0: "ok", 1: "ok"}
    assert in_shell(tmp_path, ["leaderboard", "--check"], "").returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_an_output_that_is_full_is_told_in_one_line_after_the_work_is_done(tmp_path):
    for words in [ISOLATED, *COMMANDS[1:]]:
        done = in_shell(tmp_path, words, ">/dev/full")
        said = "error: the output cannot be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, said), words
    assert recorded(tmp_path) == {1: "ok"}
    assert in_shell(tmp_path, ["leaderboard", "--check"], "").returncode == 0
    assert in_shell(tmp_path, ["list"], "2>/dev/full").returncode == 0  # there was nothing to tell
    assert in_shell(tmp_path, ["lost"], ">/dev/full").returncode == 2  # nor here, on the output


def test_a_pipe_that_nobody_reads_changes_no_exit_code(tmp_path, make_result):
    for method in ("erm", "learner"):
        for seed in range(2):
            ResultStore(tmp_path / "bench-results/results").put(
                make_result(method, seed, test={"tprd": seed / 10, "accuracy": 0.9})
            )
    commands = [["list"], ["show", "erm"], ["compare", "erm", "learner"], ["best"], ["export"], ["verify-store"]]
    for words in commands:
        expected = in_shell(tmp_path, words, ">/dev/null").returncode
        done = in_shell(tmp_path, words, '| true; exit "${PIPESTATUS[0]}"')
        assert (done.returncode, done.stderr) == (expected, ""), words
    assert in_shell(tmp_path, ["lost"], '| true; exit "${PIPESTATUS[0]}"').returncode == 2


PRINTS = """
import sys
from bench import Method
from bench.cli import main
from bench_plugins.methods.erm import ERM

def setup(self):
    print(100_000 * "x", flush=True)

ERM.setup = setup
main(sys.argv[1:])
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_method_that_prints_to_a_full_output_has_not_failed(tmp_path):
    words = [sys.executable, "-c", PRINTS, *COMMANDS[0]]
    with open("/dev/full", "w") as full:
        assert subprocess.run(words, stdout=full, cwd=tmp_path, timeout=300).returncode == 1
    assert recorded(tmp_path) == {0: "ok"}


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
