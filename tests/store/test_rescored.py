"""Metrics of stored predictions are those that the runs would have written, and nothing else is changed."""

import dataclasses
import errno
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench import registry
from bench.cli import main
from bench.cli.store import verify as verify_command
from bench.data.files import Files
from bench.errors import BenchError
from bench.metrics import METRICS, Metric
from bench.records.run import RunResult
from bench.records.selections import RESAMPLES, encoded
from bench.records.sidecar import Sidecar
from bench.records.spec import digest
from bench.registry import Offer, Plugin
from bench.runs import rescoring
from bench.runs.rescoring import scores
from bench.store.claims import Claims
from bench.store.predicted import sets_predicted
from bench.store.rescored import (
    PredictionsError,
    best_epoch,
    context_recomputed,
    recomputed,
    rescored,
    value_under,
)
from bench.store.results import ResultStore
from bench.store.verify import verify
from tests.experiments import one
from tests.runs.test_rescoring import PROTOCOLS, experiment_under
from tests.store.made import BEST, logits, predicted

RUN = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "3"]


def bench(*words):
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def added(result, name, beside=None):
    return rescored(result, beside or result.beside, name, METRICS[name], "0" * 12, scores)


def test_a_metric_is_added_under_each_rule(make_result):
    result = predicted(make_result)
    made = added(result, "balanced_accuracy")
    assert made.selected.metrics["test"]["balanced_accuracy"] == [0.5, pytest.approx(5 / 6)]
    assert made.rescored == {"balanced_accuracy": "0" * 12}
    assert made.selected["last"].metrics["test"]["tprd"] == 1.0
    same = dataclasses.replace(made, selected=result.selected, rescored={})
    assert same == result
    assert RunResult.from_json(made.to_json()) == made
    assert added(made, "balanced_accuracy") is made


def test_a_metric_that_the_record_has_must_be_equal_to_the_last_bit(make_result):
    result = predicted(make_result)
    assert added(result, "tprd") is result
    metrics = {**result.selected.metrics, "test": {**result.selected.metrics["test"], "tprd": [1.0, 1 / 3]}}
    wrong = dataclasses.replace(result, selected=dataclasses.replace(result.selected, metrics=metrics))
    with pytest.raises(BenchError, match=r"test/tprd is \[1.0, 0.3333333333333333\] in its record"):
        added(wrong, "tprd")
    assert recomputed(result, result.beside, METRICS, scores).different == []
    assert recomputed(result, result.beside, METRICS, scores).values == 4
    (different,) = recomputed(wrong, wrong.beside, METRICS, scores).different
    assert different.startswith("test/tprd is")


def test_a_metric_that_is_undefined_is_written_as_such(make_result):
    only = predicted(make_result, data={"sizes": {"train": 1, "test": 4}, "counts": {"test": [[4, 0]]}})
    with pytest.raises(BenchError, match="no predictions"):
        added(make_result(), "tprd", Sidecar())
    arrays = dict(only.arrays) | {f"test/{part}": only.arrays[f"test/{part}"] * 0 for part in ("y", "group")}
    only = dataclasses.replace(only, selected=dataclasses.replace(only.selected, counts={}))
    undefined = added(only, "equalized_odds_difference", Sidecar(only.history, arrays))
    assert undefined.selected.metrics["test"]["equalized_odds_difference"] == [None, None]


def test_probes_get_the_metrics_that_need_no_labels(make_result):
    sizes = {"train": 10, "val": 10, "test": 4, "noise": 4}
    arrays = {"noise/last": logits(BEST), "noise/best_val_accuracy": logits([1, 1, 1, 1])}
    result = predicted(make_result, arrays, data={"sizes": sizes, "counts": {"test": [[3, 1]]}})
    assert "noise" not in added(result, "macro_f1").selected.metrics
    metrics = added(result, "fraction_positive").selected.metrics
    assert (metrics["noise"], metrics["test"]["fraction_positive"]) == ({"fraction_positive": [0.5, 1.0]}, [0.0, 0.5])


