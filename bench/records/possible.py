"""Whether what the record of a run says can be true. A right digest does not tell it: whoever wrote the file may have
computed the digest of anything. Nothing here imports torch.

Only what `bench` never writes is refused. Values of a plugin's metrics may be any numbers.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime

from bench.metrics import METRICS, metric_of
from bench.records.sections import About, Completed, Costs, Data, Environment, Resolved
from bench.records.selections import VAL, Selections, Table, check_context, check_counts
from bench.records.shape import ROUNDING, check_values
from bench.records.spec import OPTION_FIELDS, PAPER, SHARED, RunSpec

NAME = re.compile(r"\w[\w./+-]*")
"""What plugins can offer is named like this (`bench.offers`). Files have these names."""
DIGEST = re.compile("[0-9a-f]{12}")
"""The form of a digest."""
Column = Sequence[float | None]


def check_spec(spec: RunSpec, resolved: Resolved) -> None:
    """Check what identifies a run, and that the values it was made with are those that identify it.

    Args:
        spec: of the record.
        resolved: of the record.

    Raises:
        ValueError: for what no run has.
    """
    if spec.seed < 0:
        raise ValueError(f"its seed {spec.seed} is below 0")
    name, _, version = spec.protocol.partition("/")
    for what, known in (("data set", spec.dataset), ("method", spec.method), ("model", spec.model), ("protocol", name)):
        if not NAME.fullmatch(known):
            raise ValueError(f"its {what} {known!r} is no name that a plugin can offer")
    if not (version.isascii() and version.isdigit()):
        raise ValueError(f"its protocol {spec.protocol!r} is not of the form name/version")
    if spec.validation not in (SHARED, PAPER):
        raise ValueError(f"its validation {spec.validation!r} is neither {SHARED} nor {PAPER}")
    for section in OPTION_FIELDS.values():
        used = getattr(resolved, section)
        for option, value in getattr(spec, section).items():
            if option not in used or used[option] != value:
                raise ValueError(f"{section}.{option} is {value!r} in its spec, and {used.get(option)!r} as resolved")


def check_about(about: About, last: str, best: str) -> None:
    """Check that the tables have metrics, and what they say of those that are the core's own.

    Args:
        about: of the record.
        last: the rule that takes the last epoch.
        best: the rule that takes the best validation value; empty where the validation data were trained on.

    Raises:
        ValueError: for no metric, for another direction or unit than the metric has, and for another rule.
    """
    if not about.metrics or not set(about.metrics) <= about.higher_is_better.keys():
        raise ValueError("its metrics are none, or lack a direction")
    for column in about.metrics:
        metric = METRICS.get(metric_of(column))
        if metric and about.higher_is_better[column] != metric.higher_is_better:
            raise ValueError(f"its direction of {column} is not that of the metric")
        if metric and about.units.get(column, metric.unit) != metric.unit:
            raise ValueError(f"its unit of {column} is not that of the metric")
    if about.rule not in (last, best):
        raise ValueError(f"it is concluded by {about.rule}, expected {last}{best and f' or {best}'}")


def check_data(data: Data, about: About, finished: bool) -> None:
    """Check the sizes of the sets, and the samples that were counted in them.

    Args:
        data, about: of the record.
        finished: whether the run has finished. A run may have failed because there are samples of no class.

    Raises:
        ValueError: for numbers that do not add up.
    """
    if data.pool < 0:
        raise ValueError(f"data.pool is {data.pool}, below 0")
    for name, size in data.sizes.items():
        if size < 0:
            raise ValueError(f"the size of {name} is {size}, below 0")
    for name, rows in data.counts.items():
        if name not in data.sizes:
            raise ValueError(f"it has counts of {name}, and no size")
        if len(rows) not in (1, len(about.groups)):
            raise ValueError(f"its counts of {name} are of {len(rows)} groups, not of {len(about.groups)}")
        if any(len(row) != len(about.classes) for row in rows):
            raise ValueError(f"its counts of {name} are not of {len(about.classes)} classes")
        if any(count < 0 for row in rows for count in row):
            raise ValueError(f"its counts of {name} have a number below 0")
        total, size = sum(map(sum, rows)), data.sizes[name]
        if total > size or (finished and total != size):
            raise ValueError(f"its counts of {name} add up to {total:,}, and its size is {size:,}")
    for metric, value in data.constant.items():
        if metric not in about.metrics:
            raise ValueError(f"data.constant has {metric}, which the tables do not show")
        check_values(f"data.constant.{metric}", metric, [value])


def check_costs(costs: Costs, environment: Environment) -> None:
    """Check that no cost is negative or infinite, and that the date is one.

    Args:
        costs, environment: of the record.

    Raises:
        ValueError: for others.
    """
    values = {field.name: getattr(costs, field.name) for field in fields(costs)} | costs.outside_seconds
    for name, value in values.items():
        least = 1 if name in ("stacked", "threads") else 0
        if isinstance(value, int | float) and not least <= value < math.inf:
            raise ValueError(f"costs.{name} is {value}, expected {least} or more")
    _check_date("environment.created", environment.created)


def check_names_of_beside(sidecar: str, completed: Completed | None) -> None:
    """Check the digest of what lies beside a record, and where that comes from.

    Args:
        sidecar, completed: of the record.

    Raises:
        ValueError: for what is no digest or no date, and for a repetition that gave nothing.
    """
    if sidecar and not DIGEST.fullmatch(sidecar):
        raise ValueError(f"sidecar is {sidecar!r}, which is no digest")
    if completed is None:
        return
    if not sidecar:
        raise ValueError("it was completed by a repetition, and nothing lies beside it")
    _check_date("completed.created", completed.created)


def _check_date(where: str, text: str) -> None:
    """Raises ValueError unless a text is a date and time."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{where} is {text!r}, which is no date") from None


