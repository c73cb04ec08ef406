import itertools
import math

import numpy as np
import pytest

from bench.tables.stats.across import across_tasks, interquartile_mean, performance_profile
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


def test_resampling_stays_within_each_task() -> None:
    """Two tasks of constant scores: nothing varies, whatever is drawn."""
    found = interquartile_mean([[0.0] * 4, [1.0] * 4])
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_a_profile_counts_runs_above_each_level() -> None:
    assert performance_profile([[0.1, 0.9], [0.5, 0.6, 0.7, 0.8]], [0.0, 0.5, 0.65, 1.0]) == [1.0, 0.625, 0.5, 0.0]
