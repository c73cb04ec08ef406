"""Commands on one folder: each run is made by one process, and what others make is left to them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.records.sidecar import sidecars_of
from bench.store.checkpoints import checkpoint_path
from bench.store.claims import Claims
from bench.store.results import ResultStore
from bench.training.checkpoints import Checkpoints
from bench.training.method import Method

WORDS = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(*words)`: the command with these words, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, [*WORDS, *words])

    return run


RESULTS = Path("bench-results", "results")


def recorded() -> dict[int, int]:
    """Seed -> how many runs were trained at once."""
    values = [json.loads(path.read_text()) for path in RESULTS.glob("*/*/*.json")]
    return {record["spec"]["seed"]: record["costs"].get("stacked", 1) for record in values}


def names_of(run, *seeds: int) -> list[str]:
    """The names of the records of these seeds, which are then removed."""
    assert run(*(word for seed in seeds for word in ("--seed", str(seed)))).exit_code == 0
    paths = sorted(RESULTS.glob("*/*/*.json"))
    for path in paths:
        path.unlink()
        for beside in sidecars_of(path):
            beside.unlink()
    return [path.relative_to(RESULTS).as_posix() for path in paths]


@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("force", [False, True])
def test_runs_that_another_process_makes_are_skipped_and_named(run, stack, force):
    one, three = names_of(run, 1, 3)
    with Claims(RESULTS) as other:
        assert other.take(one) and other.take(three)
        result = run("--seeds", "4", *["--stack"] * stack, *["--force"] * force)
        assert result.exit_code == 0, result.output
        assert recorded() == {0: 1 + stack, 2: 1 + stack}
        assert result.output.count("erm, seed 1, 3: skipped, as made by process ") == 1
        assert "2 of 4 runs are made by other processes, which were not waited for" in result.output
        held = {f"{name.removesuffix('.json')}.claim" for name in (one, three)}
        assert {path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.claim*")} == held
    assert run("--seeds", "4").exit_code == 0
    assert sorted(recorded()) == [0, 1, 2, 3]


def test_an_interrupted_stack_is_made_as_a_whole_or_left_to_the_other(run):
    """Runs of it that were recorded were counted twice, as recorded and as made by others: exit code 1."""
    assert run("--seeds", "4", "--stack").exit_code == 0
    paths = sorted(RESULTS.glob("*/*/*.json"))
    before = {path: json.loads(path.read_text())["sidecar"] for path in paths}
    spec = ResultStore(RESULTS).load()[0][0].spec
    checkpoint = checkpoint_path(RESULTS, spec, [0, 1, 2, 3], "way", "source")
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.write_text("of a stack that was ended after two records")
    for path in paths[2:]:
        path.unlink()
    with Claims(RESULTS) as other:
        assert all(other.take(path.relative_to(RESULTS).as_posix()) for path in paths)
        result = run("--seeds", "4", "--stack")
        assert result.exit_code == 0, result.output
        assert "2 of 4 runs are made by other processes" in result.output
    with Claims(RESULTS) as other:
        assert other.take(paths[0].relative_to(RESULTS).as_posix())  # a run that is recorded, of the same stack
        assert run("--seeds", "4", "--stack").exit_code == 0
        assert sorted(recorded()) == [0, 1]
        assert {path.name for path in RESULTS.rglob("*.claim*")} == {paths[0].with_suffix(".claim").name}
    assert run("--seeds", "4", "--stack").exit_code == 0
    assert recorded() == dict.fromkeys(range(4), 4)
    assert {path: json.loads(path.read_text())["sidecar"] for path in paths} == before


def test_where_others_make_all_runs_nothing_is_wrong(run):
    (name,) = names_of(run, 0)
    with Claims(RESULTS) as other:
        assert other.take(name)
        result = run()
    assert result.exit_code == 0, result.output
    assert "1 of 1 runs are made by other processes" in result.output
    assert [path for path in RESULTS.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("words", [[], ["--force"]])
def test_what_another_process_records_while_the_command_runs_is_not_repeated(run, monkeypatch, words):
    """A failure neither, which would only fail again."""
    assert run("--seed", "7").exit_code == 0
    (theirs,) = RESULTS.glob("*/*/*.json")
    if not words:
        theirs.unlink()
    store, trained, fit = ResultStore(RESULTS), [], Method.fit

    def fitting(method, task, meter):
        trained.append(task.streams.seeds)
        if task.streams.seeds == (0,):
            result = run("--seed", "7", *words)
            assert result.exit_code == 0, result.output
        return fit(method, task, meter)

    monkeypatch.setattr(Method, "fit", fitting)
    result = run("--seed", "0", "--seed", "7", *words)
    assert result.exit_code == 0, result.output
    assert trained == [(0,), (7,)]
    assert len(store.load()[0]) == 2
    assert "2 seeds" in result.output


@pytest.mark.parametrize("error", [RuntimeError("broken"), MemoryError])
def test_claims_go_when_a_run_fails(run, monkeypatch, error):
    def failing(method, task, meter):
        assert len(list(RESULTS.glob("*.claim"))) == 1
        raise error

    monkeypatch.setattr(Method, "fit", failing)
    assert run().exit_code == 1
    assert list(RESULTS.rglob("*.claim*")) == []


def test_checkpoints_of_finished_runs_are_removed_also_of_other_ways(run, monkeypatch):
    """Such as those of another number of threads, with which the run was begun."""
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)

    def interrupted(*_):
        raise KeyboardInterrupt

    checkpoints = Path("bench-results", "checkpoints")
    with monkeypatch.context() as interrupting:
        interrupting.setattr("bench.cli.progress._Watch.saved", interrupted)
        assert run("--epochs", "2", "--threads", "2").exit_code == 130
        assert run("--epochs", "2", "--threads", "2", "--seed", "1").exit_code == 130
    assert len(list(checkpoints.iterdir())) == 2
    assert list(RESULTS.rglob("*.claim*")) == [], "an interrupted command holds nothing"
    assert run("--epochs", "2", "--threads", "1").exit_code == 0
    assert len(list(checkpoints.iterdir())) == 1, "that of the other run stays"
