"""`bench compare` and `bench best` on hand-made records, whose differences are known."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.options import show
from bench.store.results import ResultStore

BASE = [0.40, 0.42, 0.38, 0.41, 0.39, 0.43]
BETTER = [0.30, 0.31, 0.29, 0.30, 0.30, 0.32]
"""Values of tprd, of which less is better, by seed."""
DATA = {"revision": "r1", "unofficial": {}, "sizes": {"train": 1000, "test": 50}, "tests": "0123456789ab"}
"""All seeds share the test data."""


def bench(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def store(make_result, tmp_path, monkeypatch):
    """A folder of records of three methods on one task, with test data that all seeds share."""
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("bench-results/results"))
    for method, values in (("erm", BASE), ("learner", BETTER), ("other", BASE)):
        for seed, value in enumerate(values):
            store.put(make_result(method, seed, test={"tprd": value, "accuracy": 0.9}, data=DATA))
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
    assert accuracy.count("no difference in this metric") == accuracy.count("identical") == 1


def test_a_metric_without_a_difference_is_not_called_identical_unless_all_are(store):
    """learner differs from erm in tprd alone, `other` in nothing."""
    out = bench("compare", "learner", "erm", "--metric", "accuracy")[1]
    assert "  no difference in this metric  " in out and "identical" not in out
    assert "  identical  " in bench("compare", "other", "erm", "--metric", "accuracy")[1]


def test_below_each_table_stands_what_p_is_corrected_for(store, make_result):
    """On the page learner and small are two tests of one family; `other` trains as erm does, and is none."""
    put(store, make_result, "small", SMALL)
    page = "the page corrects for 2 tests, so that its verdict may be another.\n"
    _, out, _ = bench("compare", "learner", "erm", "--metric", "tprd")
    assert f"\np for 1 pair, as asked; {page}" in out and "  < 0.001  " in out
    _, out, _ = bench("compare", "erm", "learner", "small", "--metric", "tprd")
    assert "\np for 2 pairs, as asked; the page corrects for 2 tests.\n" in out
    _, out, _ = bench("compare", "learner", "small", "--metric", "tprd")
    assert "\np for 1 pair, as asked; no page has a p of this pair.\n" in out
    assert "as asked" not in bench("compare", "other", "erm")[1]


def test_a_metric_that_tables_do_not_show_has_its_known_direction(make_result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("bench-results/results"))
    many = {"sizes": {"train": 1000, "test": 10**8}}
    for method, values in (("erm", BASE), ("learner", BETTER)):
        for seed, value in enumerate(values):
            shown = {"tprd": 0.1, "accuracy": 1 - value, "ours": value}
            store.put(make_result(method, seed, test=shown, metrics=("tprd",), data=DATA | many))
    _, out, _ = bench("compare", "learner", "erm", "--metric", "accuracy")
    assert "  better  " in out and "  100 %  " in out
    _, out, _ = bench("compare", "learner", "erm", "--metric", "ours")
    assert "  different  " in out and " %  6  " not in out


def test_the_best_is_proposed_with_its_uncertainty_and_command(store):
    code, out, err = bench("best")
    assert (code, err) == (0, "")
    assert out.startswith("Class fairness on digits, last epoch: use learner (tprd -10.17 points [")
    assert "better for 100 % of 6 seeds" in out and "bench run --method learner --dataset digits --seeds 6" in out


def test_the_command_of_the_best_writes_where_its_records_are(store):
    Path("bench-results").rename("my results")
    _, out, _ = bench("best", "--out", "my results")
    assert "bench run --method learner --dataset digits --seeds 6 --out 'my results'`." in out


def test_an_open_question_is_not_answered_by_the_baseline(store, make_result):
    """Not separated is not equivalent. `other` trains as erm does, and learner is a little ahead or behind."""
    put(store, make_result, "learner", [0.01, -0.02, 0.01, -0.02, 0.01, -0.02])
    code, out, _ = bench("best", "--dataset", "digits")
    needed = re.search(r"; (\d+) seeds would decide with a probability of 80 %", out)[1]
    commands = [f"`bench run --method {method} --dataset digits --seeds {needed}`" for method in ("learner", "erm")]
    assert code == 0 and ": undecided: learner is ahead, tprd -0.50 points [" in out
    assert f"That takes: {' and '.join(commands)}. As long as nothing is shown, the baseline, erm, is the" in out
    put(store, make_result, "learner", [-0.01, 0.02, -0.01, 0.02, -0.01, 0.02])
    _, out, _ = bench("best", "--dataset", "digits")
    assert "undecided: no method is ahead of the baseline. As long as nothing is shown, the baseline, erm, is" in out


def test_the_baseline_is_proposed_where_methods_are_worse_or_equivalent(store, make_result):
    put(store, make_result, "learner", [0.10, 0.11, 0.09, 0.10, 0.10, 0.11])
    assert ": use erm: Of 2 methods and controls, none lowers tprd against the baseline, erm, " in bench("best")[1]
    put(store, make_result, "small", SMALL)
    assert ": undecided: " in bench("best")[1] and ": undecided: " in bench("best", "--equivalence", "0.1")[1]
    assert ": use erm: " in bench("best", "--equivalence", "1")[1]


def test_of_too_few_seeds_nothing_is_proposed(make_result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("bench-results/results"))
    put(store, make_result, "erm", [0, 0, 0])
    put(store, make_result, "learner", [-0.1, -0.11, -0.1])
    _, out, _ = bench("best")
    assert ": too few seeds to tell: learner is ahead, tprd -10.33 points [" in out and "use " not in out
    assert "; 5 seeds are the fewest that can decide. That takes: `bench run --method learner --dataset" in out


def test_a_least_accuracy_leaves_methods_out(store):
    code, out, _ = bench("best", "--min-accuracy", "95")
    assert code == 0 and "nothing can be proposed" in out


def put(store, make_result, method, differences):
    """Records of a method whose values of tprd differ so much from those of erm."""
    for seed, difference in enumerate(differences):
        store.put(make_result(method, seed, test={"tprd": BASE[seed] + difference, "accuracy": 0.9}, data=DATA))


SMALL = [0.001, -0.001, 0.002, -0.002, 0.001, -0.001]
"""Of mean 0; the 90 % interval is +- t(0.95, 5) sd / sqrt(6) = +- 2.015 * 0.15492 / 2.4495 points = +- 0.127."""


@pytest.mark.parametrize(
    ("margin", "said"), [(0.127, "not separated"), (0.128, "equivalent within ± 0.128 points"), (None, "not separated")]
)
def test_a_difference_is_equivalent_whose_90_percent_interval_lies_within_the_stated_region(
    store, make_result, margin, said
):
    put(store, make_result, "small", SMALL)
    words = ["--equivalence", margin] if margin else []
    code, out, err = bench("compare", "small", "erm", "--metric", "tprd", *words)
    line = next(line for line in out.splitlines() if line.startswith("erm"))
    assert (code, err) == (0, "") and said in line
    assert ("Not separated does not mean equivalent" in out) == (margin is None)
    _, out, _ = bench("compare", "small", "erm", "learner", *words)  # in two tables
    assert out.count("Not separated does not mean equivalent") == (margin is None)


def test_a_difference_can_be_separated_and_equivalent(store):
    _, out, _ = bench("compare", "learner", "erm", "--metric", "tprd", "--equivalence", "12")
    assert "  better, but equivalent within ± 12 points  " in out
    assert "  better  " in bench("compare", "learner", "erm", "--metric", "tprd", "--equivalence", "10")[1]
    assert "  worse  " in bench("compare", "erm", "learner", "--metric", "tprd")[1]


def test_of_too_few_seeds_and_of_equal_values_no_equivalence_is_told(store, make_result):
    put(store, make_result, "four", SMALL[:4])
    for method in ("four", "other"):
        assert "equivalent" not in bench("compare", method, "erm", "--equivalence", "5")[1]


def test_the_best_names_what_is_equivalent_to_the_baseline(store, make_result):
    put(store, make_result, "small", SMALL)
    put(store, make_result, "four", SMALL[:4])
    assert bench("best", "--equivalence", "1")[1].endswith(
        "Equivalent within ± 1 points to the baseline in tprd: small.\n"
    )
    assert bench("best", "--equivalence", "0.1")[1].endswith("to the baseline in tprd: no method.\n")
    assert bench("best")[1].endswith("Not separated does not mean equivalent: --equivalence POINTS tells what is.\n")


WRONG = {
    **{
        f"{command[0]}, equivalence {value}": ([*command, f"--equivalence={value}"], "--equivalence")
        for command in (["compare", "erm", "learner"], ["best"])
        for value in ("-1", "0", "nan", "inf", "-inf", "", "much")
    },
    **{
        f"accuracy {value}": (["best", f"--min-accuracy={value}"], "--min-accuracy")
        for value in ("nan", "inf", "x", "-5", "500")
    },
    **{f"accuracy {value}, said": (["best", f"--min-accuracy={value}"], "0<=x<=100") for value in ("-5", "500")},
    "one name": (["compare", "erm"], "name two methods or more"),
    "a misspelt name": (["compare", "learnr", "erm"], "did you mean 'learner'?"),
    "a misspelt metric": (["compare", "erm", "learner", "--metric", "tprdd"], "did you mean 'tprd'?"),
    "one twice": (["compare", "erm", "learner", "erm"], "erm is named twice: name each method once"),
    "a metric on another set": (["compare", "erm", "learner", "--metric", "noise/tprd"], "known: accuracy, tprd"),
    "an empty folder": (["compare", "erm", "learner", "--out", "empty"], "no record of a finished run: make some"),
    "an empty folder for the best": (["best", "--out", "empty"], "or name another folder with --out"),
    "no such rule": (["compare", "erm", "learner", "--select", "first"], "known: last"),
    "no such rule for the best": (["best", "--select", "first"], "known: last"),
    "no such data set": (["best", "--dataset", "mnist"], "there is: digits under class_fairness/1"),
    "no records": (["best", "--out", "nowhere"], "has no folder 'results'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line(name, store):
    words, expected = WRONG[name]
    Path("empty/results").mkdir(parents=True)
    code, out, err = bench(*words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert expected in err


def test_a_metric_of_the_test_set_may_be_named_with_the_set(store):
    plain = bench("compare", "erm", "learner", "--metric", "accuracy")
    assert bench("compare", "erm", "learner", "--metric", "test/accuracy") == plain and plain[0] == 0


def test_a_name_may_have_options_at_their_defaults(store, make_result):
    """As `bench run --each` prints them."""
    used = {"gamma": 2.0, "alpha": None, "ratio": [1, 10]}
    for options in ({}, {"alpha": 3}):
        for seed, value in enumerate(BETTER):
            test = {"tprd": value, "accuracy": 0.9}
            resolved = {"options": used | options}
            store.put(make_result("focal", seed, test=test, data=DATA, options=options, resolved=resolved))
    expected = bench("compare", "focal", "erm")
    assert expected[0] == 0
    for name in ("focal[gamma=2]", "focal[alpha=null,gamma=2]", "focal[ratio=1,10]", "focal[gamma=2,ratio=1,10]"):
        assert bench("compare", name.replace("null", show(None)), "erm") == expected
    assert bench("compare", "focal[gamma=2,alpha=3]", "erm") == bench("compare", "focal[alpha=3]", "erm") != expected
    for name in ("focal[gamma=3]", "focal[alpha=3,alpha=3]", "focal[gamma=2", "focal[beta=1]"):
        code, _, err = bench("compare", name, "erm")
        assert code == 2 and "unknown method" in err
    code, _, err = bench("compare", "focal[gamma=2]", "focal")
    assert code == 2 and err.endswith("focal is named twice, as focal[gamma=2] and as focal: name each method once\n")


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
    for words in (["compare", "learner", "erm"], ["best"]):
        code, out, err = bench(*words)
        assert (code, err.count(f"the record {path}: ")) == (1, 1) and out and make.seed == 0


def test_a_wrong_metric_is_told_before_anything_is_printed(store):
    code, out, err = bench("compare", "learner", "erm", "--metric", "tprd", "--metric", "tprdd")
    assert (code, out) == (2, "") and "did you mean 'tprd'?" in err


def test_without_select_the_rule_is_that_of_the_protocol(make_result, tmp_path, monkeypatch):
    """Under the rule that the protocol declares the learner is the better one, after the last epoch it is the worse."""
    monkeypatch.chdir(tmp_path)
    store, rule = ResultStore(Path("bench-results/results")), "best_val_accuracy"
    for method, last, best in (("erm", BASE, BETTER), ("learner", BETTER, BASE)):
        for seed in range(6):
            one = make_result(method, seed, test={"tprd": best[seed], "accuracy": 0.9}, data=DATA)
            values = {"tprd": [best[seed], last[seed]], "accuracy": [0.9, 0.9]}
            metrics = {"val": {"accuracy": [0.8, 0.9]}, "test": values}
            selected = replace(one.selected, epochs={"last": 3, rule: 2}, metrics=metrics, counts={})
            store.put(replace(one, selected=selected, about=replace(one.about, rule=rule)))
    _, out, _ = bench("compare", "learner", "erm", "--metric", "tprd")
    assert "best validation accuracy" in out and "better" in out and "-10.00, -11.00" in out
    assert bench("best")[1].startswith("Class fairness on digits, best validation accuracy: use learner")
    assert "last epoch: use erm" in bench("best", "--select", "last")[1]
