"""How often intervals hold the truth, in simulations of what they are for. `docs/statistics.md` has the figures."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import trim_mean

from bench.tables.stats.across import interquartile_mean
from bench.tables.stats.paired import PairedDifference, paired_difference, with_test_samples
from bench.tables.stats.samples import spread
from bench.tables.stats.wins import wins

Array = NDArray[np.float64]
ROUNDS = 1000
SAMPLES, DRAWN, GROUPS = 240, 100, 4
"""Of a test set, of the drawn test sets, and of the groups of which the disparity is taken."""
GROUP = np.arange(SAMPLES) % GROUPS


def accuracies(right: Array) -> Array:
    return right.mean(axis=-1)


def disparities(right: Array) -> Array:
    """The largest minus the smallest accuracy of the groups."""
    of_group = np.stack([right[..., group == GROUP].mean(axis=-1) for group in range(GROUPS)])
    return np.ptp(of_group, axis=0)


def predictions(generator: np.random.Generator, seeds: int, samples: int) -> tuple[Array, Array]:
    """[seeds, samples] of two methods: whether each sample is predicted rightly. It depends on the sample (some are
    hard for both, some for one), on the seed and on chance; the groups differ in difficulty, under one method more.
    """
    group = np.arange(samples) % GROUPS
    hard, only = generator.normal(size=(2, samples))
    of_seed = generator.normal(size=(2, seeds, 1))
    noise = generator.normal(size=(2, seeds, samples))
    level = 1.0 + hard + 0.1 * of_seed + 0.3 * noise
    first = level[0] - 0.25 * group > 0
    second = level[1] + 0.7 * only - 0.45 * group > 0
    return first.astype(float), second.astype(float)


@functools.cache
def truth(name: str) -> float:
    """The mean difference over all seeds and samples; of disparities on test sets of SAMPLES samples, as these depend
    on the size.
    """
    generator = np.random.default_rng(1)
    metric = METRICS[name]
    found = [metric(a).mean() - metric(b).mean() for a, b in (predictions(generator, 20, SAMPLES) for _ in range(4000))]
    return float(np.mean(found))


METRICS: dict[str, Callable[[Array], Array]] = {"accuracy": accuracies, "disparity": disparities}


def interval(generator: np.random.Generator, metric: Callable[[Array], Array], seeds: int) -> PairedDifference:
    """That of one experiment on one test set, whose samples are drawn again within the groups or not, as pages do."""
    a, b = predictions(generator, seeds, SAMPLES)
    values = [dict(enumerate(metric(right).tolist())) for right in (a, b)]
    drawn = generator.integers(SAMPLES // GROUPS, size=(DRAWN, SAMPLES)) * GROUPS + GROUP
    deviations = [np.stack([metric(right[:, places]) for places in drawn], axis=1) for right in (a, b)]
    return with_test_samples(paired_difference(*values), spread(*deviations))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 10, 30])
@pytest.mark.parametrize("name", METRICS)
def test_of_seeds_and_test_samples(name: str, seeds: int) -> None:
    """Where all seeds share one test set, the interval of the seeds alone is too short for unseen data."""
    generator = np.random.default_rng(seeds)
    found = [interval(generator, METRICS[name], seeds) for _ in range(ROUNDS)]
    covered = np.mean([one.low <= truth(name) <= one.high for one in found])
    of_seeds = np.mean([one.seeds_low <= truth(name) <= one.seeds_high for one in found])
    assert 0.93 <= covered <= 0.97
    assert of_seeds < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 10, 30])
@pytest.mark.parametrize(("share", "ties"), [(0.5, 0.0), (0.6, 0.0), (0.8, 0.0), (0.9, 0.0), (0.5, 0.2), (0.7, 0.2)])
def test_of_the_share_of_seeds(seeds: int, share: float, ties: float) -> None:
    """The bootstrap of seeds, which was here before, covered 39 % of the cases for five seeds and a share of 90 %."""
    generator = np.random.default_rng(0)
    of_signs = [share * (1 - ties), ties, (1 - share) * (1 - ties)]
    covered = 0
    for _ in range(ROUNDS):
        signs = generator.choice([1.0, 0.0, -1.0], size=seeds, p=of_signs)
        found = wins(dict(enumerate(signs)), dict.fromkeys(range(seeds), 0.0))
        covered += found.low <= of_signs[0] + ties / 2 <= found.high
    assert covered / ROUNDS >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 10, 30])
def test_of_the_interquartile_mean(seeds: int) -> None:
    generator = np.random.default_rng(0)
    means = np.linspace(0, 1, 6)
    true = trim_mean(np.concatenate([mean + 0.3 * generator.normal(size=100_000) for mean in means]), 0.25)
    covered = 0
    for _ in range(400):
        found = interquartile_mean([mean + 0.3 * generator.normal(size=seeds) for mean in means], resamples=500)
        covered += found.low <= true <= found.high
    assert covered / 400 >= 0.9
