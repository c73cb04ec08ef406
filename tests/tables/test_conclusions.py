"""Verdicts, ranks and order of hand-made rows, by closed forms."""

import math
from collections.abc import Callable, Sequence

import pytest
import scipy.stats

from bench.columns.table import columns_of
from bench.records.run import LAST, RunResult
from bench.tables.comparisons import overlap_of
from bench.tables.conclusions import MOST_RANKED, Compared, Verdict, below_constant, conclude, near_constant
from bench.tables.pages import leaderboard
from bench.tables.pages.exported import latex, rows_frame
from bench.tables.rows import rows_of
from bench.tables.stats.paired import PairedDifference
from tests.site.read import read, site

Make = Callable[..., RunResult]
SPREAD = [-0.02, -0.01, 0.0, 0.01, 0.02]
"""Mean 0, standard deviation 0.01 sqrt(2.5), and a standard error of 0.01 / sqrt(2) over five seeds."""
FIXED = {"tests": "one", "sizes": {"train": 1000, "test": 10**8}}
"""One test set for all seeds, whose samples are so many that they add nothing to the errors."""
COUNTS = {"train": [[30, 70]], "test": [[20, 30]]}
"""The most frequent class of training is that of 60 % of the test samples."""


CROSSED = [3, 0, 4, 1, 2]
"""Another order of the deviations, so that two rows do not differ by the same number for all seeds."""


def around(mean: float, n: int = 5, order: Sequence[int] = range(5)) -> list[float]:
    return [mean + SPREAD[place] for place in order[:n]]


def runs(
    make: Make, method: str, tprd: Sequence[float | None], accuracy: Sequence[float] = (0.9,) * 9, **fields: object
) -> list[RunResult]:
    """A run for each value. All have the same test data, unless others are given."""
    tests = [{"tprd": value, "accuracy": right} for value, right in zip(tprd, accuracy, strict=False)]
    return [make(method, seed, test=test, **{"data": FIXED} | fields) for seed, test in enumerate(tests)]


def compared(results: Sequence[RunResult]) -> dict[str, Compared]:
    """Method -> its row, in the order of the table."""
    return {one.row.label: one for one in conclude(rows_of(columns_of(results)), LAST)}


def p_of_five(t: float) -> float:
    """Two-sided, of Student's t with 4 degrees of freedom, whose distribution is algebraic."""
    x = abs(t) / math.sqrt(4 + t * t)
    return 1 - 1.5 * x + 0.5 * x**3


def test_the_closed_form_is_that_of_the_table_of_student() -> None:
    assert p_of_five(2.776445) == pytest.approx(0.05, abs=1e-6)


def test_verdicts(make_result: Make) -> None:
    found = compared(
        [
            *runs(make_result, "erm", [0.5] * 5),
            *runs(make_result, "lower", around(0.4)),
            *runs(make_result, "higher", around(0.6)),
            *runs(make_result, "near", around(0.495)),
            *runs(make_result, "same", [0.5] * 5),
            *runs(make_result, "equal but in accuracy", [0.5] * 5, [0.9, 0.9, 0.9, 0.9, 0.8]),
            *runs(make_result, "short", around(0.4, 4)),
            *runs(make_result, "broken", [0.4, 0.4, None, 0.4, 0.4]),
        ]
    )
    assert {name: str(one.verdict) for name, one in found.items()} == {
        "erm": "baseline",
        "lower": "better",
        "higher": "worse",
        "near": "not separated",
        "same": "identical to the baseline",
        "equal but in accuracy": "not separated",
        "short": "too few seeds",
        "broken": "undefined",
    }


def test_larger_is_better_where_the_metric_says_so(make_result: Make) -> None:
    metrics = ("accuracy", "tprd")
    results = [
        *runs(make_result, "erm", [0.5] * 5, [0.5] * 5, metrics=metrics),
        *runs(make_result, "lower", [0.5] * 5, around(0.4), metrics=metrics),
        *runs(make_result, "higher", [0.5] * 5, around(0.6), metrics=metrics),
    ]
    found = compared(results)
    assert {name: one.verdict for name, one in found.items()} == {
        "higher": Verdict.BETTER,
        "erm": Verdict.BASELINE,
        "lower": Verdict.WORSE,
    }
    assert list(found) == ["higher", "erm", "lower"]
    assert {one.accuracy for one in found.values()} == {None}  # it is the difference itself


