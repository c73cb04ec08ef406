"""Paired differences, also over splits that overlap."""

import math

import numpy as np
import pytest
import scipy.stats

from bench.tables.stats.paired import paired_difference, with_test_samples

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("n", [3, 10, 30])
def test_paired_difference_equals_scipy(n: int) -> None:
    generator = np.random.default_rng(n)
    a, b = generator.normal(0.9, 0.02, n), generator.normal(0.89, 0.02, n)
    test = scipy.stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    truth = ((a - b).mean(), low, high, test.pvalue, n)
    assert (found.mean, found.low, found.high, found.p, found.n) == pytest.approx(truth, rel=1e-9)


def test_paired_difference_in_closed_form() -> None:
    """Student's t of 3 seeds: the quantile is q sqrt(2 / (1 - q^2)) for q = 0.95, and p = 1 - t / sqrt(2 + t^2)."""
    found = paired_difference({0: 0.5, 1: 1.0, 2: 1.5}, {0: 0.25, 1: 0.5, 2: 0.75})  # differences 1/4, 1/2, 3/4
    se = 0.25 / math.sqrt(3)
    half, t = 0.95 * math.sqrt(2 / (1 - 0.95**2)) * se, 0.5 / se
    truth = (0.5, 0.5 - half, 0.5 + half, 1 - t / math.sqrt(2 + t * t))
    assert (found.mean, found.low, found.high, found.p) == pytest.approx(truth, rel=1e-12)
    assert (found.se, found.sd) == pytest.approx((se, 0.25), rel=1e-15)


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
    same = paired_difference(a, a)
    assert same.identical and (same.mean, same.low, same.high, same.n) == (0.0, 0.0, 0.0, 3) and math.isnan(same.p)
    b = {seed: value - 0.125 for seed, value in a.items()}
    found = paired_difference(a, b)
    assert (found.mean, found.n, found.identical) == (0.125, 3, False)
    assert all(map(math.isnan, (found.low, found.high, found.p)))


def test_too_few_seeds_give_no_interval() -> None:
    one = paired_difference({1: 0.5, 2: 0.5}, {1: 0.25, 3: 0.5})
    assert (one.mean, one.n) == (0.25, 1)
    two = paired_difference({1: 0.5, 2: 0.5}, {1: 0.25, 2: 0.5})
    assert (two.mean, two.n, two.se) == (0.125, 2, 0.125)
    assert all(map(math.isnan, (one.low, one.high, one.p, two.low, two.high, two.p)))
    none = paired_difference({1: 0.5}, {2: 0.5})
    assert none.n == 0
    assert all(map(math.isnan, (none.mean, none.low, none.high, none.p)))


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_value_that_is_not_finite_makes_the_difference_nan(bad: float) -> None:
    found = paired_difference({1: 0.5, 2: bad, 3: 0.1}, {1: 0.25, 2: 0.5, 3: 0.2})
    assert found.n == 3
    assert all(map(math.isnan, (found.mean, found.low, found.high, found.p)))


@pytest.mark.parametrize("n", [3, 10, 30])
def test_the_interval_of_overlapping_splits_is_that_of_a_wider_t(n: int) -> None:
    """Of scipy's Student distribution with the variance of Nadeau and Bengio, equation 5."""
    differences = np.random.default_rng(n).normal(0.01, 0.02, n)
    found = paired_difference(dict(enumerate(differences)), dict.fromkeys(range(n), 0.0), overlap=1 / 3)
    scale = math.sqrt((1 / n + 1 / 3) * differences.var(ddof=1))
    t = scipy.stats.t(n - 1, loc=differences.mean(), scale=scale)
    assert (found.low, found.high) == pytest.approx(t.interval(0.95), rel=1e-9)
    assert found.p == pytest.approx(2 * min(t.cdf(0), t.sf(0)), rel=1e-9)


def test_overlap_on_communities_makes_errors_2_09_times_as_large() -> None:
    """1,194 training and 400 test samples, ten seeds (`docs/statistics.md`)."""
    values = dict(enumerate(np.random.default_rng(0).normal(size=10)))
    zeros = dict.fromkeys(values, 0.0)
    plain, corrected = (paired_difference(values, zeros, overlap) for overlap in (0.0, 400 / 1194))
    assert corrected.se / plain.se == pytest.approx(math.sqrt(1 + 10 * 400 / 1194), rel=1e-12)
    assert round(corrected.se / plain.se, 2) == 2.09
    assert (corrected.mean, corrected.sd) == (plain.mean, plain.sd)