@pytest.mark.parametrize(
    ("values", "higher", "epoch"),
    [([0.5, 0.8, 0.8], True, 2), ([0.5, 0.2, 0.2], False, 2), ([None, None, 0.1], True, 3), ([None] * 3, True, 0)],
)
def test_the_first_of_the_best_epochs_is_taken(values, higher, epoch):
    assert best_epoch([1, 2, 3], values, higher) == epoch


def under(result, rule, name, higher=True, beside=None):
    return value_under(rule, result, beside or result.beside, name, METRICS[name], higher, scores)


def test_another_rule_takes_the_history_or_predictions_of_the_same_epoch(make_result):
    result = predicted(make_result)
    assert under(result, "best_val_tprd", "balanced_accuracy", higher=False) == {"test": 0.5}  # epoch 3, the last one
    history = {**result.history, "val/error": [0.1, 0.2, 0.3]}
    beside = Sidecar(history, result.arrays)
    assert under(result, "best_val_error", "accuracy", False, beside) == {"test": 0.5}  # epoch 1, of its history
    with pytest.raises(BenchError, match="of epoch 1 there are no predictions"):
        under(result, "best_val_error", "macro_f1", False, beside)
    with pytest.raises(BenchError, match="its history has no val/ece"):
        under(result, "best_val_ece", "accuracy")
    undefined = Sidecar({**history, "val/error": [None] * 3}, result.arrays)
    with pytest.raises(BenchError, match="undefined at every epoch"):
        under(result, "best_val_error", "accuracy", False, undefined)
    with pytest.raises(BenchError, match="trained on the validation data"):
        under(predicted(make_result, validation="paper"), "best_val_tprd", "accuracy")


def likelihood(p, counts):
    """Minus the log likelihood of the class."""
    return -p.logits.double().log_softmax(-1).gather(-1, p.y.unsqueeze(-1)).squeeze(-1).mean(-1)


def broken(p, counts):
    raise ValueError("of no use")


def with_metrics(monkeypatch, unit="nats", **more):
    """Metrics of a plugin are installed from now on; `more` are functions by name."""
    known = registry.installed()
    plugin = Plugin("mine", "mine", "0.1", "tests.store.test_rescored")
    functions = {"nll": likelihood, "broken": broken} | more
    offers = {n: Offer(Metric(f, False, unit if n in more else "nats"), plugin) for n, f in functions.items()}
    mine = dataclasses.replace(known, offers=known.offers | {"metrics": known.offers["metrics"] | offers})
    monkeypatch.setattr(registry, "installed", lambda: mine)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_all_metrics_of_each_protocol_are_those_of_the_run(name, tmp_path):
    """As if none but that of the selection rule had been installed when the run was made."""
    experiment, store = experiment_under(name, Files(tmp_path), "ece"), ResultStore(tmp_path / "results")
    ran = one(experiment, store, 3)
    beside = store.sidecar(dataclasses.replace(ran, beside=None))
    again = recomputed(ran, beside, experiment.known_metrics, scores)
    assert again.different == [] and again.values >= 2 * len(METRICS)
    sets = sets_predicted(ran, beside)
    known = {of_set: {} if of_set in sets else dict(of) for of_set, of in ran.selected.metrics.items()}
    made = dataclasses.replace(ran, selected=dataclasses.replace(ran.selected, metrics=known))
    for metric, of in experiment.known_metrics.items():
        made = rescored(made, beside, metric, of, "0" * 12, scores)
    assert made.selected == ran.selected
    assert dataclasses.replace(made, rescored={}).to_json() == ran.to_json()


def test_predictions_that_are_not_those_of_the_record_give_no_metric(make_result):
    with pytest.raises(PredictionsError, match=r"^test/last does not give the counts of the record$"):
        added(predicted(make_result, {"test/last": logits(BEST)}), "balanced_accuracy")


@pytest.mark.parametrize("arrays", [{"test/last": logits(BEST)}, {"test/last": None, "test/best_val_accuracy": None}])
def test_the_command_that_repeats_a_run_names_the_folder(arrays, make_result, tmp_path):
    out = tmp_path / "my results"
    result = predicted(make_result, arrays)
    ResultStore(out / "results").put(result)
    done = bench("rescore", "--metric", "ece", "--out", out)
    assert done.stderr.endswith(f"repeat the run: {result.command} --force --out '{out}'\n")


