import math

import numpy as np
import pytest

from bench.tables.stats.families import holm

NAN = math.nan


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


def test_holm_equals_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(0).beta(0.3, 2, 50)
    assert holm(p_values.tolist()) == pytest.approx(multitest.multipletests(p_values, method="holm")[1], abs=1e-9)