def check_history(history: Mapping[str, Column]) -> None:
    """Check that the columns of a history are of the same evaluations, in their order, with values that metrics have.

    Args:
        history: of the record.

    Raises:
        ValueError: where they are not.
    """
    if not history:
        return
    if not {"epoch", "step"} <= history.keys():
        raise ValueError("its history has no epochs or no steps")
    epochs, steps = (_whole_numbers(history, name) for name in ("epoch", "step"))
    if epochs != sorted(set(epochs)):
        raise ValueError("the epochs of its history do not increase")
    if steps != sorted(steps):  # an epoch may have no update
        raise ValueError("the steps of its history decrease")
    for name, column in history.items():
        # A method may give a diagnostic at some epochs alone.
        if len(column) > len(epochs) or (len(column) < len(epochs) and not name.startswith("train/")):
            raise ValueError(f"history.{name} has {len(column)} values for {len(epochs)} epochs")
    for name, column in history.items():
        if not name.startswith("train/"):
            check_values(f"history.{name}", metric_of(name), column)


def _whole_numbers(history: Mapping[str, Column], name: str) -> list[int]:
    """A column whose values have to be whole numbers of at least 0."""
    numbers: list[int] = []
    for number in history[name]:
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"history.{name} has {number}, expected whole numbers of at least 0")
        numbers.append(number)
    return numbers


def check_selected(selected: Selections, data: Data, about: About, last: str, best: str) -> None:
    """Check what the rules of a finished run have selected.

    Args:
        selected, data, about: of the record.
        last: the rule that takes the last epoch.
        best: the rule that takes the best validation value; empty where the validation data were trained on.

    Raises:
        ValueError: for other rules, values that metrics do not have, and counts that do not add up.
    """
    rules = list(selected.epochs)
    if last not in rules or not {*rules} <= {last, best}:
        raise ValueError(f"it has selected by {', '.join(rules) or 'nothing'}, expected {last}{best and f', {best}'}")
    for rule, epoch in selected.epochs.items():
        if epoch < 0:
            raise ValueError(f"selected.{rule} is of epoch {epoch}, which is below 0")
    if best in rules and selected.epochs[best] > selected.epochs[last]:
        raise ValueError(f"selected.{best} is of epoch {selected.epochs[best]}, which is after the last one")
    for name, metrics in selected.metrics.items():
        for metric, values in metrics.items():
            if len(values) != len(rules):
                raise ValueError(f"selected.metrics.{name}.{metric} has {len(values)} values for {len(rules)} rules")
            for value in values:
                if value is not None and not 0 <= value <= 1:  # which every metric may be
                    check_values(f"selected.metrics.{name}.{metric}", metric, [value])
    if best in rules:
        _check_best(selected, about.select, best, last)
    _check_all_counts(selected, data)
    check_context(selected, about, selected.epochs[last])


