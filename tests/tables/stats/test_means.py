import itertools
import math

import numpy as np
import pytest
import scipy.stats

from bench.tables.stats.means import mean_se

NAN, INF = math.nan, math.inf


def test_mean_and_standard_error_by_hand() -> None:
    assert mean_se([1.0, 2.0, 3.0, 6.0]) == (3.0, math.sqrt(14 / 3) / 2)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_mean_and_standard_error_equal_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.9, 0.01, n)
    assert mean_se(values.tolist()) == pytest.approx((values.mean(), scipy.stats.sem(values, ddof=1)), rel=1e-12)


def test_mean_does_not_depend_on_the_order() -> None:
    assert len({mean_se(values) for values in itertools.permutations([0.1, 0.7, 1e-17, 1e9, 0.3])}) == 1


def test_equal_values_have_no_standard_error() -> None:
    assert mean_se([0.1] * 3) == (0.1, 0.0)


def test_too_few_values() -> None:
    assert mean_se([0.25]) == (0.25, None)
    mean, se = mean_se([])
    assert math.isnan(mean)
    assert se is None


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_value_that_is_not_finite_makes_the_mean_nan(bad: float) -> None:
    mean, se = mean_se([0.5, bad, 0.7])
    assert math.isnan(mean)
    assert se is not None
    assert math.isnan(se)
    assert str(mean_se([bad])) == "(nan, None)"
