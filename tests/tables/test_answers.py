"""The sentences that answer a page's question, of hand-made records."""

from collections.abc import Callable, Sequence

import pytest

from bench.columns.table import columns_of
from bench.records.run import LAST, RunResult
from bench.records.selections import Selected, Selections
from bench.tables.answers import answers, exploratory, headline
from bench.tables.conclusions import Compared, conclude
from bench.tables.names import Names
from bench.tables.rows import rows_of
from bench.tables.wording import in_words

UNKNOWN = "The records do not say whether the seeds share their test data, so it is assumed that each draws its own"
Make = Callable[..., RunResult]
SPREAD = [-0.02, -0.01, 0.0, 0.01, 0.02]
LOW, NEAR, HIGH = ([mean + deviation for deviation in SPREAD] for mean in (0.4, 0.49, 0.6))
"""Differences from 0.5 of t = 14, 1.4 and 14, with p below 0.001, 0.230 and below 0.001."""
TPRD = "tprd (true positive rate disparity)"
FIXED = {"tests": "one"}
COUNTS = {"train": [[30, 70]], "test": [[20, 30]]}
"""The most frequent class of training is that of 60 % of the test samples."""


def runs(
    make: Make, method: str, tprd: Sequence[float | None], accuracy: float = 0.9, **fields: object
) -> list[RunResult]:
    """A run for each value, with the test data of all others."""
    tests = [{"tprd": value, "accuracy": accuracy} for value in tprd]
    return [make(method, seed, test=test, **{"data": FIXED} | fields) for seed, test in enumerate(tests)]


def compared(results: Sequence[RunResult]) -> list[Compared]:
    return conclude(rows_of(columns_of(results)), LAST)


def paragraphs(*tasks: Sequence[RunResult], names: Names | None = None) -> list[str]:
    """Those of tasks that are called after their options."""
    of_tasks = [(of[0].row.variant, of) for of in map(compared, tasks)]
    return answers(of_tasks, LAST, names or Names())


@pytest.fixture
def erm(make_result: Make) -> list[RunResult]:
    return runs(make_result, "erm", [0.5] * 5)


def test_one_of_several_is_better(make_result: Make, erm: list[RunResult]) -> None:
    """Student's quantile for 4 degrees of freedom is 2.776, and the standard error 0.01 / sqrt(2)."""
    results = [
        *erm,
        *runs(make_result, "a", LOW),
        *runs(make_result, "b", NEAR),
        *runs(make_result, "c", HIGH),
        *runs(make_result, "d", [0.5] * 5),
        *runs(make_result, "e", [0.5] * 4),
        *runs(make_result, "f", [0.5, None]),
    ]
    assert paragraphs(results) == [
        f"**Of 6 methods and controls, 1 lowers {TPRD} against the baseline, erm, by more than chance: a.** "
        "1 is worse (c); "
        "1 is not separated from the baseline (b); "
        "2 train exactly as the baseline does (d, e); 1 has undefined values (f).",
        "The best is a: tprd -10.00 points [-11.96, -8.04], better for 100 % of 5 seeds, accuracy +0.00 points.",
        "tprd of erm: 50.00 ± 0.00 % over 5 seeds, last epoch. By more than chance means p < 0.05 after Holm's "
        "correction for 3 tests. "
        "Brackets hold 95 % intervals of differences from the baseline, without that correction. "
        "All seeds share one test set, so the errors are those of training alone.",
    ]


def test_all_and_none_are_better(make_result: Make, erm: list[RunResult]) -> None:
    a, b = (runs(make_result, method, LOW) for method in "ab")
    assert (
        paragraphs([*erm, *a, *b])[0]
        == f"**Of 2 methods and controls, all lower {TPRD} against the baseline, erm, by more than chance: a, b.**"
    )
    a, b = (runs(make_result, method, HIGH) for method in "ab")
    assert paragraphs([*erm, *a, *b])[:-1] == [
        f"**Of 2 methods and controls, none lowers {TPRD} against the baseline, erm, by more than chance.** "
        "2 are worse (a, b)."
    ]


