"""The metrics: functions of predictions, computed on the device of the predictions without waiting for it.

The predictions are those that are stored (`bench.predictions.stored_logits`): of each sample, how far its logits are
below the largest one, rounded to float16. So a metric that is computed from a file of predictions is the run's to the
last bit, also one that no plugin offered when the run was made. Counts of predicted classes are as of the raw logits.

Every metric here is a fraction in [0, 1]. Every function takes one run, or several runs that are stacked along leading
dimensions, written `..` in the shapes below. Plugins offer further metrics by the hook `bench_metrics`, as this module
does itself.

Rates without samples. A rate whose denominator is zero, such as the true positive rate of a group without positive
samples, is undefined: it is NaN, and no maximum, minimum or mean takes it into account. A disparity needs two defined
rates and any other metric needs one; with fewer the metric is NaN. (fairlearn counts such a rate as 0 instead, so that
a group without positives makes the disparity as large as the best group's rate.)

This module does not import torch, because the tables read `METRICS` and importing torch takes seconds. The methods of
tensors are enough.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf, nan
from typing import TYPE_CHECKING

from bench.errors import OptionError, PluginError
from bench.hookspecs import hookimpl
from bench.predictions import Predictions, Rates, confusion, diagonal, not_finite, outside, ratio

if TYPE_CHECKING:
    from torch import Tensor

ECE_BINS = 15


# The metrics: (predictions, confusion(predictions)) -> [..] float64. The first line of a docstring is shown to users.


def accuracy(p: Predictions, counts: Tensor) -> Tensor:
    """Fraction of the samples that are predicted correctly."""
    matrix = counts.sum(-3)
    return ratio(diagonal(matrix).sum(-1), matrix.sum((-2, -1)))


def error(p: Predictions, counts: Tensor) -> Tensor:
    """Fraction of the samples that are predicted wrongly; over corrupted test sets, the mean corruption error."""
    return 1 - accuracy(p, counts)


def balanced_accuracy(p: Predictions, counts: Tensor) -> Tensor:
    """Mean over the classes of the fraction of a class's samples that are predicted correctly."""
    matrix = counts.sum(-3)
    return ratio(diagonal(matrix), matrix.sum(-1)).nanmean(-1)


def macro_f1(p: Predictions, counts: Tensor) -> Tensor:
    """Mean over the classes that occur or are predicted of the F1 score, one class against the rest."""
    matrix = counts.sum(-3)
    return ratio(2 * diagonal(matrix), matrix.sum(-1) + matrix.sum(-2)).nanmean(-1)


def tprd(p: Predictions, counts: Tensor) -> Tensor:
    """True positive rate disparity: largest minus smallest true positive rate over the groups."""
    return _spread(Rates.of(p, counts).tpr)


def fprd(p: Predictions, counts: Tensor) -> Tensor:
    """False positive rate disparity: largest minus smallest false positive rate over the groups."""
    return _spread(Rates.of(p, counts).fpr)


def max_fnr(p: Predictions, counts: Tensor) -> Tensor:
    """Largest false negative rate over the groups."""
    return _largest(Rates.of(p, counts).fnr)


def max_fpr(p: Predictions, counts: Tensor) -> Tensor:
    """Largest false positive rate over the groups."""
    return _largest(Rates.of(p, counts).fpr)


def worst_group_accuracy(p: Predictions, counts: Tensor) -> Tensor:
    """Smallest accuracy over the groups."""
    if p.group_is_class:
        return -_largest(-Rates.of(p, counts).tpr)
    return -_largest(-ratio(diagonal(counts).sum(-1), counts.sum((-2, -1))))


def ece(p: Predictions, counts: Tensor) -> Tensor:
    """Expected calibration error: mean distance of confidence and accuracy in 15 equal bins of the confidence.

    Guo, Pleiss, Sun, Weinberger 2017, equations 2 and 3; bins are closed on the right. The confidence is the predicted
    class's softmax, also where the loss in training was not the cross entropy. Departure: it is the softmax of the
    stored predictions, whose logits are rounded to float16.
    """
    confidence = p.logits.double().softmax(-1).amax(-1)
    gap = (p.logits.argmax(-1) == p.y).double() - confidence
    place = (confidence * ECE_BINS).ceil()
    # A masked sum for each bin: adding up by index is not deterministic on CUDA.
    total = gap.new_zeros(gap.shape[:-1])
    for b in range(1, ECE_BINS + 1):
        total += (gap * (place == b)).sum(-1).abs()
    return total / gap.shape[-1]


