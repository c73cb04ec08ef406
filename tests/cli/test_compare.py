"""`bench compare` and `bench best` on hand-made records, whose differences are known."""

import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.store.results import ResultStore

BASE = [0.40, 0.42, 0.38, 0.41, 0.39, 0.43]
BETTER = [0.30, 0.31, 0.29, 0.30, 0.30, 0.32]
"""Values of tprd, of which less is better, by seed."""


def bench(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def store(make_result, tmp_path, monkeypatch):
    """A folder of records of three methods on one task, with test data that all seeds share."""
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("bench-results/results"))
    data = {"revision": "r1", "unofficial": {}, "sizes": {"train": 1000, "test": 50}, "tests": "0123456789ab"}
    for method, values in (("erm", BASE), ("learner", BETTER), ("other", BASE)):
        for seed, value in enumerate(values):
            store.put(make_result(method, seed, test={"tprd": value, "accuracy": 0.9}, data=data))
    return store


def test_a_pair_is_told_with_its_interval_and_seed_by_seed(store):
    """Differences of -10, -11, -9, -11, -9 and -11 points: mean -61/6, and t of five degrees of freedom is 2.5706."""
    code, out, err = bench("compare", "learner", "erm", "--metric", "tprd")
    assert (code, err) == (0, "")
    differences = [-10, -11, -9, -11, -9, -11]
    mean = sum(differences) / 6
    se = math.sqrt(sum((d - mean) ** 2 for d in differences) / 5 / 6)
    line = next(line for line in out.splitlines() if line.startswith("erm"))
    assert f"{mean:+.2f}" in line
    assert f"{mean - 2.5706 * se:+.2f} to {mean + 2.5706 * se:+.2f}" in line
    assert "100 %" in line and "-10.00, -11.00, -9.00, -11.00, -9.00, -11.00" in line
    assert out.startswith("class_fairness/1, digits: tprd, last epoch; learner 30.33 ± 0.42 %")


def test_several_are_compared_with_the_first_in_all_metrics_of_the_task(store):
    code, out, _ = bench("compare", "erm", "learner", "other")
    assert code == 0
    tprd, accuracy = out.split("class_fairness/1")[1:]
    assert [line.split()[0] for line in tprd.splitlines()[2:4]] == ["learner", "other"]
    assert "+10.17" in tprd and "identical" in tprd
    assert accuracy.count("identical") == 2


def test_the_best_is_proposed_with_its_uncertainty_and_command(store):
    code, out, err = bench("best")
    assert (code, err) == (0, "")
    assert out.startswith("Class fairness on digits, last epoch: use learner (tprd -10.17 points [")
    assert "better for 100 % of 6 seeds" in out and "bench run --method learner --dataset digits --seeds 6" in out


def test_the_command_of_the_best_writes_where_its_records_are(store):
    Path("bench-results").rename("my results")
    _, out, _ = bench("best", "--out", "my results")
    assert "bench run --method learner --dataset digits --seeds 6 --out 'my results'." in out


def test_where_nothing_is_better_the_baseline_is_proposed(store, make_result):
    for seed, value in enumerate(BASE):
        store.put(make_result("learner", seed, test={"tprd": value + 0.01 * (-1) ** seed, "accuracy": 0.9}))
    code, out, _ = bench("best", "--dataset", "digits")
    assert code == 0 and ": use erm: Of 2 methods, none lowers tprd against erm by more than chance" in out


def test_a_least_accuracy_leaves_methods_out(store):
    code, out, _ = bench("best", "--min-accuracy", "95")
    assert code == 0 and "nothing can be proposed" in out


WRONG = {
    "one name": (["compare", "erm"], "name two methods or more"),
    "a misspelt name": (["compare", "learnr", "erm"], "did you mean 'learner'?"),
    "a misspelt metric": (["compare", "erm", "learner", "--metric", "tprdd"], "did you mean 'tprd'?"),
    "no such rule": (["compare", "erm", "learner", "--select", "first"], "known: last"),
    "no such rule for the best": (["best", "--select", "first"], "known: last"),
    "no such data set": (["best", "--dataset", "mnist"], "there is: digits under class_fairness/1"),
    "no records": (["best", "--out", "nowhere"], "has no folder 'results'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line(name, store):
    words, expected = WRONG[name]
    code, out, err = bench(*words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert expected in err


def test_methods_of_other_settings_are_no_pair(store, make_result):
    for seed in range(5):
        store.put(make_result("third", seed, test={"tprd": 0.1}, recipe={"epochs": 9}))
    code, _, err = bench("compare", "third", "erm")
    assert code == 2 and "no runs of one task and setting" in err


def test_with_too_few_seeds_there_is_no_p(store, make_result):
    """As on the pages: of four common seeds there is an interval, and nothing is concluded."""
    for seed, value in enumerate([0.1, 0.2, 0.3, 0.2]):
        store.put(make_result("fourth", seed, test={"tprd": value, "accuracy": 0.9}))
    _, out, _ = bench("compare", "fourth", "erm", "--metric", "tprd")
    line = next(line for line in out.splitlines() if line.startswith("erm"))
    assert " to " in line and "  0." not in line


def test_a_record_that_cannot_be_used_is_named_by_its_file(store):
    path = store.path(make := store.load()[0][0].spec)
    path.write_text("half")
    _, _, err = bench("compare", "learner", "erm")
    assert f"the record {path}: " in err and make.seed == 0


def test_a_wrong_metric_is_told_before_anything_is_printed(store):
    code, out, err = bench("compare", "learner", "erm", "--metric", "tprd", "--metric", "tprdd")
    assert (code, out) == (2, "") and "did you mean 'tprd'?" in err
