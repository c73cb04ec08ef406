import itertools
import math

import numpy as np
import pytest

from bench.tables.stats.wins import wins


def test_by_hand_a_tie_counts_half() -> None:
    a, b = {0: 1.0, 1: 2.0, 2: 3.0, 3: 9.0}, {0: 0.0, 1: 2.0, 2: 4.0, 5: 1.0}
    assert (wins(a, b).share, wins(a, b).n) == (0.5, 3)
    assert wins({**a, 4: 1.0}, {**b, 4: 0.0}).share == wins({**b, 4: 1.0}, {**a, 4: 0.0}).share == 2.5 / 4
    assert wins({0: 0.1, 1: 0.2, 2: 0.3}, {0: 0.2, 1: 0.3, 2: 0.1}, higher_is_better=False).share == 2 / 3


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_is_that_of_all_resamples(seed: int) -> None:
    """Of five seeds there are 5^5 resamples; their quantiles are those values that are at least the share below."""
    differences = np.random.default_rng(seed).integers(-1, 2, 5).astype(float)
    found = wins(dict(enumerate(differences)), dict.fromkeys(range(5), 0.0))
    halves = (differences > 0) + 0.5 * (differences == 0)
    means = np.sort([sum(drawn) / 5 for drawn in itertools.product(halves, repeat=5)])
    low, high = (means[math.ceil(level * len(means)) - 1] for level in (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_too_few_and_undefined_values_have_no_interval() -> None:
    two = wins({0: 1.0, 1: 1.0}, {0: 0.0, 1: 2.0})
    assert (two.share, two.n) == (0.5, 2) and math.isnan(two.low) and math.isnan(two.high)
    for a in ({}, {0: math.nan, 1: 1.0, 2: 1.0}):
        assert math.isnan(wins(a, {0: 1.0, 1: 0.0, 2: 0.0}).share)
