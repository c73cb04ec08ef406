"""What rows stand beside: the samples of a fixed test set, the constant prediction, the noise floor, the oracle."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
import scipy.stats

from bench.columns.table import columns_of
from bench.records.run import LAST, RunResult, best_val
from bench.records.selections import RESAMPLES, encoded
from bench.tables.answers import BOTH, FEW_SEEDS, NOT_WIDER
from bench.tables.comparisons import baselines_of, difference_of, error_of_samples, ranked, rules_of
from bench.tables.conclusions import Verdict, conclude
from bench.tables.context import constant_class, constant_values, floors, oracle_values, own_floor
from bench.tables.pages.beside import ALIKE, FLOOR, TRAINING_ALONE, rows_beside
from bench.tables.pages.exported import rows_frame
from bench.tables.pages.ranking import OWN_FLOOR
from bench.tables.rows import Row, rows_of
from bench.tables.stats.equivalence import equivalence_p, is_equivalent
from tests.tables.pages import render

Make = Callable[..., RunResult]
Drawn = Mapping[str, np.ndarray]
FIXED = {"tests": "one", "sizes": {"train": 1000, "test": 400}}
ERM = [0.10, 0.12, 0.11, 0.09, 0.13]
OURS = [0.08, 0.09, 0.10, 0.07, 0.11]


def beside(result: RunResult, drawn: Drawn | None = None, **entries: object) -> RunResult:
    """The record with what its numbers stand beside."""
    texts = {name: encoded(values) for name, values in (drawn or {}).items()}
    return replace(result, selected=replace(result.selected, resampled=texts, **entries))


def runs(
    make: Make, method: str, tprd: Sequence[float], drawn: Sequence[Drawn] = (), **fields: object
) -> list[RunResult]:
    found = [
        make(method, seed, test={"tprd": value, "accuracy": 0.9}, **{"data": FIXED} | fields)
        for seed, value in enumerate(tprd)
    ]
    return [beside(one, of) for one, of in zip(found, drawn, strict=True)] if drawn else found


def rows(results: Sequence[RunResult]) -> dict[str, Row]:
    return {row.label: row for row in rows_of(columns_of(results))}


def two_rows(make: Make, tprd: Sequence[float] = OURS, **fields: object) -> tuple[Row, Row, np.ndarray]:
    """Two methods with drawn test sets, and the mean over the seeds of the differences on each."""
    generator = np.random.default_rng(0)
    both = generator.normal(scale=0.03, size=(2, 5, RESAMPLES)).astype(np.float16)
    drawn = [[{"tprd": of_seed} for of_seed in of] for of in both]
    found = rows([*runs(make, "erm", ERM, drawn[0], **fields), *runs(make, "ours", tprd, drawn[1], **fields)])
    return found["ours"], found["erm"], (both[1].astype(float) - both[0].astype(float)).mean(axis=0)


def test_the_samples_of_a_fixed_test_set_add_to_the_error_of_the_seeds(make_result: Make) -> None:
    ours, erm, drawn = two_rows(make_result)
    found = difference_of(ours, erm, "tprd", LAST)
    differences = np.subtract(OURS, ERM)
    of_seeds, of_samples = differences.var(ddof=1) / 5, drawn.var(ddof=1)
    freedom = 4 * ((of_seeds + of_samples) / of_seeds) ** 2
    law = scipy.stats.t(freedom, differences.mean(), math.sqrt(of_seeds + of_samples))
    assert (found.low, found.high) == pytest.approx(law.interval(0.95), rel=1e-9)
    assert found.p == pytest.approx(2 * law.sf(0), rel=1e-9)
    alone = scipy.stats.ttest_1samp(differences, 0).confidence_interval()
    assert (found.seeds_low, found.seeds_high) == pytest.approx(tuple(alone), rel=1e-9)
    assert found.low < found.seeds_low and found.seeds_high < found.high


def test_differences_that_are_the_same_for_all_seeds_are_not_certain(make_result: Make) -> None:
    ours, erm, drawn = two_rows(make_result, [value - 0.01 for value in ERM])
    found = difference_of(ours, erm, "tprd", LAST)
    half = scipy.stats.norm.ppf(0.975) * drawn.std(ddof=1)
    assert (found.low, found.high) == pytest.approx((-0.01 - half, -0.01 + half), rel=1e-6)


def test_without_drawn_test_sets_accuracies_have_that_of_independent_samples(make_result: Make) -> None:
    found = rows([*runs(make_result, "erm", ERM), *runs(make_result, "ours", OURS)])
    error = error_of_samples(found["ours"], found["erm"], "accuracy", LAST)
    assert error == pytest.approx(math.sqrt(2 * 0.9 * 0.1 / 400), rel=1e-12)
    assert math.isnan(error_of_samples(found["ours"], found["erm"], "tprd", LAST))


@pytest.mark.parametrize("missing", [{"rule": "best_val_accuracy"}, {"metric": "max_fnr"}])
def test_another_rule_or_metric_has_none(make_result: Make, missing: dict[str, str]) -> None:
    ours, erm, _ = two_rows(make_result)
    asked = {"metric": "tprd", "rule": LAST} | missing
    assert math.isnan(error_of_samples(ours, erm, **asked))


def test_where_each_seed_draws_its_test_set_the_overlap_says_it(make_result: Make) -> None:
    generator = np.random.default_rng(0)
    drawn = [{"tprd": generator.normal(size=RESAMPLES)} for _ in range(5)]
    data = [{"tests": str(seed), "sizes": {"train": 100, "test": 50}} for seed in range(5)]
    found = rows(
        [
            beside(make_result(method, seed, test={"tprd": value, "accuracy": 0.9}, data=data[seed]), drawn[seed])
            for method, values in (("erm", ERM), ("ours", OURS))
            for seed, value in enumerate(values)
        ]
    )
    assert error_of_samples(found["ours"], found["erm"], "tprd", LAST) == 0
    assert difference_of(found["ours"], found["erm"], "tprd", LAST).test_se == 0


def test_other_test_sets_are_not_taken_for_the_same(make_result: Make) -> None:
    ours, erm, _ = two_rows(make_result)
    _, other, _ = two_rows(make_result, data=FIXED | {"tests": "two"})
    assert math.isnan(error_of_samples(ours, other, "tprd", LAST))
    assert not math.isnan(error_of_samples(ours, erm, "tprd", LAST))


def test_the_verdict_is_that_of_the_wider_interval(make_result: Make) -> None:
    ours, erm, _ = two_rows(make_result)
    (found,) = [one for one in conclude([ours, erm], LAST) if one.row is ours]
    assert found.verdict is Verdict.OPEN and found.difference
    assert found.difference.seeds_high < 0  # the seeds alone would have said better
    assert found.seeds_needed is None  # no number of seeds makes the error of the samples smaller


def test_the_page_shows_both_intervals_and_says_what_they_are_of(make_result: Make) -> None:
    ours, erm, _ = two_rows(make_result)
    (page,) = render([*(ours.runs[seed].record for seed in range(5)), *(erm.runs[seed].record for seed in range(5))])
    text = render([*(ours.runs[s].record for s in range(5)), *(erm.runs[s].record for s in range(5))])[page]
    assert "intervals have the error of its 400 samples beside that of the seeds." in text
    assert "| Δ tprd | Seeds alone |" in text
    found = difference_of(ours, erm, "tprd", LAST)
    assert f"| [{100 * found.seeds_low:+.2f}, {100 * found.seeds_high:+.2f}] |" in text


@pytest.mark.parametrize(
    ("seeds", "scales", "said"),
    [
        (5, {"ours": 0.03, "more": 0.03}, [True, False, False]),
        (3, {"ours": 1e-4, "more": 1e-4}, [False, False, True]),  # t of 2 degrees of freedom: 4.30 errors
        (3, {"ours": 1e-4, "more": 0.03}, [True, True, False]),
    ],
)
def test_the_page_says_which_error_its_intervals_have(make_result: Make, seeds, scales, said) -> None:
    generator = np.random.default_rng(0)
    results = runs(make_result, "erm", ERM[:seeds], [{"tprd": np.zeros(RESAMPLES, np.float16)}] * seeds)
    for method, scale in scales.items():
        drawn = [{"tprd": generator.normal(scale=scale, size=RESAMPLES).astype(np.float16)}] * seeds
        results += runs(make_result, method, OURS[:seeds], drawn)
    found = rows(results)
    for method, scale in scales.items():
        both = difference_of(found[method], found["erm"], "tprd", LAST)
        differences = np.subtract(OURS[:seeds], ERM[:seeds])
        half = scipy.stats.t.ppf(0.975, seeds - 1) * scipy.stats.sem(differences)
        assert (both.high - both.low > 2 * half + 1e-6) == both.wider_by_samples == (scale > 0.01)
    (text,) = render(results).values()
    told = [BOTH, NOT_WIDER, FEW_SEEDS]
    assert [one.format(samples="400") in text for one in told] == said


def test_the_rows_of_a_page_stand_beside_a_constant_and_the_noise_floor(make_result: Make) -> None:
    data = FIXED | {"counts": {"train": [[30, 70]], "test": [[160, 240]]}, "constant": {"tprd": 0.0, "accuracy": 0.6}}
    results = [
        beside(one, floor={"tprd": 0.031 + 0.001 * one.spec.seed}, oracle_epoch=2, oracle=one.spec.seed / 100)
        for one in [*runs(make_result, "erm", ERM, data=data), *runs(make_result, "ours", OURS, data=data)]
    ]
    found = rows(results)
    assert constant_values(found["erm"], "tprd") == dict.fromkeys(range(5), 0.0)
    assert floors(found["erm"], "tprd") == pytest.approx([0.031, 0.032, 0.033, 0.034, 0.035])
    assert floors(found["erm"], "accuracy") == []
    assert oracle_values(found["ours"]) == {seed: seed / 100 for seed in range(5)}
    (text,) = render(results).values()
    lines = [line.split(" | ") for line in text.splitlines()]
    (constant,) = [line for line in lines if "*always 'yes'*" in line and "constant" in line][:1]
    assert constant[2] == "0.00 ± 0.00" and "60.00 ± 0.00" in constant
    (floor,) = [line for line in lines if "*groups alike*" in line]
    assert floor[2] == "3.30" and "noise floor" in floor
    assert "Were all groups alike, tprd would be 3.30 % by chance." in text
    assert "| ours | tprd | 2.00 ± 0.71 | -7.00 ± 0.77 | last epoch | 5 |" in text


def test_a_disparity_below_its_floor_cannot_be_lowered(make_result: Make) -> None:
    """Unless one is shown to do so."""

    def text(ours: Sequence[float]) -> str:
        both = [*runs(make_result, "erm", ERM), *runs(make_result, "ours", ours)]
        (page,) = render([beside(one, floor={"tprd": 0.2}) for one in both]).values()
        return page

    told = "This cannot be answered here: tprd of the baseline, erm, is 11.00 %, and chance alone gives 20.00 %"
    assert f"**{told}, so there is no disparity to lower. ours does not lower tprd" in text(ERM[::-1])
    assert "no disparity to lower" not in text(OURS)


def test_the_rule_that_a_task_is_concluded_by_comes_first(make_result: Make) -> None:
    best = {"tprd": 0.1, "accuracy": 0.9}
    about = {"rule": best_val("accuracy")}
    results = [
        make_result(method, seed, test={"tprd": value, "accuracy": 0.9}, best=best, about=about, data=FIXED)
        for method, values in (("erm", ERM), ("ours", OURS))
        for seed, value in enumerate(values)
    ]
    assert rules_of(rows_of(columns_of(results))) == [best_val("accuracy"), LAST]
    (text,) = render(results).values()
    assert text.index("## Best validation accuracy") < text.index("<summary>Last epoch</summary>")


def test_two_rows_are_compared_alike_in_either_order(make_result: Make) -> None:
    """Where one of them does not say what was drawn, the careful answer holds for both."""
    found = rows([*runs(make_result, "erm", ERM), *runs(make_result, "ours", OURS, data=FIXED | {"tests": ""})])
    ours, erm = found["ours"], found["erm"]
    one, other = difference_of(ours, erm, "tprd", LAST), difference_of(erm, ours, "tprd", LAST)
    se = math.sqrt(np.subtract(OURS, ERM).var(ddof=1) * (1 / 5 + 400 / 1000))
    assert one.se == pytest.approx(se, rel=1e-9) and other.se == pytest.approx(se, rel=1e-9)


def test_equal_values_with_other_predictions_are_not_equivalent_within_any_region(make_result: Make) -> None:
    """Five times the same disparity, of other people: the samples of the test set have an error."""
    ours, erm, drawn = two_rows(make_result, ERM)
    found = difference_of(ours, erm, "tprd", LAST)
    assert found.test_se == pytest.approx(drawn.std(ddof=1), rel=1e-9)
    end = scipy.stats.t.ppf(0.95, 4) * found.test_se
    assert equivalence_p(found, end) == pytest.approx(0.05, abs=1e-9)
    assert not is_equivalent(found, end / 2)


def test_a_row_that_trains_as_the_baseline_is_no_test_also_without_drawn_test_sets(make_result: Make) -> None:
    """Accuracies get the error of independent samples then; the p of 1 would double that of the other row."""
    values = {"erm": [0.9, 0.92, 0.91, 0.93, 0.9], "same": [0.9, 0.92, 0.91, 0.93, 0.9], "ours": [0.99] * 5}
    found = rows(
        [
            make_result(method, seed, test={"accuracy": value}, metrics=("accuracy",), data=FIXED)
            for method, of in values.items()
            for seed, value in enumerate(of)
        ]
    )
    compared = {one.row.label: one for one in conclude(list(found.values()), LAST)}
    assert compared["same"].verdict is Verdict.IDENTICAL and math.isnan(compared["same"].p)
    own = difference_of(found["ours"], found["erm"], "accuracy", LAST).p
    assert compared["ours"].p == own and compared["ours"].tests == 1


def test_with_fewer_than_five_seeds_no_rank_is_told_from_another(make_result: Make) -> None:
    data = FIXED | {"sizes": {"train": 1000, "test": 10**8}}
    results = [*runs(make_result, "erm", ERM[:4], data=data), *runs(make_result, "ours", [0.02, 0.04, 0.031, 0.01])]
    assert [one.ranks for one in conclude(list(rows(results).values()), LAST)] == [(1, 2), (1, 2)]
    assert {one.verdict for one in conclude(list(rows(results).values()), LAST)} == {Verdict.BASELINE, Verdict.FEW}


def test_an_undefined_disparity_is_not_called_none(make_result: Make) -> None:
    results = [beside(one, floor={"tprd": 0.0}) for one in runs(make_result, "erm", [math.nan] * 5)]
    results += [beside(one, floor={"tprd": 0.0}) for one in runs(make_result, "ours", [math.nan] * 5)]
    (text,) = render(results).values()
    assert "no disparity to lower" not in text


def test_the_noise_floor_is_of_the_seeds_that_tell_it(make_result: Make) -> None:
    results = runs(make_result, "erm", ERM)
    results = [beside(results[0], floor={"tprd": 0.03}), *results[1:]]
    (told,) = [one for one in rows_beside(conclude(list(rows(results).values()), LAST), LAST) if one.name == ALIKE]
    assert told.seeds == 1


def floors_beside(results: Sequence[RunResult], labels: Sequence[str]) -> dict[str, float]:
    """The noise floors beside a family of these rows, whose baselines may be in another one."""
    found = rows_of(columns_of(results))
    baselines = dict(zip(ranked(found, LAST), baselines_of(ranked(found, LAST)), strict=True))
    compared = conclude([row for row in found if row.name in labels], LAST, baselines)
    return {one.name: mean(one.values["tprd"]) for one in rows_beside(compared, LAST) if one.kind == FLOOR}


def test_the_noise_floor_is_that_of_the_baseline_also_where_it_is_in_another_table(make_result: Make) -> None:
    options = {"first": {"lr": 1.0}, "second": {"lr": 2.0}}
    results = [beside(one, floor={"tprd": 0.07}) for one in runs(make_result, "erm", ERM)]
    for floor, of in zip((0.002, 0.05), options.values(), strict=True):
        results += [beside(one, floor={"tprd": floor}) for one in runs(make_result, "forml", OURS, options=of)]
    assert floors_beside(results, ["forml[lr=1]", "forml[lr=2]"]) == {ALIKE: pytest.approx(0.07)}


def test_each_of_several_baselines_has_its_noise_floor(make_result: Make) -> None:
    results = []
    for floor, hidden in ((0.3, 4), (0.1, 32)):
        of = {"off_recipe": ["model"], "model_options": {"hidden": hidden}}
        results += [beside(one, floor={"tprd": floor}) for one in runs(make_result, "erm", ERM, **of)]
        results += [beside(one, floor={"tprd": 0.0}) for one in runs(make_result, "forml", OURS, **of)]
    names = [row.name for row in rows_of(columns_of(results))]
    told = floors_beside(results, names)
    assert sorted(told.values()) == pytest.approx([0.1, 0.3])
    assert all(name.startswith(f"{ALIKE} at the rate of erm (") for name in told)
    of_one = [name for name in names if "4" in name]
    assert floors_beside(results, of_one) == {ALIKE: pytest.approx(0.3)}


def test_without_a_baseline_there_is_no_noise_floor(make_result: Make) -> None:
    results = [beside(one, floor={"tprd": 0.07}) for one in runs(make_result, "forml", OURS)]
    assert floors_beside(results, ["forml"]) == {}


def test_a_value_that_is_not_above_the_floor_of_its_own_row_has_it_behind(make_result: Make) -> None:
    """The floor of another row says nothing of it: at 20 % of errors chance alone makes larger gaps than at 1 %."""
    values = {"erm": (ERM, 0.05), "high": ([0.15, 0.17, 0.16, 0.14, 0.18], 0.161), "low": (OURS, 0.089)}
    results = [
        beside(one, floor={"tprd": floor})
        for method, (of, floor) in values.items()
        for one in runs(make_result, method, of)
    ]
    (text,) = render(results).values()
    lines = [line.split(" | ") for line in text.partition("<details>")[0].splitlines()]
    assert {line[1]: line[2] for line in lines if line[1:] and line[1] in values} == {
        "erm": "11.00 ± 0.71",
        "high": "16.00 ± 0.71 (≤ 16.10)",
        "low": "9.00 ± 0.71",
    }
    assert OWN_FLOOR in text
    frame = rows_frame(columns_of(results))
    of_tprd = frame[frame["metric"] == "tprd"].set_index("method")["floor"]
    assert of_tprd.to_dict() == pytest.approx({"erm": 0.05, "high": 0.161, "low": 0.089})
    assert frame[frame["metric"] == "accuracy"]["floor"].isna().all()


@pytest.mark.parametrize(("of_seeds", "rule"), [(4, LAST), (5, best_val("accuracy"))])
def test_a_floor_is_told_of_all_seeds_and_under_one_rule_alone(make_result: Make, of_seeds: int, rule: str) -> None:
    results = runs(make_result, "erm", ERM)
    results = [beside(one, floor={"tprd": 0.9}) for one in results[:of_seeds]] + results[of_seeds:]
    (row,) = rows(results).values()
    assert math.isnan(own_floor(row, "tprd", rule))


def test_a_rule_without_drawn_test_sets_says_what_its_intervals_lack(make_result: Make) -> None:
    results = [*two_rows(make_result)[0].runs.values(), *two_rows(make_result)[1].runs.values()]
    records = [replace_rule(one.record) for one in results]
    (text,) = render(records).values()
    answer, _, other = text.partition("<summary>Best validation accuracy</summary>")
    assert TRAINING_ALONE in other and TRAINING_ALONE not in answer


def replace_rule(result: RunResult) -> RunResult:
    """The record with the rule of the best validation value, which selects the last epoch."""
    selected = result.selected
    metrics = {name: {metric: values * 2 for metric, values in of.items()} for name, of in selected.metrics.items()}
    epochs = {LAST: selected.epochs[LAST], best_val("accuracy"): selected.epochs[LAST]}
    return replace(result, selected=replace(selected, epochs=epochs, metrics=metrics, counts={}))


def test_some_rows_without_drawn_test_sets_are_told(make_result: Make) -> None:
    ours, erm, _ = two_rows(make_result)
    records = [one.record for row in (ours, erm) for one in row.runs.values()]
    (text,) = render([*records, *runs(make_result, "older", [0.05, 0.06, 0.07, 0.05, 0.06])]).values()
    assert "Where `Seeds alone` is empty, the records do not tell the error of the samples" in text


def test_classes_are_quoted_one_by_one_and_many_are_not_named() -> None:
    assert constant_class(["b", "a", "b"]) == "'a' or 'b'"
    assert constant_class(["1", "4", "6"]) == "the most frequent class"


def test_a_page_with_some_older_records_does_not_say_that_all_seeds_share_a_test_set(make_result: Make) -> None:
    """Its interval is that of overlapping splits, which is sqrt(1 + 5 * 400 / 1000) times as wide."""
    unknown = FIXED | {"tests": ""}
    (text,) = render([*runs(make_result, "erm", ERM), *runs(make_result, "ours", OURS, data=unknown)]).values()
    assert "All seeds share one test set, so" not in text
    assert "Some records do not say whether the seeds share their test data" in text
    assert "these intervals are 1.73 times as wide as for one test set." in text