def demographic_parity_difference(p: Predictions, counts: Tensor) -> Tensor:
    """Largest minus smallest rate of positive predictions over the groups.

    As fairlearn's function of this name. Where the group is the class, it is the rate at which the class is predicted
    among all samples.
    """
    return _spread(Rates.of(p, counts).selection_rate)


def equalized_odds_difference(p: Predictions, counts: Tensor) -> Tensor:
    """The larger of the true and the false positive rate disparity.

    As fairlearn's function of this name; NaN if either of the two is.
    """
    rates = Rates.of(p, counts)
    return _spread(rates.tpr).maximum(_spread(rates.fpr))


def fraction_positive(p: Predictions, counts: Tensor) -> Tensor:
    """Fraction of the samples that are predicted to be of class 1, which of two classes is the positive one."""
    return (p.logits.argmax(-1) == 1).double().mean(-1)


@dataclass(frozen=True)
class Metric:
    """A metric as plugins offer it: a function of predictions, and how its values are to be read.

    Attributes:
        function: `function(p, counts)` with the predictions p and `counts = confusion(p)` [.., G, C, C] int64 gives
            [..] float64, one value for each run, NaN where the metric is undefined; infinity is taken as that. It
            computes on the device of the predictions and does not wait for it. The logits of p are float32, relative to
            the largest one of the sample, which is 0, and rounded as they are stored: the raw scale of logits is not
            known. Its docstring says what the metric is; tables show the first line.
        higher_is_better: whether the higher of two values is the better one; None if neither is.
        unit: `%` for a fraction, which tables show in percent; otherwise the unit of the values, such as `nats`, which
            tables show as they are.
        reference: where the metric is defined.
        needs_labels: whether the metric depends on the classes and groups of the samples.
        binary: whether the metric is defined for two classes only.
        spread_of: the rate of groups (`bench.predictions.Rates`) of which the metric is the largest minus the smallest:
            `tpr`, `fpr` or `selection_rate`. It is above zero by chance alone; tables show by how much (`bench.floor`).
            Empty for another metric.
    """

    function: Callable[[Predictions, Tensor], Tensor]
    higher_is_better: bool | None
    unit: str = "%"
    reference: str = ""
    needs_labels: bool = True
    binary: bool = False
    spread_of: str = ""

    @property
    def description(self) -> str:
        """What the metric is: the docstring of its function."""
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]

    @property
    def worst(self) -> float:
        """The worst value: 0 or 1 for a fraction, plus or minus infinity for another unit."""
        if self.unit == "%":
            return 0.0 if self.higher_is_better else 1.0
        return -inf if self.higher_is_better else inf

    def details(self) -> str:
        """What `bench show` prints below the description."""
        better = {True: "Higher is better.", False: "Lower is better.", None: "Neither high nor low values are better."}
        unit = "A fraction, shown in percent." if self.unit == "%" else f"Unit: {self.unit}."
        reference = f" Reference: {self.reference}." if self.reference else ""
        return f"{better[self.higher_is_better]} {unit}{reference}"


METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, higher_is_better=True),
    "error": Metric(error, higher_is_better=False),
    "balanced_accuracy": Metric(
        balanced_accuracy, higher_is_better=True, reference="Brodersen, Ong, Stephan, Buhmann 2010"
    ),
    "macro_f1": Metric(macro_f1, higher_is_better=True),
    "worst_group_accuracy": Metric(
        worst_group_accuracy, higher_is_better=True, reference="Sagawa, Koh, Hashimoto, Liang 2020, section 3"
    ),
    "tprd": Metric(tprd, higher_is_better=False, reference="Yan, Seto, Apostoloff 2022, section 4.2", spread_of="tpr"),
    "fprd": Metric(fprd, higher_is_better=False, reference="Yan, Seto, Apostoloff 2022, section 4.3", spread_of="fpr"),
    "max_fnr": Metric(max_fnr, higher_is_better=False, reference="Yan, Seto, Apostoloff 2022, section 4.2"),
    "max_fpr": Metric(max_fpr, higher_is_better=False, reference="Yan, Seto, Apostoloff 2022, section 4.3"),
    "ece": Metric(ece, higher_is_better=False, reference="Guo, Pleiss, Sun, Weinberger 2017, equations 2 and 3"),
    "demographic_parity_difference": Metric(
        demographic_parity_difference,
        higher_is_better=False,
        reference="fairlearn.metrics.demographic_parity_difference",
        spread_of="selection_rate",
    ),
    "equalized_odds_difference": Metric(
        equalized_odds_difference, higher_is_better=False, reference="fairlearn.metrics.equalized_odds_difference"
    ),
    "fraction_positive": Metric(
        fraction_positive,
        higher_is_better=None,
        needs_labels=False,
        binary=True,
        reference="Byrd and Lipton 2019, section 4",
    ),
}


