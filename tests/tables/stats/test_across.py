import itertools
import math

import numpy as np
import pytest

from bench.tables.stats.across import across_tasks, cliques, interquartile_mean, performance_profile, smallest_p
from bench.tables.stats.families import holm

VALUES = dict(zip("abcd", np.random.default_rng(3).normal(size=(4, 12)), strict=True))


def friedman_in_closed_form(table: np.ndarray) -> float:
    """Friedman's statistic of ranks without ties (Demsar 2006, section 3.2.2)."""
    k, n = table.shape
    ranks = 1 + (-table).argsort(axis=0).argsort(axis=0)
    return 12 * n / (k * (k + 1)) * ((ranks.mean(axis=1) ** 2).sum() - k * (k + 1) ** 2 / 4)


def test_ranks_and_friedman_in_closed_form() -> None:
    from scipy.special import chdtrc

    found = across_tasks(VALUES)
    table = np.stack(list(VALUES.values()))
    ranks = (1 + (-table).argsort(axis=0).argsort(axis=0)).mean(axis=1)
    assert list(found.ranks.values()) == pytest.approx(ranks, rel=1e-12)
    assert found.p == pytest.approx(chdtrc(3, friedman_in_closed_form(table)), abs=1e-9)
    assert found.tasks == 12


def test_wilcoxon_counts_all_signs() -> None:
    """The exact p-value: of all 2^12 signs of the ranks, the share with a sum as far from the middle or farther."""
    found = across_tasks(VALUES)
    p_values = []
    for one, other in itertools.combinations("abcd", 2):
        differences = VALUES[one] - VALUES[other]
        ranks = 1 + np.abs(differences).argsort().argsort()
        sums = np.array([ranks[np.array(signs)].sum() for signs in itertools.product([False, True], repeat=12)])
        far = abs(ranks[differences > 0].sum() - 39)
        p_values.append(float((np.abs(sums - 39) >= far).mean()))
    assert list(found.pairs.values()) == pytest.approx(holm(p_values), abs=1e-9)


def test_wilcoxon_with_holm_equals_scikit_posthocs() -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    table = posthocs.posthoc_wilcoxon(list(VALUES.values()), p_adjust="holm").to_numpy()
    expected = [table[i, j] for i, j in itertools.combinations(range(4), 2)]
    assert list(across_tasks(VALUES).pairs.values()) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "differences", [[0.0, 1, -2, 3, 4, 5], [1.0, 1, -1, 2, 2, 2, 3], [0.0, 0, 1, 1, 1, 1, 1], [1.0, -1], [3.0] * 9]
)
def test_wilcoxon_with_zeros_and_ties_counts_all_signs_too(differences: list[float]) -> None:
    """By scipy's permutation test, which takes all signs, of the differences that are not zero."""
    from scipy import stats

    left = np.array([one for one in differences if one])
    test = stats.wilcoxon(left, method=stats.PermutationMethod(n_resamples=np.inf))
    found = across_tasks({"a": differences, "b": [0.0] * len(differences)})
    assert found.pairs["a", "b"] == pytest.approx(test.pvalue, abs=1e-9)


def test_no_test_can_give_less_than_the_smallest_p() -> None:
    found = across_tasks({name: [10.0 * place + task for task in range(6)] for place, name in enumerate("abc")})
    assert min(found.pairs.values()) == smallest_p(6, 3) == 3 * 2 / 64
    assert smallest_p(2, 6) == 1.0


@pytest.mark.filterwarnings("error")
def test_where_nothing_differs_there_is_no_test() -> None:
    found = across_tasks({name: [1.0, 2.0, 3.0] for name in "abc"})
    assert set(found.ranks.values()) == {2.0}
    assert math.isnan(found.p) and all(map(math.isnan, found.pairs.values()))


def test_friedman_of_ties_equals_scipy_and_a_hand_count() -> None:
    """Two of three methods tie on one of four tasks."""
    table = {"a": [4.0, 4.0, 4.0, 2.0], "b": [3.0, 2.0, 3.0, 2.0], "c": [1.0, 1.0, 1.0, 1.0]}
    found = across_tasks(table)
    assert found.ranks == {"a": (1 + 1 + 1 + 1.5) / 4, "b": (2 + 2 + 2 + 1.5) / 4, "c": 3.0}
    from scipy.special import chdtrc

    sums = np.array([4.5, 7.5, 12.0])
    statistic = 12 * (sums**2).sum() / (4 * 3 * 4) - 3 * 4 * 4
    statistic /= 1 - (2**3 - 2) / (4 * 3 * (3**2 - 1))  # for the ties
    assert found.p == pytest.approx(chdtrc(2, statistic), abs=1e-9)


