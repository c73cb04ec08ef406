import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from bench.tables.stats import PairedDifference, holm, mean_se, paired_difference

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


@pytest.mark.parametrize("n", [2, 3, 10, 30])
def test_paired_difference_equals_scipy(n: int) -> None:
    generator = np.random.default_rng(n)
    a, b = generator.normal(0.9, 0.02, n), generator.normal(0.89, 0.02, n)
    test = scipy.stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    truth = ((a - b).mean(), low, high, test.pvalue, n)
    assert (found.mean, found.low, found.high, found.p, found.n) == pytest.approx(truth, rel=1e-9)


def test_paired_difference_in_closed_form() -> None:
    """For two seeds Student's t is Cauchy: p = 1 - 2 atan(t) / pi, and the quantile is tan(0.475 pi)."""
    found = paired_difference({0: 0.75, 1: 1.0}, {0: 0.5, 1: 0.25})  # differences 1/4 and 3/4: mean 1/2, error 1/4
    half = math.tan(0.475 * math.pi) / 4
    truth = (0.5, 0.5 - half, 0.5 + half, 1 - 2 * math.atan(2) / math.pi)
    assert (found.mean, found.low, found.high, found.p) == pytest.approx(truth, rel=1e-12)


def test_only_common_seeds_count() -> None:
    a, b = {1: 0.5, 2: 0.7, 3: 0.6, 4: 9.0, 6: NAN}, {5: -9.0, 3: 0.5, 2: 0.4, 1: 0.3}
    common = (1, 2, 3)
    assert paired_difference(a, b) == paired_difference({s: a[s] for s in common}, {s: b[s] for s in common})
    assert paired_difference(a, b).n == 3


def test_swapping_the_methods_mirrors_the_difference() -> None:
    a, b = {1: 0.5, 2: 0.75, 3: 0.5}, {1: 0.25, 2: 0.5, 3: 0.625}
    ab, ba = paired_difference(a, b), paired_difference(b, a)
    assert (ab.mean, ab.low, ab.high, ab.p) == (-ba.mean, -ba.high, -ba.low, ba.p)


def test_differences_without_variance() -> None:
    a = {1: 0.5, 2: 0.75, 3: 0.25}
    assert paired_difference(a, a) == PairedDifference(0.0, 0.0, 0.0, p=1.0, n=3)
    b = {seed: value - 0.125 for seed, value in a.items()}
    found = paired_difference(a, b)
    assert (found.mean, found.n) == (0.125, 3)
    assert all(map(math.isnan, (found.low, found.high, found.p)))


def test_too_few_seeds_give_no_interval() -> None:
    one = paired_difference({1: 0.5, 2: 0.5}, {1: 0.25, 3: 0.5})
    assert (one.mean, one.n) == (0.25, 1)
    assert all(map(math.isnan, (one.low, one.high, one.p)))
    none = paired_difference({1: 0.5}, {2: 0.5})
    assert none.n == 0
    assert all(map(math.isnan, (none.mean, none.low, none.high, none.p)))


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_value_that_is_not_finite_makes_the_difference_nan(bad: float) -> None:
    found = paired_difference({1: 0.5, 2: bad, 3: 0.1}, {1: 0.25, 2: 0.5, 3: 0.2})
    assert found.n == 3
    assert all(map(math.isnan, (found.mean, found.low, found.high, found.p)))


def test_holm_by_hand() -> None:
    # 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1, which is raised to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-15)
    assert holm([0.9, 0.75]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_the_step_down_procedure(seed: int) -> None:
    """Rejected one by one until one cannot be, or those whose adjusted p is at most the level: the same hypotheses."""
    p_values = np.random.default_rng(seed).beta(0.3, 2, 12).tolist()
    adjusted = holm(p_values)
    for level in (0.001, 0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for rank, i in enumerate(sorted(range(12), key=p_values.__getitem__)):
            if p_values[i] > level / (12 - rank):
                break
            rejected.add(i)
        assert {i for i in range(12) if adjusted[i] <= level} == rejected


def test_holm_leaves_out_nan() -> None:
    with_nan = holm([0.01, NAN, 0.04, 0.03, NAN])
    assert [p for p in with_nan if not math.isnan(p)] == holm([0.01, 0.04, 0.03])
    assert [i for i, p in enumerate(with_nan) if math.isnan(p)] == [1, 4]


def test_import_is_cheap() -> None:
    code = "import sys, bench.tables.stats; print({'torch', 'numpy', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
