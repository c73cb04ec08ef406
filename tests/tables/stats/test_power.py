import math

import numpy as np
import pytest

from bench.tables.stats.paired import paired_difference
from bench.tables.stats.power import MOST, power_of, seeds_needed


@pytest.mark.parametrize(("n", "effect"), [(3, 1.0), (10, 0.5), (10, -1.0), (100, 0.2)])
def test_power_equals_statsmodels(n: int, effect: float) -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    truth = power.TTestPower().power(abs(effect), n, alpha=0.05, alternative="two-sided")
    assert power_of(n, 0.3 * effect, 0.3) == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize("effect", [0.05, 0.3, 1.0, 3.0])
def test_the_number_of_seeds_is_the_first_that_is_enough(effect: float) -> None:
    n = seeds_needed(effect, 1.0)
    assert n is not None
    assert power_of(n, effect, 1.0) >= 0.8 > (power_of(n - 1, effect, 1.0) if n > 3 else 0)


def test_power_in_a_simulation_of_the_test_itself() -> None:
    generator = np.random.default_rng(0)
    n = seeds_needed(0.8, 1.0)
    assert n is not None
    found = [
        paired_difference(dict(enumerate(differences)), dict.fromkeys(range(n), 0.0)).p
        for differences in generator.normal(0.8, 1.0, (3000, n))
    ]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(power_of(n, 0.8, 1.0), abs=0.03)


def test_where_splits_overlap_a_small_difference_is_never_found() -> None:
    """The error of the mean stays above sd sqrt(overlap), however many seeds there are."""
    assert seeds_needed(0.2, 1.0, overlap=0.5) is None
    assert seeds_needed(0.2, 1.0) is not None
    assert seeds_needed(1e-6, 1.0) is None and power_of(MOST, 1e-6, 1.0) < 0.8


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.nan)])
def test_where_nothing_can_be_said_there_is_no_number(mean: float, sd: float) -> None:
    assert seeds_needed(mean, sd) is None