def simulated_splits(generator: np.random.Generator, repeats: int, n: int) -> np.ndarray:
    """Differences over n random splits of one pool, for each of many pools: [repeats, n].

    The errors of two models on a sample differ by a normal number of mean 0. A split draws a third of the pool for
    testing, so that two splits have a third of their test samples in common.
    """
    pool, test = 90, 30
    values = generator.normal(size=(repeats, 1, pool))
    order = generator.random((repeats, n, pool)).argsort(axis=2)
    return np.take_along_axis(np.broadcast_to(values, order.shape), order[..., :test], axis=2).mean(axis=2)


@pytest.mark.parametrize("n", [5, 10, 30])
def test_coverage_over_independent_seeds(n: int) -> None:
    """Of 95 % intervals, in 4,000 simulated comparisons: within 93 to 97 %."""
    generator = np.random.default_rng(n)
    covered = 0
    for differences in generator.normal(0.3, 1.0, (4000, n)):
        found = paired_difference(dict(enumerate(differences)), dict.fromkeys(range(n), 0.0))
        covered += found.low <= 0.3 <= found.high
    assert 0.93 <= covered / 4000 <= 0.97


@pytest.mark.parametrize("n", [5, 10, 30])
def test_coverage_over_overlapping_splits(n: int) -> None:
    """The corrected interval covers the truth; the plain one is far too sure with many splits."""
    splits = simulated_splits(np.random.default_rng(n), 2000, n)
    covered = {}
    for overlap in (0.0, 30 / 60):
        found = [paired_difference(dict(enumerate(d)), dict.fromkeys(range(n), 0.0), overlap) for d in splits]
        covered[overlap] = sum(one.low <= 0 <= one.high for one in found) / len(found)
    assert 0.93 <= covered[0.5] <= 0.97
    assert covered[0.0] < 0.85


def simulated_regressions(generator: np.random.Generator, repeats: int, n: int, train: int) -> np.ndarray:
    """Squared errors of least squares minus those of ridge regression over n random splits of one pool, for each of
    many pools: [repeats, n]. A split tests on 30 of 90 samples and trains on some of the others.
    """
    pool, test, weights = 90, 30, np.array([1.0, 0.5, 0.25, 0.0])
    differences = np.empty((repeats, n))
    for of_pool in differences:
        x = generator.normal(size=(pool, len(weights)))
        y = x @ weights + generator.normal(size=pool)
        for split in range(n):
            order = generator.permutation(pool)
            tests, trains = order[:test], order[test : test + train]
            errors = []
            for penalty in (0.0, 20.0):
                inverse = x[trains].T @ x[trains] + penalty * np.eye(len(weights))
                errors.append((x[tests] @ np.linalg.solve(inverse, x[trains].T @ y[trains]) - y[tests]) ** 2)
            of_pool[split] = (errors[0] - errors[1]).mean()
    return differences


def test_coverage_where_fewer_samples_than_are_left_are_trained_on() -> None:
    """Training sets of 20 of the 60 samples that are left overlap less than those of all 60. The ratio to the 60 covers
    the truth; that to the 20 would say more than twice the error.
    """
    truth = simulated_regressions(np.random.default_rng(1), 8000, 1, train=20).mean()
    splits = simulated_regressions(np.random.default_rng(0), 300, 10, train=20)
    covered, widths = {}, {}
    for overlap in (0.0, 30 / 60, 30 / 20):
        found = [paired_difference(dict(enumerate(d)), dict.fromkeys(range(10), 0.0), overlap) for d in splits]
        covered[overlap] = sum(one.low <= truth <= one.high for one in found) / len(found)
        widths[overlap] = sum(one.high - one.low for one in found)
    assert covered[0.0] < 0.93 < 0.95 <= covered[30 / 60]
    assert widths[30 / 20] / widths[30 / 60] == pytest.approx(math.sqrt((1 / 10 + 3 / 2) / (1 / 10 + 1 / 2)))


@pytest.mark.parametrize("test_se", [1e-6, 0.001, 0.01, 0.05, 1.0])
def test_what_is_added_makes_no_interval_narrower(test_se: float) -> None:
    """With three seeds the degrees of freedom grow faster than the error."""
    found = paired_difference({0: 0.1, 1: 0.2, 2: 0.35}, dict.fromkeys(range(3), 0.1))
    both = with_test_samples(found, test_se)
    assert both.low <= found.low + 1e-15 and found.high - 1e-15 <= both.high and both.p >= found.p
    assert (both.seeds_low, both.seeds_high) == (found.low, found.high)