def test_the_best_mean_of_an_open_question_and_the_seeds_that_would_decide(make_result: Make) -> None:
    """Half a standard deviation, 0.01 sqrt(2.5) / 2, takes 34 pairs (G*Power 3.1). Of two tests the level is half."""
    erm, a = runs(make_result, "erm", [0.5] * 5), runs(make_result, "a", [0.5 + x - 0.0079056942 for x in SPREAD])
    assert paragraphs([*erm, *a])[:2] == [
        f"**a does not lower {TPRD} against the baseline, erm, by more than chance.**",
        "The best mean is that of a: tprd -0.79 points [-2.75, +1.17], better for 60 % of 5 seeds, accuracy +0.00 "
        "points. If that is the true difference, 34 seeds would show it with a probability of 80 % (at a level of "
        "0.05).",
    ]
    (told,) = [one for one in paragraphs([*erm, *a, *runs(make_result, "b", HIGH)]) if one.startswith("The best")]
    assert told.endswith(" with a probability of 80 % (at a level of 0.05/2).") and " 34 seeds" not in told


def test_where_no_number_of_seeds_would_decide_it_is_said_what_is_lacking(make_result: Make) -> None:
    drawn = {"tests": "", "sizes": {"train": 50, "test": 50}}
    erm, a = runs(make_result, "erm", [0.5] * 5, data=drawn), runs(make_result, "a", NEAR, data=drawn)
    assert paragraphs([*erm, *a])[1].endswith(
        " Even if that is the true difference, no number of seeds of this pool would show it with a probability of "
        "80 % (at a level of 0.05): more data are needed."
    )
    erm, a = runs(make_result, "erm", [0.5] * 5), runs(make_result, "a", [0.4998 + 5 * x for x in SPREAD])
    assert paragraphs([*erm, *a])[1].endswith(
        " Even if that is the true difference, it takes more than 10,000 seeds to show it with a probability of 80 % "
        "(at a level of 0.05)."
    )
    few = {"tests": "one", "sizes": {"train": 50, "test": 50}}
    values = {"erm": [0.5] * 5, "a": [0.51 + x for x in SPREAD]}
    results = [
        make_result(method, seed, test={"accuracy": value}, metrics=("accuracy",), data=few)
        for method, of in values.items()
        for seed, value in enumerate(of)
    ]
    assert paragraphs(results)[1].endswith(
        " Even if that is the true difference, no number of seeds would show it on this test set with a probability "
        "of 80 % (at a level of 0.05): more test samples are needed."
    )


def test_of_a_difference_of_the_last_digit_it_is_not_said_what_would_decide(make_result: Make) -> None:
    erm = runs(make_result, "erm", [0.5] * 5)
    a, b = (
        runs(make_result, name, [0.5 + x / 100 - by for x in SPREAD]) for name, by in (("a", 1.4e-4), ("b", 1.6e-4))
    )
    assert paragraphs([*erm, *a])[1].endswith(" accuracy +0.00 points.")
    assert " seeds would show it " in paragraphs([*erm, *b])[1]


def test_methods_with_one_mean_are_all_named(make_result: Make) -> None:
    erm = runs(make_result, "erm", [0.5] * 5)
    a, b = (runs(make_result, method, NEAR, accuracy) for method, accuracy in (("a", 0.9), ("b", 0.91)))
    c = runs(make_result, "c", [value + 0.0002 for value in NEAR])
    assert (
        " accuracy +0.00 points; level with it to the digits that are shown: b (accuracy +1.00 points ["
        in (paragraphs([*erm, *a, *b, *c])[1])
    )


def test_of_equal_differences_no_number_of_seeds_is_told(make_result: Make, erm: list[RunResult]) -> None:
    """They have no spread from which it would follow."""
    best = paragraphs([*erm, *runs(make_result, "a", [0.25] * 5)])[1]
    assert best == "The best mean is that of a: tprd -25.00 points, better for 100 % of 5 seeds, accuracy +0.00 points."


@pytest.mark.parametrize(
    ("tprd", "accuracy", "said"),
    [
        (LOW, 0.9, "a lowers tprd against the baseline, erm, by more than chance."),
        (NEAR, 0.9, "a does not lower tprd against the baseline, erm, by more than chance."),
        (HIGH, 0.9, "a raises tprd against the baseline, erm, by more than chance."),
        ([0.5] * 5, 0.9, "a trains exactly as the baseline does."),
        (LOW[:4], 0.9, "Nothing is concluded: a has fewer than 5 seeds in common with the baseline, erm."),
        (LOW, 0.6, "a is not shown to be more accurate than a constant prediction."),
        ([0.4, None], 0.9, "a has undefined values."),
    ],
)
def test_of_one_method_its_verdict_is_the_whole_answer(make_result: Make, tprd, accuracy: float, said: str) -> None:
    data = FIXED | {"counts": COUNTS}
    results = [*runs(make_result, "erm", [0.5] * 5, data=data), *runs(make_result, "a", tprd, accuracy, data=data)]
    told = said.replace("tprd", TPRD)
    assert paragraphs(results)[0] == f"**{told}**"
    assert headline(compared(results), Names()) == said