def test_of_a_metric_without_a_better_side_rows_are_different_and_not_ranked(make_result: Make) -> None:
    about = {"higher_is_better": {"tprd": None, "accuracy": True}}
    found = compared(
        [*runs(make_result, "erm", [0.5] * 5, about=about), *runs(make_result, "lower", around(0.4), about=about)]
    )
    assert (found["lower"].verdict, found["lower"].wins) == (Verdict.OTHER, None)
    assert {one.ranks for one in found.values()} == {None}


def test_p_is_that_of_student_times_the_number_of_tests(make_result: Make) -> None:
    """What is identical, or has too few seeds, is no test. Differences of 0.02 and 0.01 are t = 2 sqrt(2), sqrt(2)."""
    found = compared(
        [
            *runs(make_result, "erm", [0.5] * 5),
            *runs(make_result, "a", around(0.48)),
            *runs(make_result, "b", around(0.51)),
            *runs(make_result, "same", [0.5] * 5),
            *runs(make_result, "short", around(0.4, 4)),
        ]
    )
    assert found["a"].p == pytest.approx(2 * p_of_five(2 * math.sqrt(2)), rel=1e-9)
    assert found["b"].p == pytest.approx(p_of_five(math.sqrt(2)), rel=1e-9)
    assert found["a"].verdict is Verdict.OPEN  # p is 0.047 before the correction
    assert all(math.isnan(found[name].p) for name in ("erm", "same", "short"))


DRAWN = [{"tests": f"drawn by {seed}"} for seed in range(5)]


@pytest.mark.parametrize(
    ("data", "overlap", "verdict"),
    [
        ([{"tests": "one"}] * 5, 0.0, Verdict.BETTER),
        (DRAWN, 0.5, Verdict.OPEN),
        ([{"tests": ""}] * 5, 0.5, Verdict.OPEN),  # records of earlier versions
        ([{"tests": ""}, *[{"tests": "one"}] * 4], 0.5, Verdict.OPEN),
    ],
)
def test_splits_that_overlap_make_errors_larger(make_result: Make, data, overlap: float, verdict: Verdict) -> None:
    """A difference of 0.021 is t = 2.97, p = 0.041; of 50 test and 100 training samples t is 1 / sqrt(1 + 5 / 2) of
    that.
    """
    results = [
        make_result(method, seed, test={"tprd": tprd, "accuracy": 0.9}, data=of | {"sizes": {"train": 100, "test": 50}})
        for method, values in {"erm": [0.5] * 5, "a": around(0.479)}.items()
        for seed, (tprd, of) in enumerate(zip(values, data, strict=True))
    ]
    found = compared(results)["a"]
    assert overlap_of(found.row) == overlap
    assert found.difference is not None
    assert found.difference.se == pytest.approx(0.01 / math.sqrt(2) * math.sqrt(1 + 5 * overlap), rel=1e-9)
    assert found.p == pytest.approx(p_of_five(2.1 * math.sqrt(2 / (1 + 5 * overlap))), rel=1e-9)
    assert found.verdict is verdict


@pytest.mark.parametrize(
    ("pool", "train", "ratio"),
    [
        (0, 500, 360 / 500),  # a record of an earlier version
        (1797, 1137, 360 / 1137),  # all that is not held out
        (1797, 500, 360 / 1137),  # a protocol trains on fewer
        (1797, 1437, 360 / 1437),  # the validation data are trained on too
    ],
)
def test_training_samples_are_all_that_are_not_held_out(make_result: Make, pool: int, train: int, ratio: float) -> None:
    data = {"pool": pool, "sizes": {"train": train, "val": 300, "test": 360}}
    (row,) = rows_of(columns_of(runs(make_result, "a", [0.5], data=data)))
    assert overlap_of(row) == ratio


def test_without_sizes_no_overlap_is_known(make_result: Make) -> None:
    (row,) = rows_of(columns_of(runs(make_result, "a", [0.5], data={"sizes": {}})))
    assert overlap_of(row) == 0.0


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [
        ([0.9] * 5, Verdict.BETTER),
        ([0.6] * 5, Verdict.CONSTANT),
        ([0.5] * 5, Verdict.BELOW),
        (around(0.575), Verdict.BELOW),
        (around(0.595), Verdict.CONSTANT),  # below it in the mean, but not by its interval of 0.02
        (around(0.605), Verdict.CONSTANT),  # above it in the mean, but not by its interval of 0.02
        (around(0.625), Verdict.BETTER),
    ],
)
def test_a_row_that_is_no_more_accurate_than_a_constant_is_not_ranked(make_result: Make, accuracy, verdict) -> None:
    data = FIXED | {"counts": COUNTS}
    results = [
        *runs(make_result, "erm", [0.5] * 5, data=data),
        *runs(make_result, "a", around(0.1), accuracy, data=data),
        *runs(make_result, "b", around(0.2, order=CROSSED), data=data),
    ]
    found = compared(results)
    constant = verdict is not Verdict.BETTER
    assert found["a"].verdict is verdict
    assert found["a"].ranks == (None if constant else (1, 1))
    assert list(found) == (["b", "erm", "a"] if constant else ["a", "b", "erm"])


