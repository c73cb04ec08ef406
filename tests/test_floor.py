import numpy as np
import pytest

from bench.floor import expected_gap


def test_two_groups_of_one_sample_by_hand() -> None:
    """Their rates differ with probability 2 p (1 - p), and then by 1."""
    assert expected_gap([1, 1], 0.3) == pytest.approx(2 * 0.3 * 0.7, rel=1e-12)


@pytest.mark.parametrize(
    ("sizes", "rate", "points"), [([36] * 10, 0.965, 8.6), ([100] * 100, 0.778, 20.7), ([5, 50, 500], 0.4, None)]
)
def test_it_is_the_mean_of_a_simulation(sizes: list[int], rate: float, points: float | None) -> None:
    generator = np.random.default_rng(0)
    rates = generator.binomial(sizes, rate, (20_000, len(sizes))) / sizes
    found = expected_gap(sizes, rate)
    gaps = np.ptp(rates, axis=1)
    assert found == pytest.approx(gaps.mean(), abs=4 * gaps.std() / 20_000**0.5)
    assert points is None or round(100 * found, 1) == points


def test_without_two_groups_or_without_chance_there_is_no_gap() -> None:
    assert expected_gap([10], 0.5) == expected_gap([], 0.5) == expected_gap([10, 0], 0.5) == 0
    assert expected_gap([10, 20], 1.0) == pytest.approx(0, abs=1e-12)
    assert expected_gap([10, 20], 0.0) == pytest.approx(0, abs=1e-12)