def test_where_more_is_better_a_method_raises_and_where_neither_is_it_changes(make_result: Make) -> None:
    def said(results: Sequence[RunResult]) -> str:
        return headline(compared(results), Names())

    up = {"about": {"higher_is_better": {"tprd": True, "accuracy": True}}}
    erm = runs(make_result, "erm", [0.5] * 5, **up)
    assert (
        said([*erm, *runs(make_result, "a", HIGH, **up)])
        == "a raises tprd against the baseline, erm, by more than chance."
    )
    assert (
        said([*erm, *runs(make_result, "a", LOW, **up)])
        == "a lowers tprd against the baseline, erm, by more than chance."
    )
    neither = {"about": {"higher_is_better": {"tprd": None, "accuracy": True}}}
    erm = runs(make_result, "erm", [0.5] * 5, **neither)
    a, b = (runs(make_result, method, HIGH, **neither) for method in "ab")
    assert said([*erm, *a]) == "a changes tprd against the baseline, erm, by more than chance."
    assert (
        said([*erm, *a, *b])
        == "Of 2 methods and controls, all change tprd against the baseline, erm, by more than chance: a, b."
    )
    assert len(paragraphs([*erm, *a])) == 2  # none of them is the best


def test_with_too_few_seeds_nothing_is_concluded(make_result: Make) -> None:
    few = [*runs(make_result, "erm", [0.5] * 5), *runs(make_result, "a", LOW[:4]), *runs(make_result, "b", LOW[:3])]
    first, *_, basis = paragraphs(few)
    assert first == "**Nothing is concluded: no method has 5 seeds in common with the baseline, erm.**"
    assert "By more than chance" not in basis


def test_methods_no_better_than_a_constant_are_told(make_result: Make) -> None:
    data = FIXED | {"counts": COUNTS}
    erm, a = runs(make_result, "erm", [0.5] * 5, data=data), runs(make_result, "a", LOW, 0.6, data=data)
    first, *_, basis = paragraphs([*erm, *a, *runs(make_result, "b", NEAR, data=data)])
    assert first == (
        f"**Of 2 methods and controls, none lowers {TPRD} against the baseline, erm, by more than chance and is "
        "more accurate than a constant "
        "prediction.** 1 is not separated from the baseline (b); 1 is not shown to be more accurate than a constant "
        "prediction (a)."
    )
    assert basis.endswith(" Always predicting 'yes' has accuracy 60.00 %.")


def test_many_names_are_cut(make_result: Make, erm: list[RunResult]) -> None:
    results = [*erm, *(run for method in "abcdefgh" for run in runs(make_result, method, LOW))]
    assert paragraphs(results)[0].endswith(": a, b, c, d, e, f and 2 more.**")


def test_tasks_with_one_answer_share_a_line(make_result: Make, erm: list[RunResult]) -> None:
    def task(tprd: Sequence[float], **options: object) -> list[RunResult]:
        given = {"protocol_options": options}
        return [*runs(make_result, "erm", [0.5] * 5, **given), *runs(make_result, "a", tprd, **given)]

    assert paragraphs(task(LOW), task(HIGH, x=1), task(LOW, x=2), erm) == [
        f"- default; x=2: a lowers {TPRD} against the baseline, erm, by more than chance.\n"
        f"- x=1: a raises {TPRD} against the baseline, erm, by more than chance.",
        "Rule: last epoch. By more than chance means p < 0.05 after Holm's correction for the tests of each task. "
        "Brackets hold 95 % intervals of differences from the baseline, without that correction. "
        "All seeds share one test set, so the errors are those of training alone.",
    ]
    (first, *_) = paragraphs(task(LOW, x=1))
    assert first == f"**x=1: a lowers {TPRD} against the baseline, erm, by more than chance.**"


