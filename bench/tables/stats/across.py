"""Methods compared over several tasks."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bench.tables.stats.families import holm

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        values: method -> its mean on each task, in one order of the tasks; all finite. The ranks need no common unit,
            Wilcoxon's test compares the sizes of differences on different tasks.
        higher_is_better: whether larger values are.

    Returns:
        The ranks and the tests. Without two tasks there are none (NaN), nor where nothing differs.

    Source: Demsar 2006, Statistical comparisons of classifiers over multiple data sets; Benavoli et al. 2016, Should we
    really use post-hoc tests based on mean-ranks?
    """
    import numpy as np
    from scipy import stats

    methods = list(values)
    table = np.array([values[method] for method in methods], dtype=float)
    tasks = table.shape[1]
    ranks = stats.rankdata(-table if higher_is_better else table, axis=0).mean(axis=1)
    differs = bool((table != table[0]).any())
    friedman = float(stats.friedmanchisquare(*table).pvalue) if len(methods) > 2 and tasks > 1 and differs else math.nan
    pairs = list(itertools.combinations(range(len(methods)), 2))
    p_values = [_wilcoxon(table[i] - table[j]) for i, j in pairs]
    adjusted = dict(zip(((methods[i], methods[j]) for i, j in pairs), holm(p_values), strict=True))
    return Across(dict(zip(methods, ranks.tolist(), strict=True)), friedman, adjusted, tasks)


def _wilcoxon(differences: Sequence[float]) -> float:
    """The exact p-value of the signed-rank test; NaN where no difference is left, or with fewer than two tasks.

    Differences of zero are left out, and equal sizes share their ranks. The normal law that takes the place of the
    exact one elsewhere where that is so makes p too small for the few tasks that there are.
    """
    import numpy as np
    from scipy import stats

    left = np.asarray(differences, dtype=float)
    left = left[left != 0]
    if len(differences) < 2 or not len(left):
        return math.nan
    doubled = np.rint(2 * stats.rankdata(abs(left))).astype(int)  # whole numbers, as ranks may end in a half
    law = _law_of_sums(tuple(sorted(doubled.tolist())))
    positive = int(doubled[left > 0].sum())
    return min(1.0, 2 * float(min(law[: positive + 1].sum(), law[positive:].sum())))


@lru_cache
def _law_of_sums(ranks: tuple[int, ...]) -> "NDArray[Any]":
    """The probability of each sum of some of the ranks, where each is in it or not with the same probability."""
    import numpy as np

    law = np.ones(1)
    for rank in ranks:
        law = (np.pad(law, (0, rank)) + np.pad(law, (rank, 0))) / 2
    return law


def smallest_p(tasks: int, pairs: int) -> float:
    """The smallest p that Wilcoxon's test can give for so many tasks, after Holm's correction for so many pairs.

    Args:
        tasks: the number of tasks.
        pairs: the number of pairs.
    """
    return min(1.0, pairs * 2.0 ** (1 - tasks))


def cliques(methods: Sequence[str], separated: Callable[[str, str], bool]) -> list[list[str]]:
    """The largest groups of methods of which no two are separated.

    Args:
        methods: in their order.
        separated: whether two of them are.

    Returns:
        Each group of two methods or more, in the order of the methods; those that begin with the first method first.

    Source: Bron and Kerbosch 1973, Algorithm 457, with a pivot.
    """
    near = {one: {other for other in methods if other != one and not separated(one, other)} for one in methods}
    place = {method: place for place, method in enumerate(methods)}
    found: list[list[str]] = []

    def extend(group: list[str], candidates: set[str], done: set[str]) -> None:
        if not candidates and not done:
            found.append(sorted(group, key=place.__getitem__))
            return
        pivot = max(candidates | done, key=lambda one: (len(near[one] & candidates), -place[one]))
        for one in sorted(candidates - near[pivot], key=place.__getitem__):
            extend([*group, one], candidates & near[one], done & near[one])
            candidates, done = candidates - {one}, done | {one}

    extend([], set(methods), set())
    return sorted((group for group in found if len(group) > 1), key=lambda group: [place[one] for one in group])


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


RESAMPLES = 1000
CONFIDENCE = 0.95


def interquartile_mean(
    scores: Sequence[Sequence[float]], overlaps: Sequence[float] = (), resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of the middle half of all scores, each task with the same weight, with a stratified bootstrap: within
    each task its seeds are resampled.

    Of n seeds, n - 1 are drawn, so that the variance of the mean of a task is that of its seeds over n and not too
    small by a share of 1 / n, which matters for few seeds. Where a seed draws the test data anew from one pool, fewer
    are drawn, (n - 1) / (1 + n overlap) without its fraction, so that the variance is that of `paired_difference`,
    s^2 (1 / n + overlap), or larger. The tasks are those that they are: the interval says nothing of others.

    Args:
        scores: for each task the scores of its seeds.
        overlaps: for each task as for `paired_difference`; empty where all are 0.
        resamples: the number of resamples.
        seed: of the resampling.

    Source: Agarwal et al. 2021, Deep reinforcement learning at the edge of the statistical precipice, section 4; Rao
    and Wu 1988, Resampling inference with complex survey data, for the number that is drawn.

    Departures: each task counts as much as the next, whatever the number of its seeds; the bounds of the middle half
    may cut a score, of which a part counts then.
    """
    import numpy as np

    values = np.concatenate([np.asarray(task, dtype=float) for task in scores])
    sizes = tuple(map(len, scores))
    order = values.argsort(kind="stable")
    means = _middle(values[order], _drawn(sizes, tuple(overlaps) or (0.0,) * len(sizes), resamples, seed)[:, order])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    alike = np.repeat([1 / (size * len(sizes)) for size in sizes], sizes)
    return Interval(float(_middle(values[order], alike[None, order])[0]), float(low), float(high))


@lru_cache(maxsize=2)
def _drawn(sizes: tuple[int, ...], overlaps: tuple[float, ...], resamples: int, seed: int) -> "NDArray[Any]":
    """What each score of several tasks weighs in each resample: [resamples, scores]. It is the same for all methods."""
    import numpy as np

    generator = np.random.default_rng(seed)
    weights = []
    for size, overlap in zip(sizes, overlaps, strict=True):
        number = max(1, int((size - 1) / (1 + size * overlap)))
        places = generator.integers(size, size=(resamples, number)) + size * np.arange(resamples)[:, None]
        counts = np.bincount(places.ravel(), minlength=resamples * size).reshape(resamples, size)
        weights.append(counts / (number * len(sizes)))
    return np.concatenate(weights, axis=1)


def _middle(scores: "NDArray[Any]", weights: "NDArray[Any]") -> "NDArray[Any]":
    """The mean of the middle half of scores.

    Args:
        scores: [scores], in ascending order.
        weights: [resamples, scores], of sum 1.

    Returns:
        [resamples].
    """
    import numpy as np

    below = np.clip(weights.cumsum(axis=1), 0.25, 0.75)
    inside = np.diff(below, axis=1, prepend=0.25)
    middle: NDArray[Any] = inside @ scores / inside.sum(axis=1)
    return middle


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
