"""Records are given metrics that are computed of their predictions, without training. Nothing here imports torch: what
computes them is an argument (`bench.runs.rescoring.scores`).

A metric that was installed after a run is had so: its record gets the values that the run would have given it, under
the selection rules that the run has. Under other rules it is only shown (`value_under`): the predictions of other
epochs are not stored, and a method may itself look at the rule, so that its training would be another one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.errors import BenchError
from bench.metrics import Metric
from bench.records.run import RunResult, best_val
from bench.records.selections import TEST, VAL, decoded, oracle_of
from bench.records.sidecar import Sidecar
from bench.records.spec import PAPER
from bench.store.predicted import check_predictions, is_by_class, sets_predicted
from bench.store.verify import Recomputed

Scores = Callable[..., Mapping[str, float]]
"""Every metric of the predictions of one run for one set: `bench.runs.rescoring.scores`."""

Values = dict[str, dict[str, list[float | None]]]
"""Set -> metric -> its value under each selection rule of a record; None where it is undefined."""


class PredictionsError(BenchError):
    """Beside a record there are no predictions of its own: the run must be repeated."""


class NoPredictionsError(PredictionsError):
    """Beside a record there are no predictions."""


def values_of(result: RunResult, beside: Sidecar, metrics: Mapping[str, Metric], scores: Scores) -> Values:
    """Metrics of the predictions that lie beside a record, as the run computes them.

    Args:
        result: the record.
        beside: what lies beside it.
        metrics: what is computed, by name. Those that need labels are left out for probes, which have none.
        scores: computes them.

    Raises:
        PredictionsError: for predictions that are not those of the record.
        BenchError: for what a metric cannot be computed of.
    """
    if wrong := check_predictions(result, beside):
        raise PredictionsError(wrong[0])
    groups = len(result.about.groups)
    by_class = any(is_by_class(result, name) for name in result.data.counts)
    values: Values = {}
    for name in sets_predicted(result, beside):
        y, group = (beside.arrays.get(f"{name}/{part}") for part in ("y", "group"))
        known = {metric: of for metric, of in metrics.items() if y is not None or not of.needs_labels}
        found = [scores(beside.arrays[f"{name}/{r}"], y, group, groups, by_class, known) for r in result.selected]
        values[name] = {metric: [_known(of[metric]) for of in found] for metric in known}
    return values


def _known(value: float) -> float | None:
    """None for NaN, as records have it."""
    return None if math.isnan(value) else value


def recomputed(result: RunResult, beside: Sidecar, metrics: Mapping[str, Metric], scores: Scores) -> Recomputed:
    """Compute again what a record says of its predictions.

    Args:
        result: the record.
        beside: what lies beside it.
        metrics: those that are installed; those that the record lacks are not computed.
        scores: computes them.
    """
    number, different, failed = 0, [], []
    for metric, of in metrics.items():
        recorded = {name: known[metric] for name, known in result.selected.metrics.items() if metric in known}
        if not recorded:
            continue
        try:
            found = values_of(result, beside, {metric: of}, scores)
            others = [n for n in recorded.keys() & found.keys() if found[n].get(metric) != recorded[n]]
            if others:
                _check_again(found, result, beside, metric, of, scores)
        except PredictionsError as error:
            different.append(f"{metric} cannot be computed again: {error}")
            continue
        except BenchError as error:
            failed.append(f"{metric} cannot be computed again: {error}")
            continue
        for name in recorded.keys() & found.keys():
            number += len(recorded[name])
            if name in others:
                again = found[name].get(metric)
                different.append(f"{name}/{metric} is {recorded[name]} under its rules, and {again} of its predictions")
    return Recomputed(number, different, failed)


def _check_again(found: Values, result: RunResult, beside: Sidecar, name: str, metric: Metric, scores: Scores) -> None:
    """Compute the values of a metric once more. Raises BenchError where they are others: it is no function of the
    predictions.
    """
    if values_of(result, beside, {name: metric}, scores) != found:
        raise BenchError(
            f"{name} gives two values for the same predictions: it must depend on them alone, so draw no random "
            "numbers in it and keep no state"
        )


def context_recomputed(
    result: RunResult, beside: Sidecar, metrics: Mapping[str, Metric], test_set: Callable[..., Any]
) -> Recomputed:
    """Compute again what a record says its numbers stand beside: the oracle of its history, the best constant
    prediction, the noise floor and the drawn test sets.

    Args:
        result: the record of a finished run.
        beside: what lies beside it.
        metrics: those that are installed.
        test_set: computes them: `bench.runs.rescoring.TestSet`.
    """
    selected, about = result.selected, result.about
    number = 0
    different: list[str] = []
    failed: list[str] = []
    if selected.oracle_epoch is not None:
        number += 1
        told, of_history = (selected.oracle_epoch, selected.oracle), oracle_of(beside.history, about)
        if of_history != told:
            different.append(f"the best epoch on the test set and its value are {told}, by its history {of_history}")
    y, group, logits = (beside.arrays.get(f"{TEST}/{what}") for what in ("y", "group", about.rule))
    train = result.data.class_counts("train")
    if y is None or group is None or logits is None or not train:
        return Recomputed(number, different, failed)
    shown = {name: metrics[name] for name in about.metrics if name in metrics}
    known = test_set(y, group, len(about.classes), len(about.groups), is_by_class(result, TEST), shown)
    drawn = {name: decoded(text) for name, text in selected.resampled.items()}
    pairs: dict[str, tuple[Mapping[str, Any], Callable[[], Mapping[str, Any]]]] = {
        "data.constant": (result.data.constant, lambda: known.constant(train.index(max(train)))),
        "selected.floor": (selected.floor, lambda: known.floor(logits)),
        "selected.resampled": (drawn, lambda: known.resampled(logits, result.data.tests)),
    }
    for where, (values, compute) in pairs.items():
        try:
            again = compute() if values else {}
        except BenchError as error:
            failed.append(f"{where} cannot be computed again: {error}")
            continue
        for name in values.keys() & again.keys():
            number += 1
            if not _alike(values[name], again[name]):
                different.append(f"{where}.{name} is not that of its predictions")
    return Recomputed(number, different, failed)


def _alike(told: Any, again: Any) -> bool:
    """Whether numbers are the same up to the rounding of float16, in which drawn test sets are stored."""
    import numpy as np

    ours, theirs = (np.asarray(of, dtype=float) for of in (told, again))  # None is NaN
    return bool(np.allclose(ours, theirs, rtol=2**-10, atol=2**-23, equal_nan=True))


def rescored(result: RunResult, beside: Sidecar, name: str, metric: Metric, code: str, scores: Scores) -> RunResult:
    """A record with a metric that is computed of its predictions.

    Args:
        result: the record.
        beside: what lies beside it.
        name: of the metric.
        metric: the metric.
        code: the hash of its code.
        scores: computes it.

    Returns:
        The record with the values. It is the record itself if it has them.

    Raises:
        BenchError: if there are no predictions, if the record has other values, if the metric cannot be computed or
            gives two values for the same predictions, and if nobody could read the record with these values.
    """
    values = values_of(result, beside, {name: metric}, scores)
    if not values:
        raise NoPredictionsError("it has no predictions")
    _check_again(values, result, beside, name, metric, scores)
    metrics = {of_set: dict(known) for of_set, known in result.selected.metrics.items()}
    for of_set, found in values.items():
        if name not in found:
            continue
        known = metrics.setdefault(of_set, {})
        if known.get(name, found[name]) != found[name]:
            raise BenchError(f"{of_set}/{name} is {known[name]} in its record, and {found[name]} of its predictions")
        known[name] = found[name]
    if metrics == result.selected.metrics:
        return result
    selected = replace(result.selected, metrics=metrics)
    return _readable(replace(result, selected=selected, rescored=result.rescored | {name: code}))


def without(result: RunResult, name: str) -> RunResult:
    """A record as it was before it was given a metric.

    Args:
        result: the record.
        name: of the metric.

    Returns:
        The record without the values. It is the record itself if it was given no such metric.
    """
    if name not in result.rescored:
        return result
    metrics = {
        of_set: {metric: values for metric, values in known.items() if metric != name}
        for of_set, known in result.selected.metrics.items()
        if list(known) != [name]
    }
    selected = replace(result.selected, metrics=metrics)
    rescored = {metric: code for metric, code in result.rescored.items() if metric != name}
    return _readable(replace(result, selected=selected, rescored=rescored))


def _readable(made: RunResult) -> RunResult:
    """The record. Raises BenchError where whoever reads its file would refuse it."""
    try:
        RunResult.from_json(made.to_json())
    except (ValueError, TypeError) as error:
        raise BenchError(f"the record with these values could not be read: {error}") from error
    return made


def value_under(
    rule: str, result: RunResult, beside: Sidecar, name: str, metric: Metric, higher_is_better: bool, scores: Scores
) -> dict[str, float | None]:
    """A metric under a selection rule that the run does not have.

    The epoch is found in the history, as a run finds it: the first of those with the best validation value. Its metrics
    are those of the history, or of the predictions where a rule of the run has selected the same epoch.

    Args:
        rule: what `best_val` gives.
        result: the record.
        beside: what lies beside it.
        name, metric: what is computed.
        higher_is_better: the direction of the rule's metric.
        scores: computes the metric.

    Returns:
        Test set or probe -> value.

    Raises:
        BenchError: where that cannot be told.
    """
    if result.spec.validation == PAPER:
        raise BenchError("it was trained on the validation data, so no epoch is the best one")
    column = f"{VAL}/{rule.removeprefix(best_val(''))}"
    if column not in beside.history:
        raise BenchError(f"its history has no {column}")
    epoch = best_epoch(beside.history["epoch"], beside.history[column], higher_is_better)
    if not epoch:
        raise BenchError(f"its {column} is undefined at every epoch")
    for place, known in enumerate(result.selected.epochs.values()):
        if known == epoch and (values := values_of(result, beside, {name: metric}, scores)):
            return {of_set: of_rules[name][place] for of_set, of_rules in values.items() if name in of_rules}
    place = beside.history["epoch"].index(epoch)
    known_columns = {
        column.rpartition("/")[0]: values[place]
        for column, values in beside.history.items()
        if column.endswith(f"/{name}") and not column.startswith((f"{VAL}/", "train/"))
    }
    if not known_columns:
        raise BenchError(f"{name} is not in its history, and of epoch {epoch} there are no predictions")
    return known_columns


def best_epoch(epochs: Sequence[int], values: Sequence[float | None], higher_is_better: bool) -> int:
    """The first epoch with the best value, as `bench.runs.evaluation` selects it; 0 if no value is known.

    Args:
        epochs, values: columns of a history.
        higher_is_better: the direction of the metric.
    """
    sign = 1 if higher_is_better else -1
    best, chosen = -math.inf, 0
    for epoch, value in zip(epochs, values, strict=True):
        if value is not None and sign * value > best:
            best, chosen = sign * value, epoch
    return chosen