def test_tasks_whose_seeds_draw_other_things_are_told_apart(make_result: Make) -> None:
    def task(sizes: dict[str, int], **options: object) -> list[RunResult]:
        given = {"protocol_options": options, "data": {"tests": "", "sizes": sizes}}
        return [*runs(make_result, "erm", [0.5] * 5, **given), *runs(make_result, "a", HIGH, **given)]

    *_, basis = paragraphs(task({"train": 100, "test": 60}), task({"train": 100, "test": 160}, x=1))
    assert basis.endswith(
        f" default: {UNKNOWN}: intervals of differences are 2.00 times as wide as for independent data."
        f" x=1: {UNKNOWN}: intervals of differences are 3.00 times as wide as for independent data."
    )


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (["one"] * 5, "All seeds share one test set, so the errors are those of training alone."),
        (["0", "1", "2", "3", "4"], "Each seed draws its test data anew from one pool: {}"),
        (["0", "1", "", "", ""], "Each seed draws its test data anew from one pool: {}"),
        ([""] * 5, f"{UNKNOWN}: {{}}"),
        (["one", "one", "one", "one", ""], f"{UNKNOWN}: {{}}"),
        (["one"], ""),
        ([""], ""),
    ],
)
def test_what_seeds_draw(make_result: Make, tests: list[str], said: str) -> None:
    """Of 60 test samples to 100 training samples the errors of five seeds are sqrt(1 + 5 * 0.6) = 2 times as large."""
    results = [
        make_result(
            method,
            seed,
            test={"tprd": tprd[seed], "accuracy": 0.9},
            data={"tests": of, "sizes": {"train": 100, "test": 60}},
        )
        for method, tprd in (("erm", [0.5] * 5), ("a", LOW))
        for seed, of in enumerate(tests)
    ]
    *_, basis = paragraphs(results)
    expected = said.format("intervals of differences are 2.00 times as wide as for independent data.")
    assert basis.endswith(f" {expected}" if expected else ", last epoch.")


def test_the_unit_of_a_metric_that_is_no_fraction_is_told(make_result: Make) -> None:
    about = {"units": {"tprd": "nats"}}
    erm, a = runs(make_result, "erm", [0.5] * 5, about=about), runs(make_result, "a", LOW, about=about)
    _, best, basis = paragraphs([*erm, *a])
    assert best.startswith("The best is a: tprd -0.10 nats [-0.12, -0.08], better for")
    assert basis.startswith("tprd of erm: 0.50 ± 0.00 nats over 5 seeds, last epoch. ")


def test_where_another_set_is_ranked_by_the_accuracy_says_of_which_set_it_is(make_result: Make) -> None:
    def made(method: str, values: Sequence[float]) -> list[RunResult]:
        ranks = ("shifted/tprd", "accuracy")
        return [
            make_result(method, seed, metrics=ranks, data=FIXED, selected=Selections.of({LAST: one}, {"accuracy"}))
            for seed, value in enumerate(values)
            for one in [Selected(3, {"test": {"accuracy": 0.9}, "shifted": {"tprd": value}})]
        ]

    best = paragraphs([*made("erm", [0.5] * 5), *made("a", LOW)])[1]
    assert best.endswith(", accuracy on the test set itself +0.00 points.")


def test_another_family_is_exploratory(make_result: Make, erm: list[RunResult]) -> None:
    low = [run for x in (1, 2) for run in runs(make_result, "a", LOW, options={"x": x})]
    high = runs(make_result, "a", HIGH, options={"x": 3})

    def said(results: Sequence[RunResult]) -> str:
        return exploratory("other options of a", compared(results), Names())

    assert said([*erm, *low, *high]) == (
        "Exploratory, other options of a: 2 of 3 are better than the baseline (a[x=1]: accuracy +0.00 points; "
        "a[x=2]: accuracy +0.00 points)."
    )
    assert said([*erm, *low[5:], *high]) == (
        "Exploratory, other options of a: 1 of 2 is better than the baseline (a[x=2]: accuracy +0.00 points)."
    )
    assert said([*erm, *high]) == said(erm) == ""


def test_where_nothing_is_compared_only_what_all_rows_share_is_told(make_result: Make) -> None:
    a, b = (runs(make_result, method, LOW, validation="paper") for method in "ab")
    assert paragraphs([*a, *b]) == []
    names = Names.of(rows_of(columns_of([*a, *b])))
    assert paragraphs([*a, *b], names=names) == ["All rows: trained on validation data too."]
    assert headline(compared(a), names) == ""


@pytest.mark.parametrize(
    ("metric", "line", "words"),
    [
        ("ours", "True gain: what is gained.", "true gain"),
        ("ours", "AUC of a group.", "AUC of a group"),
        ("shifted/ours", "Share in 0.5 steps, at most.", "share in 0.5 steps, on the test data of another year"),
        ("other/ours", "Share in 0.5 steps, at most.", "share in 0.5 steps, on other"),
        ("max_fnr", "", "largest false negative rate over the groups"),
        ("unknown", "", ""),
    ],
)
def test_the_words_of_a_metric_are_the_first_ones_of_its_line(make_result: Make, metric: str, line: str, words: str):
    sets = {"shifted": "The test data of another year: all of it."}
    result = make_result("erm", about={"described": {"ours": line}, "sets": sets})
    assert in_words(result.about, metric) == words