def test_nor_is_the_baseline_or_a_row_without_one(make_result: Make) -> None:
    """The lowest disparity of all belongs to a constant."""
    data = FIXED | {"counts": COUNTS}
    found = compared(
        [
            *runs(make_result, "erm", [0.0] * 5, [0.6] * 5, data=data),
            *runs(make_result, "a", around(0.1), data=data),
            *runs(make_result, "same", [0.0] * 5, [0.6] * 5, data=data),
        ]
    )
    assert {name: (one.verdict, one.ranks) for name, one in found.items()} == {
        "erm": (Verdict.BASELINE, None),
        "same": (Verdict.IDENTICAL, None),
        "a": (Verdict.WORSE, (1, 1)),
    }
    alone = compared(
        [*runs(make_result, "a", around(0.1), data=data), *runs(make_result, "b", [0.0] * 5, [0.6] * 5, data=data)]
    )
    assert {name: (one.verdict, one.ranks) for name, one in alone.items()} == {
        "a": (Verdict.NONE, (1, 1)),
        "b": (Verdict.CONSTANT, None),
    }


@pytest.mark.parametrize(
    ("mean", "half", "near", "below"),
    [
        *((0.1, 0.05, False, False), (0.1, 0.1, True, False), (0.1, 0.2, True, False), (-0.1, 0.2, True, False)),
        *((-0.1, 0.1, True, False), (-0.1, 0.05, True, True), (-0.1, math.nan, True, False)),
        *((0.1, math.nan, False, False), (0.0, math.nan, True, False), (math.nan, math.nan, False, False)),
    ],
)
def test_near_and_below_a_constant(mean: float, half: float, near: bool, below: bool) -> None:
    above = PairedDifference(mean, mean - half, mean + half, math.nan, 5)
    assert near_constant(above) == near and below_constant(above) == below


def test_a_row_below_a_constant_is_told_so_everywhere(make_result: Make) -> None:
    data = FIXED | {"counts": COUNTS}
    erm = runs(make_result, "erm", [0.5] * 5, data=data)
    results = [*erm, *runs(make_result, "a", around(0.1), around(0.5), data=data)]
    results += runs(make_result, "b", around(0.2, order=CROSSED), around(0.6), data=data)
    (page,) = leaderboard.render(columns_of(results)).values()
    assert "1 is less accurate than a constant prediction (a)" in page.text
    assert "1 is not shown to be more accurate than a constant prediction (b)" in page.text
    (row,) = [line for line in page.text.splitlines() if line.startswith("| – | a |")]
    assert "| < constant |" in row and "&lt; a<" in page.picture
    frame = rows_frame(columns_of(results))
    assert set(frame[frame["method"] == "a"]["verdict"]) == {"< constant", ""}
    assert "$<$ constant" in latex(columns_of(results))
    html = next(text for name, text in site(results).items() if name.startswith("html/class_fairness"))
    marks = {mark.about["class"]: mark.text for mark in read(html).all("span") if "mark" in mark.about.get("class", "")}
    assert marks["mark constant below"] == "< constant" and marks["mark constant"] == "≈ constant"
    assert {row.name: row.verdict for row in page.summary.tasks[0].rows if row.name != "erm"} == {
        "a": Verdict.CONSTANT,  # the matrix has one sign for both
        "b": Verdict.CONSTANT,
    }


def test_of_an_unknown_constant_nothing_is_near() -> None:
    assert not near_constant(None)


def test_ranks_are_shared_by_rows_that_are_not_separated(make_result: Make) -> None:
    found = compared(
        [
            *runs(make_result, "erm", [0.5] * 5),
            *runs(make_result, "first", around(0.2)),
            *runs(make_result, "near", around(0.505, order=range(4, -1, -1))),
            *runs(make_result, "last", around(0.8, order=CROSSED)),
            *runs(make_result, "short", around(0.1, 4)),
        ]
    )
    assert {name: one.ranks for name, one in found.items()} == {
        "short": None,  # it stands where its difference does, but has fewer seeds than the others
        "first": (1, 1),
        "erm": (2, 3),
        "near": (2, 3),
        "last": (4, 4),
    }
    assert list(found) == ["short", "first", "erm", "near", "last"]


