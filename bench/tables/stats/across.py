"""Methods compared over several tasks."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.tables.stats.families import holm


@dataclass(frozen=True)
class Across:
    """Methods ranked over tasks.

    Attributes:
        ranks: method -> its mean rank, 1 for the best; equal values share the mean of their ranks.
        p: of Friedman's hypothesis that all methods are the same; NaN for fewer than three methods.
        pairs: two methods -> the p-value of Wilcoxon's signed-rank test, adjusted for all pairs (Holm).
        tasks: the number of tasks.
    """

    ranks: Mapping[str, float]
    p: float
    pairs: Mapping[tuple[str, str], float]
    tasks: int


def across_tasks(values: Mapping[str, Sequence[float]], higher_is_better: bool = True) -> Across:
    """Rank methods on each task, and test whether they differ.

    Pairs are tested by Wilcoxon's test and not by Nemenyi's, whose result for two methods depends on the others.

    Args:
        values: method -> its mean on each task, in one order of the tasks; all finite.
        higher_is_better: whether larger values are.

    Returns:
        The ranks and the tests. Without two tasks there are none (NaN).

    Source: Demsar 2006, Statistical comparisons of classifiers over multiple data sets; Benavoli et al. 2016, Should we
    really use post-hoc tests based on mean-ranks?
    """
    import numpy as np
    from scipy import stats

    methods = list(values)
    table = np.array([values[method] for method in methods], dtype=float)
    tasks = table.shape[1]
    ranks = stats.rankdata(-table if higher_is_better else table, axis=0).mean(axis=1)
    friedman = float(stats.friedmanchisquare(*table).pvalue) if len(methods) > 2 and tasks > 1 else math.nan
    pairs = list(itertools.combinations(range(len(methods)), 2))
    p_values = [_wilcoxon(table[i] - table[j]) for i, j in pairs]
    adjusted = dict(zip(((methods[i], methods[j]) for i, j in pairs), holm(p_values), strict=True))
    return Across(dict(zip(methods, ranks.tolist(), strict=True)), friedman, adjusted, tasks)


def _wilcoxon(differences: Sequence[float]) -> float:
    """The p-value of the signed-rank test; NaN where no difference is left, or with fewer than two tasks."""
    import numpy as np
    from scipy import stats

    if len(differences) < 2 or not np.any(differences):
        return math.nan
    return float(stats.wilcoxon(differences).pvalue)


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Sequence[Sequence[float]], resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean of the middle half of all scores, with a stratified bootstrap: within each task its seeds are resampled.

    Args:
        scores: for each task the scores of its seeds.
        resamples: the number of resamples.
        seed: of the resampling.

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice, section 4.
    """
    import numpy as np
    from scipy.stats import trim_mean

    tasks = [np.asarray(task, dtype=float) for task in scores]
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([task[generator.integers(len(task), size=(resamples, len(task)))] for task in tasks], axis=1)
    means = trim_mean(drawn, 0.25, axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(trim_mean(np.concatenate(tasks), 0.25)), float(low), float(high))


def performance_profile(scores: Sequence[Sequence[float]], levels: Sequence[float]) -> list[float]:
    """The share of the runs whose score is above each level.

    Args:
        scores: for each task the scores of its seeds; each task counts as much as the next.
        levels: the levels.

    Source: as `interquartile_mean`.
    """
    import numpy as np

    shares = [[float((np.asarray(task) > level).mean()) for task in scores] for level in levels]
    return [math.fsum(of_level) / len(of_level) for of_level in shares]
