"""Equivalence within a stated region, against independent packages."""

import math

import numpy as np
import pytest
import scipy.stats

from bench.tables.stats.equivalence import equivalence_p, is_equivalent
from bench.tables.stats.paired import paired_difference

NAN = math.nan


def drawn(n: int, mean: float) -> tuple[dict[int, float], dict[int, float]]:
    a, b = np.random.default_rng(n).normal(0.9, 0.02, (2, n))
    return dict(enumerate(a + mean)), dict(enumerate(b))


@pytest.mark.parametrize("n", [3, 5, 10, 30])
@pytest.mark.parametrize("mean", [-0.03, 0.0, 0.01])
def test_p_equals_two_one_sided_tests_of_statsmodels(n: int, mean: float) -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    a, b = drawn(n, mean)
    p, *_ = weightstats.ttost_paired(np.array([*a.values()]), np.array([*b.values()]), -0.02, 0.02)
    assert equivalence_p(paired_difference(a, b), 0.02) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("overlap", [0.0, 0.25])
def test_equivalent_is_what_has_its_90_percent_interval_within(n: int, overlap: float) -> None:
    """The interval by scipy, with the standard error of Nadeau and Bengio by hand; at its farther end p is 0.05."""
    a, b = drawn(n, 0.004)
    differences = np.array([a[seed] - b[seed] for seed in a])
    se = math.sqrt(differences.var(ddof=1) * (1 / n + overlap))
    low, high = scipy.stats.t.interval(0.9, n - 1, differences.mean(), se)
    end = max(-low, high)
    found = paired_difference(a, b, overlap)
    assert equivalence_p(found, end) == pytest.approx(0.05, abs=1e-9)
    assert is_equivalent(found, end * (1 + 1e-6)) and not is_equivalent(found, end * (1 - 1e-6))


def test_without_an_interval_nothing_is_equivalent() -> None:
    two = paired_difference({0: 0.5, 1: 0.5001}, {0: 0.5, 1: 0.5})
    undefined = paired_difference({0: NAN, 1: 0.5, 2: 0.5}, {0: 0.5, 1: 0.5, 2: 0.5})
    without_spread = paired_difference({0: 0.75, 1: 0.75, 2: 0.75}, {0: 0.5, 1: 0.5, 2: 0.5})
    for found in (two, undefined, without_spread):
        assert math.isnan(equivalence_p(found, 1.0)) and not is_equivalent(found, 1.0)


def test_equal_values_are_equivalent_within_any_region() -> None:
    same = {0: 0.5, 1: 0.75, 2: 0.25}
    assert equivalence_p(paired_difference(same, same), 1e-9) == 0.0


def test_level_in_simulation() -> None:
    """Where the true difference is the margin, at most 5 % are told equivalent."""
    generator = np.random.default_rng(1)
    told = [
        is_equivalent(paired_difference(dict(enumerate(row)), dict.fromkeys(range(10), 0.0)), 1.0)
        for row in generator.normal(1.0, 0.3, (4000, 10))
    ]
    assert np.mean(told) == pytest.approx(0.05, abs=0.01)
