"""Rows that are better than their baseline and nearer to a constant prediction than it. Nothing here imports torch."""

from collections.abc import Iterable, Iterator, Mapping

from bench.tables.comparisons import overlap_between
from bench.tables.conclusions import Compared, Verdict
from bench.tables.context import constant_values
from bench.tables.rows import Row
from bench.tables.stats.means import mean_se
from bench.tables.stats.paired import paired_difference

NEARER = (
    "Predicting one class alone gives a better {metric} than the baseline has. Of the rows that are better, these "
    "predict that class for more samples than the baseline does:"
)


def nearer_to_constant(compared: Iterable[Compared]) -> Iterator[tuple[Row, str]]:
    """The rows whose better value may come from predicting one class more often, each with how often it does, as plain
    text.

    These are the rows that are better than their baseline in a metric in which the constant prediction is better than
    it too, and that predict the class of the constant for more of the test samples than the baseline, by the 95 %
    interval of the paired difference. It is told of tasks with two classes.

    Args:
        compared: the rows of a table.
    """
    for one in compared:
        if one.verdict is not Verdict.BETTER or one.baseline is None or not _is_better(one):
            continue
        ours, theirs = (_share_of_constant(row, one.rule) for row in (one.row, one.baseline))
        if paired_difference(ours, theirs, overlap_between(one.row, one.baseline)).low > 0:
            name = one.row.constant_prediction[min(ours)][0]
            shares = [100 * mean_se(list(of.values()))[0] for of in (ours, theirs)]
            yield (
                one.row,
                f"predicts {name!r} for {shares[0]:.1f} % of the test samples, its baseline for {shares[1]:.1f} %",
            )


def _is_better(one: Compared) -> bool:
    """Whether the constant prediction is better than the baseline in the metric that ranks, over the seeds of both."""
    assert one.baseline
    metric = one.row.ranked_by
    constant, baseline = constant_values(one.row, metric), one.baseline.values(metric, one.rule)
    mean = paired_difference(constant, baseline).mean
    return mean > 0 if one.row.first.about.higher_is_better[metric] else mean < 0


def _share_of_constant(row: Row, rule: str) -> Mapping[int, float]:
    """For which share of the test samples a row predicts the most frequent class of the training data, by seed; empty
    where that is not known, as with more than two classes.
    """
    classes, known = row.first.about.classes, row.constant_prediction
    if len(classes) != 2:
        return {}
    positive = {seed: value for seed, value in row.values("fraction_positive", rule).items() if seed in known}
    return {seed: value if known[seed][0] == classes[1] else 1 - value for seed, value in positive.items()}
