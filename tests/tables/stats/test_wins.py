import math

import pytest
from scipy.stats import binomtest

from bench.tables.stats.wins import wins


def test_by_hand_a_tie_counts_half() -> None:
    a, b = {0: 1.0, 1: 2.0, 2: 3.0, 3: 9.0}, {0: 0.0, 1: 2.0, 2: 4.0, 5: 1.0}
    assert (wins(a, b).share, wins(a, b).n) == (0.5, 3)
    assert wins({**a, 4: 1.0}, {**b, 4: 0.0}).share == wins({**b, 4: 1.0}, {**a, 4: 0.0}).share == 2.5 / 4
    assert wins({0: 0.1, 1: 0.2, 2: 0.3}, {0: 0.2, 1: 0.3, 2: 0.1}, higher_is_better=False).share == 2 / 3


@pytest.mark.parametrize("better", range(6))
def test_the_interval_is_wilsons(better: int) -> None:
    """As scipy and statsmodels have it."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    found = wins(dict.fromkeys(range(5), 0.5), {seed: float(seed >= better) for seed in range(5)})
    low, high = binomtest(better, 5).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert (found.low, found.high) == pytest.approx(proportion.proportion_confint(better, 5, method="wilson"), abs=1e-9)


def test_too_few_and_undefined_values_have_no_interval() -> None:
    two = wins({0: 1.0, 1: 1.0}, {0: 0.0, 1: 2.0})
    assert (two.share, two.n) == (0.5, 2) and math.isnan(two.low) and math.isnan(two.high)
    for a in ({}, {0: math.nan, 1: 1.0, 2: 1.0}):
        assert math.isnan(wins(a, {0: 1.0, 1: 0.0, 2: 0.0}).share)