def test_cliques_are_the_largest_groups_without_a_separated_pair() -> None:
    def of(*separated: str) -> list[str]:
        return [
            "".join(group) for group in cliques("abcd", lambda one, other: "".join(sorted(one + other)) in separated)
        ]

    assert of() == ["abcd"]
    assert of("ad") == ["abc", "bcd"]
    assert of("ab") == ["acd", "bcd"]  # not neighbours: a group may jump over a method
    assert of("ab", "cd") == ["ac", "ad", "bc", "bd"]
    assert of("ab", "ac", "ad", "bc", "bd", "cd") == []
    assert of("ab", "ac", "ad") == ["bcd"]


def test_cliques_equal_those_of_a_slow_search() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        apart = {pair for pair in itertools.combinations("abcdefg", 2) if generator.random() < 0.4}
        free = [
            set(group)
            for size in range(2, 8)
            for group in itertools.combinations("abcdefg", size)
            if not any(pair in apart for pair in itertools.combinations(group, 2))
        ]
        largest = [group for group in free if not any(group < other for other in free)]
        found = cliques("abcdefg", lambda *pair, apart=apart: tuple(sorted(pair)) in apart)  # type: ignore[misc]
        assert sorted(map(sorted, found)) == sorted(map(sorted, largest))


def test_lower_may_be_better_and_few_tasks_have_no_test() -> None:
    values = {"a": [1.0, 1.0], "b": [2.0, 3.0]}
    assert across_tasks(values).ranks == {"a": 2.0, "b": 1.0}
    found = across_tasks(values, higher_is_better=False)
    assert found.ranks == {"a": 1.0, "b": 2.0} and math.isnan(found.p)
    alone = across_tasks({"a": [1.0], "b": [2.0], "c": [2.0]})
    assert alone.ranks == {"a": 3.0, "b": 1.5, "c": 1.5} and math.isnan(alone.p)
    assert all(map(math.isnan, alone.pairs.values()))
    assert math.isnan(across_tasks({"a": [1.0, 2.0], "b": [1.0, 2.0]}).pairs["a", "b"])


def test_the_interquartile_mean_by_hand() -> None:
    """Of eight scores the two smallest and the two largest are left out."""
    found = interquartile_mean([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 70.0]])
    assert found.value == 3.5 and found.low <= 3.5 <= found.high
    assert interquartile_mean([[0.5] * 3, [0.5] * 3]) == interquartile_mean([[0.5] * 3, [0.5] * 3], seed=9)


@pytest.mark.parametrize("sizes", [(4, 4), (8, 4, 2), (3, 5), (7,)])
def test_the_interquartile_mean_weighs_tasks_alike(sizes: tuple[int, ...]) -> None:
    """It is scipy's trimmed mean of scores that are repeated until each task has as many, four times over."""
    from scipy.stats import trim_mean

    scores = [np.random.default_rng(size).normal(size=size) for size in sizes]
    repeated = np.concatenate([np.repeat(task, 4 * math.lcm(*sizes) // len(task)) for task in scores])
    assert interquartile_mean(scores).value == pytest.approx(trim_mean(repeated, 0.25), abs=1e-12)


def test_overlapping_splits_widen_the_interval_as_they_do_the_standard_error() -> None:
    """Of n seeds with an overlap of 4 / n the variance s^2 (1 / n + overlap) is five times as large."""
    n = 41
    task = np.random.default_rng(1).normal(size=n)
    wide = interquartile_mean([task] * 50, [4 / n] * 50, resamples=4000)
    narrow = interquartile_mean([task] * 50, resamples=4000)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(math.sqrt(5), rel=0.1)


@pytest.mark.parametrize(("seeds", "least"), [(5, 0.90), (10, 0.92), (30, 0.93)])
def test_coverage_of_the_stratified_bootstrap(seeds: int, least: float) -> None:
    """Five tasks with normal scores about their own means; the truth is the interquartile mean of very many scores."""
    means = np.array([-0.5, 0.0, 0.2, 0.5, 1.0])
    generator = np.random.default_rng(seeds)
    truth = interquartile_mean([generator.normal(mean, 1.0, 100_000) for mean in means], resamples=1).value
    covered = []
    for _ in range(400):
        found = interquartile_mean(generator.normal(means[:, None], 1.0, (5, seeds)), resamples=400)
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) >= least


def test_resampling_stays_within_each_task() -> None:
    """Two tasks of constant scores: nothing varies, whatever is drawn."""
    found = interquartile_mean([[0.0] * 4, [1.0] * 4])
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_profile_counts_runs_above_each_level() -> None:
    assert performance_profile([[0.1, 0.9], [0.5, 0.6, 0.7, 0.8]], [0.0, 0.5, 0.65, 1.0]) == [1.0, 0.625, 0.5, 0.0]