def _check_best(selected: Selections, select: str, best: str, last: str) -> None:
    """Raises ValueError unless the best epoch is at least as good as the last, by the metric that it was selected by,
    and the same where it is the last one.
    """
    values = selected.metrics.get(VAL, {}).get(select)
    if values is None:
        raise ValueError(f"selected.metrics.{VAL}.{select} is missing, by which {best} has selected")
    of_rule = dict(zip(selected.epochs, values, strict=True))
    if select in METRICS and _best_of([of_rule[best], of_rule[last]], select) != 0:
        raise ValueError(f"selected.{best} has {VAL}/{select} {of_rule[best]}, and the last epoch {of_rule[last]}")
    if selected.epochs[best] == selected.epochs[last] and selected[best] != selected[last]:
        raise ValueError(f"selected.{best} is of the last epoch, and has other values than selected.{last}")


def _check_all_counts(selected: Selections, data: Data) -> None:
    """Raises ValueError unless the predictions that were counted add up to the samples, and to the accuracies."""
    for name, of_rules in selected.counts.items():
        rules = len(selected)
        if of_rules.keys() != {"right", "predicted"} or any(len(tables) != rules for tables in of_rules.values()):
            raise ValueError(f"selected.counts.{name} has not right and predicted of {rules} rules")
        if name not in data.counts:
            raise ValueError(f"selected.counts.{name} is of a set whose samples were not counted")
        for place, (right, predicted) in enumerate(zip(of_rules["right"], of_rules["predicted"], strict=True)):
            check_counts(f"selected.counts.{name}", data.counts[name], right, predicted)
            _check_accuracy(name, selected.metrics.get(name, {}), place, data, right)


def _check_accuracy(
    name: str, metrics: Mapping[str, Sequence[float | None]], place: int, data: Data, right: Table
) -> None:
    """Raises ValueError unless the accuracy of a set is the share of its right predictions."""
    accuracy = metrics["accuracy"][place] if "accuracy" in metrics else None
    share = sum(map(sum, right)) / max(data.sizes[name], 1)
    if accuracy is not None and abs(accuracy - share) > ROUNDING:
        raise ValueError(f"selected.metrics.{name}.accuracy is {accuracy}, and {share} by its counts")


def check_beside(selected: Selections, history: Mapping[str, Column], last: str, select: str) -> None:
    """Check that the rules of a finished run have selected what its history says.

    Args:
        selected: of the record.
        history: beside the record, as `check_history` accepts it.
        last: the rule that takes the last epoch.
        select: the metric of the other rule.

    Raises:
        ValueError: where they have not.
    """
    epochs = history.get("epoch", [])
    if not epochs:
        raise ValueError("its run has finished, and its history is empty")
    values = history.get(f"{VAL}/{select}", [])
    for place_of_rule, (rule, epoch) in enumerate(selected.epochs.items()):
        if epoch not in epochs:
            raise ValueError(f"{rule} has selected epoch {epoch}, which is not in its history")
        place = epochs.index(epoch)
        expected = len(epochs) - 1 if rule == last else _best_of(values, select)
        if place != expected and (rule == last or select in METRICS):
            raise ValueError(f"{rule} has selected epoch {epoch}, expected {epochs[expected]}")
        for name, metrics in selected.metrics.items():
            for metric, of_rules in metrics.items():
                if column := history.get(f"{name}/{metric}"):
                    _check_equal(f"{name}/{metric}", of_rules[place_of_rule], column[place])


def _check_equal(where: str, selected: float | None, recorded: float | None) -> None:
    """Raises ValueError unless both are the same number, up to rounding: a sum may have had another order."""
    if selected is None or recorded is None:
        same = selected is recorded
    else:
        same = math.isclose(selected, recorded, rel_tol=ROUNDING, abs_tol=ROUNDING)
    if not same:
        raise ValueError(f"{where} is {recorded} in its history, and {selected} in its record")


def _best_of(values: Column, select: str) -> int:
    """The first place of the best value. Of a metric of a plugin, the direction is not known here."""
    sign = -1 if select in METRICS and METRICS[select].higher_is_better is False else 1
    best, place = -math.inf, 0
    for number, value in enumerate(values):
        if value is not None and sign * value > best:
            best, place = sign * value, number
    return place