# The command, on runs


def without(path: Path, *names: str) -> str:
    """The record in a file as if these metrics had not been installed. Returns what the file had."""
    text = path.read_text()
    values = json.loads(text)
    for of_set, metrics in values["selected"]["metrics"].items():
        for name in names if of_set != "val" else ():
            metrics.pop(name, None)
    del values["digest"]
    path.write_text(json.dumps(values | {"digest": digest(values)}))
    return text


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs; copied for each test."""
    out = tmp_path_factory.mktemp("runs")
    assert bench(*RUN, "--seeds", 2, "--out", out).exit_code == 0
    return out


@pytest.fixture
def out(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "out")
    return tmp_path / "out"


def records(out: Path) -> list[Path]:
    return sorted((out / "results").rglob("*.json"))


def test_the_record_is_that_of_the_run_to_the_last_bit(out):
    names = sorted(METRICS.keys() - {"accuracy"})
    before = {path: without(path, *names) for path in records(out)}
    for name in names:
        done = bench("rescore", "--metric", name, "--out", out)
        assert done.exit_code == 0, done.output
        assert done.stdout.endswith(f"2 records were given {name}\n")
    for path, text in before.items():
        made, ran = RunResult.from_json(path.read_text()), RunResult.from_json(text)
        assert made.selected == ran.selected
        assert made.rescored.keys() == set(names)
        assert dataclasses.replace(made, rescored={}) == ran
    assert dict(verify(out / "results").problems) == {}
    assert bench("leaderboard", "--out", out, "--check").exit_code == 0


def test_a_dry_run_writes_nothing(out):
    without(records(out)[0], "ece")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = bench("rescore", "--metric", "ece", "--dry-run", "--out", out)
    assert done.exit_code == 0 and "nothing was written; 1 record would be given ece; 1 has it" in done.stdout
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_rule_that_the_runs_lack_is_shown_as_a_run_has_it(out, tmp_path):
    assert bench(*RUN, "--seeds", 2, "-o", "recipe.select=ece", "--out", tmp_path / "other").exit_code == 0
    run = bench("rescore", "--metric", "error", "--select", "best_val_ece", "--out", tmp_path / "other").stdout
    shown = bench("rescore", "--metric", "error", "--select", "best_val_ece", "--out", out)
    assert shown.exit_code == 0 and "nothing was written" in shown.stdout
    lines = [line for text in (run, shown.stdout) for line in text.splitlines() if "best validation ece" in line]
    values = [line.partition("best validation ece")[2].split() for line in lines]
    assert values[0] == values[1] and len(values) == 2


def test_a_record_with_other_values_or_without_predictions_is_named(out):
    first, second = records(out)
    values = json.loads(first.read_text())
    metrics = values["selected"]["metrics"]["test"]
    metrics["ece"] = [value + 1e-9 for value in metrics["ece"]]
    del values["digest"]
    first.write_text(json.dumps(values | {"digest": digest(values)}))
    before = first.read_bytes()
    next(second.parent.glob(f"{second.stem}.*.xz")).unlink()
    done = bench("rescore", "--metric", "ece", "--out", out)
    assert done.exit_code == 1 and "2 files left" in done.stdout
    assert "in its record, and" in done.stderr and "is missing" in done.stderr
    assert first.read_bytes() == before


def test_a_run_that_another_process_makes_is_left(out):
    first, _ = records(out)
    without(first, "ece")
    with Claims(out / "results") as claims:
        claims.take(first.relative_to(out / "results").as_posix())
        done = bench("rescore", "--metric", "ece", "--out", out)
    assert done.exit_code == 1 and "another process makes this run" in done.stderr


def test_a_new_metric_of_a_plugin_is_that_of_a_run_that_has_it(out, tmp_path, monkeypatch):
    with_metrics(monkeypatch)
    monkeypatch.setitem(registry.installed().offers["metrics"], "broken", registry.installed().offers["metrics"]["nll"])
    assert bench(*RUN, "--seeds", 2, "--out", tmp_path / "other").exit_code == 0
    done = bench("rescore", "--metric", "nll", "--out", out)
    assert done.exit_code == 0 and "nll (nats): class fairness, digits" in done.stdout
    for path in records(out):
        made = RunResult.from_json(path.read_text())
        ran = RunResult.from_json((tmp_path / "other" / path.relative_to(out)).read_text())
        assert made.selected.metrics["test"]["nll"] == ran.selected.metrics["test"]["nll"]
        assert made.rescored["nll"] not in ("", "unknown", made.code.core)


def full(p, value):
    """[..] of one value."""
    return torch.full(p.y.shape[:-1], value, dtype=torch.float64)


IMPOSSIBLE = {
    "it raises": (broken, "nats", "of no use"),
    "it draws numbers": (lambda p, counts: torch.rand(p.y.shape[:-1]), "%", "mine gives two values for the same"),
    "more than all": (lambda p, counts: full(p, 14), "%", "metric mine gives 14, and its unit is %, that of fractions"),
    "less than none": (lambda p, counts: full(p, -0.1), "%", "metric mine gives -0.1, and its unit is %"),
    "complex": (lambda p, counts: full(p, 1).to(torch.complex64), "nats", "gives numbers of the type complex64"),
    "whole numbers": (lambda p, counts: full(p, 1).long(), "nats", "gives numbers of the type int64"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_metric_that_cannot_be_one_is_told_once_and_nothing_is_written(what, out, monkeypatch):
    function, unit, why = IMPOSSIBLE[what]
    with_metrics(monkeypatch, unit, mine=function)
    before = {path: path.read_bytes() for path in records(out)}
    done = bench("rescore", "--metric", "mine", "--out", out)
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1 and why in done.stderr
    assert f"left {records(out)[0]} and 1 more record: " in done.stderr
    assert done.stdout == "nothing was written; 2 files left\n"
    assert {path: path.read_bytes() for path in records(out)} == before


def test_verification_names_a_metric_that_has_become_an_impossible_one_once(out, monkeypatch):
    with_metrics(monkeypatch, "%", mine=lambda p, counts: full(p, 0.5))
    verify_command._metrics.cache_clear()
    assert bench("rescore", "--metric", "mine", "--out", out).exit_code == 0
    assert bench("verify-store", "--out", out).exit_code == 0
    for name, (function, _, why) in IMPOSSIBLE.items():
        with_metrics(monkeypatch, "%", mine=function)
        verify_command._metrics.cache_clear()  # as another process
        done = bench("verify-store", "--out", out)
        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1), name
        assert why in done.stderr and " and 1 more record: " in done.stderr and ", 1 problem\n" in done.stdout


def test_a_metric_that_is_undefined_everywhere_is_told(out, monkeypatch):
    with_metrics(monkeypatch, mine=lambda p, counts: full(p, math.nan))
    done = bench("rescore", "--metric", "mine", "--out", out)
    assert done.exit_code == 0 and done.stderr == "warning: mine is undefined in all of these records\n"


def test_a_record_that_nobody_could_read_is_not_written(make_result):
    result, name = predicted(make_result), "balanced_accuracy"
    with pytest.raises(BenchError, match=r"^the record with these values could not be read: .* 5.0, which no balanced"):
        rescored(result, result.beside, name, METRICS[name], "0" * 12, lambda *_: {name: 5.0})


def test_a_metric_is_taken_out_again_and_nothing_else(out, monkeypatch):
    before = {path: path.read_bytes() for path in records(out)}
    with_metrics(monkeypatch)
    assert bench("rescore", "--metric", "nll", "--out", out).exit_code == 0
    given = {path: path.read_bytes() for path in records(out)}
    monkeypatch.undo()  # it is not installed any more
    done = bench("rescore", "--metric", "nll", "--remove", "--dry-run", "--out", out)
    assert (done.exit_code, done.stdout) == (0, "nothing was written; 2 records would be rid of nll\n")
    assert {path: path.read_bytes() for path in records(out)} == given
    done = bench("rescore", "--metric", "nll", "--remove", "--out", out)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "2 records were rid of nll\n", "")
    assert {path: path.read_bytes() for path in records(out)} == before
    for name in ("nll", "accuracy"):  # the second one is the run's own
        done = bench("rescore", "--metric", name, "--remove", "--out", out)
        assert done.stdout == f"nothing was written, as no record was given {name} by `bench rescore`\n"
    assert {path: path.read_bytes() for path in records(out)} == before


def test_a_full_store_ends_it_at_the_first_record_and_keeps_the_older_one(out, monkeypatch):
    before = {path: without(path, "ece") and path.read_bytes() for path in records(out)}

    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    done = bench("rescore", "--metric", "ece", "--out", out)
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 1
    assert "No space left on device; free some space, or" in done.stderr and "the records after it" in done.stderr
    assert {path: path.read_bytes() for path in records(out)} == before


WRONG = {
    "no such metric": (["--metric", "nothing"], "unknown metric 'nothing'"),
    "no metric": ([], "--metric"),
    "no such rule": (["--metric", "ece", "--select", "accuracy"], "expected last or best_val_METRIC"),
    "a rule of no metric": (["--metric", "ece", "--select", "best_val_x"], "unknown metric 'x'"),
    "a rule without a direction": (["--metric", "ece", "--select", "best_val_fraction_positive"], "neither high nor"),
    "no such run": (["--metric", "ece", "--dataset", "mnist"], "there is: erm on digits (mlp)"),
    "no folder": (["--metric", "ece", "--out", "nowhere"], "has no folder 'results'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line(name, runs):
    words, expected = WRONG[name]
    done = bench("rescore", *words, *([] if "--out" in words else ["--out", runs]))
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert expected in done.stderr


def test_verification_compares_the_metrics(out):
    done = bench("verify-store", "--out", out)
    assert done.exit_code == 0 and "2 with predictions" in done.stdout and "values of 2 computed again" in done.stdout
    path = records(out)[0]
    values = json.loads(path.read_text())
    metrics = values["selected"]["metrics"]["test"]
    metrics["ece"] = [value + 1e-10 for value in metrics["ece"]]
    del values["digest"]
    path.write_text(json.dumps(values | {"digest": digest(values)}))
    done = bench("verify-store", "--out", out)
    assert done.exit_code == 1 and "test/ece is" in done.stderr and "1 problem\n" in done.stdout


def test_what_the_numbers_stand_beside_is_computed_again(tmp_path):
    """On a small real run; each forged number is named."""
    assert bench(*RUN, "--out", tmp_path).exit_code == 0
    store = ResultStore(tmp_path / "results")
    (result,) = store.load()[0]
    beside, selected = store.sidecar(result), result.selected
    assert context_recomputed(result, beside, METRICS, rescoring.TestSet).different == []
    assert context_recomputed(result, beside, METRICS, rescoring.TestSet).values == 1 + 3 + 1
    drawn = {"accuracy": encoded(np.full(RESAMPLES, 0.5))}
    for changed, what in (
        ({"data": dataclasses.replace(result.data, constant={"tprd": 0.5})}, "data.constant.tprd"),
        ({"selected": dataclasses.replace(selected, floor={"tprd": 0.9})}, "selected.floor.tprd"),
        ({"selected": dataclasses.replace(selected, oracle=selected.oracle / 2)}, "the best epoch on the test set"),
        ({"selected": dataclasses.replace(selected, resampled=drawn)}, "selected.resampled.accuracy"),
    ):
        wrong = dataclasses.replace(result, **changed)
        (different,) = context_recomputed(wrong, beside, METRICS, rescoring.TestSet).different
        assert different.startswith(what)
    dataclasses.replace(result, data=dataclasses.replace(result.data, constant={"tprd": 0.5})).save(store.folder)
    told = bench("verify-store", "--out", tmp_path)
    assert told.exit_code == 1 and "data.constant.tprd is not that of its predictions" in told.output