def test_of_many_rows_none_has_a_rank(make_result: Make) -> None:
    results = [run for i in range(MOST_RANKED + 1) for run in runs(make_result, f"m{i}", [0.5])]
    assert {one.ranks for one in compared(results).values()} == {None}
    assert {one.ranks for one in compared(results[1:]).values()} == {(1, MOST_RANKED)}


def test_a_row_with_an_undefined_value_is_last_and_has_no_rank(make_result: Make) -> None:
    found = compared([*runs(make_result, "a", [0.1, None]), *runs(make_result, "b", [0.9, 0.9])])
    assert [(name, one.ranks) for name, one in found.items()] == [("b", (1, 1)), ("a", None)]


def test_rows_without_a_common_seed_are_too_few_and_not_undefined(make_result: Make) -> None:
    other = [make_result("a", seed, test={"tprd": 0.4, "accuracy": 0.9}, data=FIXED) for seed in range(5, 10)]
    assert compared([*runs(make_result, "erm", [0.5] * 5), *other])["a"].verdict is Verdict.FEW


def test_the_baseline_may_be_of_another_family(make_result: Make) -> None:
    erm, a = rows_of(columns_of([*runs(make_result, "erm", [0.5] * 5), *runs(make_result, "a", around(0.4))]))[::-1]
    (one,) = conclude([a], LAST, {a: erm})
    assert (one.row, one.baseline, one.verdict) == (a, erm, Verdict.BETTER)
    (alone,) = conclude([a], LAST)
    assert (alone.baseline, alone.verdict) == (None, Verdict.NONE)


def first_that_is_enough(effect: float, level: float) -> int:
    """By trying each number of seeds: the power of Student's two-sided test of a mean of `effect` deviations."""

    def power(n: int) -> float:
        critical = scipy.stats.t.ppf(1 - level / 2, n - 1)
        law = scipy.stats.nct(n - 1, effect * math.sqrt(n))
        return float(law.sf(critical) + law.cdf(-critical))

    return next(n for n in range(3, 1000) if power(n) >= 0.8)


def test_seeds_that_would_decide(make_result: Make) -> None:
    """Half a standard deviation takes 34 pairs (G*Power 3.1); with two tests each is at half the level."""
    half = around(0.5 + 0.5 * 0.01 * math.sqrt(2.5))
    assert first_that_is_enough(0.5, 0.05) == 34
    alone = compared([*runs(make_result, "erm", [0.5] * 5), *runs(make_result, "a", half)])
    assert (alone["a"].verdict, alone["a"].seeds_needed) == (Verdict.OPEN, 34)
    assert alone["erm"].seeds_needed is None
    two = compared([*runs(make_result, "erm", [0.5] * 5), *runs(make_result, "a", half), *runs(make_result, "b", half)])
    assert two["a"].seeds_needed == first_that_is_enough(0.5, 0.025)


def test_no_number_of_seeds_is_told_where_the_question_is_closed_or_splits_overlap_too_much(make_result: Make) -> None:
    better = compared([*runs(make_result, "erm", [0.5] * 5), *runs(make_result, "a", around(0.4))])["a"]
    assert (better.verdict, better.seeds_needed) == (Verdict.BETTER, None)
    sizes = {"tests": "", "sizes": {"train": 50, "test": 50}}
    erm, a = runs(make_result, "erm", [0.5] * 5, data=sizes), runs(make_result, "a", around(0.49), data=sizes)
    overlapping = compared([*erm, *a])["a"]
    assert (overlapping.verdict, overlapping.seeds_needed) == (Verdict.OPEN, None)


def test_how_often_a_row_wins_and_its_difference_in_accuracy(make_result: Make) -> None:
    found = compared(
        [
            *runs(make_result, "erm", [0.5] * 5, [0.75] * 5),
            *runs(make_result, "a", [0.4, 0.4, 0.4, 0.5, 0.6], [0.5, 0.75, 1.0, 1.0, 1.0]),
        ]
    )["a"]
    assert found.wins is not None and found.accuracy is not None
    assert (found.wins.share, found.wins.n) == (0.7, 5)  # three and half a tie
    assert found.accuracy.mean == 0.1