@hookimpl
def bench_metrics() -> Mapping[str, Metric]:
    return METRICS


def metric_of(column: str) -> str:
    """The name of the metric in a column of a table: `accuracy` for both `accuracy` and `corrupted/accuracy`."""
    return column.rpartition("/")[2]


def require_direction(option: str, name: str, metric: Metric, classes: int | None = None) -> None:
    """Check that a metric can tell which of two models is the better one.

    Args:
        option: what names the metric, for the message.
        name: of the metric.
        classes: number of classes of the task; None: not known yet.

    Raises:
        OptionError: for a metric without a direction, or of two classes for a task with more.
    """
    if metric.higher_is_better is None:
        raise OptionError(f"{option}={name}: of this metric neither high nor low values are better; choose another")
    if metric.binary and classes not in (None, 2):
        raise OptionError(f"{option}={name}: this metric is for two classes, and there are {classes}; choose another")


def evaluate(p: Predictions, labelled: bool = True, metrics: Mapping[str, Metric] | None = None) -> dict[str, Tensor]:
    """Compute metrics of predictions.

    Args:
        p: the predictions; in runs with logits as they are stored.
        labelled: whether the samples have labels; if not, the metrics that need labels are left out.
        metrics: by name; None: those of this module.

    Returns:
        Name -> [..] float64, on the device of the predictions, NaN where a metric is undefined or infinite. All metrics
        of a run are NaN if one of its logits is not finite, or the class or group of one of its samples does not exist:
        then no number would be right.

    Raises:
        ProtocolError: for a sensitive attribute with other than two classes.
        PluginError: for a metric that does not give one value for each run.
    """
    metrics = METRICS if metrics is None else metrics
    if not labelled:  # y and group may hold numbers that are no class of the task
        nothing = p.y * 0
        p = replace(p, y=nothing, group=nothing)
    counts = confusion(p)
    wanted = {name: metric for name, metric in metrics.items() if labelled or not metric.needs_labels}
    wrong = (not_finite(p) + outside(p)) > 0
    return {name: _values(name, metric, p, counts).masked_fill(wrong, nan) for name, metric in wanted.items()}


def _values(name: str, metric: Metric, p: Predictions, counts: Tensor) -> Tensor:
    """The values [..] float64 of a metric, one for each run.

    A metric of a plugin gets copies, so that what it changes in place changes no other number.
    """
    if METRICS.get(name) is not metric:
        p = replace(p, logits=p.logits.clone(), y=p.y.clone(), group=p.group.clone())
        counts = counts.clone()
    values = metric.function(p, counts)
    if getattr(values, "shape", None) != p.y.shape[:-1]:
        got = list(values.shape) if hasattr(values, "shape") else type(values).__name__
        raise PluginError(
            f"metric {name} must give a tensor of shape {list(p.y.shape[:-1])}, one value for each run, not {got}"
        )
    values = values.double()
    return values.masked_fill(values.isinf(), nan)  # no record, mean or difference can hold infinity


def _largest(rates: Tensor) -> Tensor:
    """The largest of the defined rates [.., G]: [..], NaN if none is defined."""
    largest = rates.masked_fill(rates.isnan(), -inf).amax(-1)
    return largest.masked_fill(largest.isinf(), nan)


def _spread(rates: Tensor) -> Tensor:
    """The largest minus the smallest of the defined rates [.., G]: [..], NaN if fewer than two are defined."""
    spread = _largest(rates) + _largest(-rates)
    return spread.masked_fill(rates.isfinite().sum(-1) < 2, nan)
