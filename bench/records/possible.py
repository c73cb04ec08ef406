"""Whether what the record of a run says can be true. A right digest does not tell it: whoever wrote the file may have
computed the digest of anything. Nothing here imports torch.

Only what `bench` never writes is refused. Values of a plugin's metrics may be any numbers.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime

from bench.metrics import METRICS, metric_of
from bench.records.sections import About, Costs, Data, Environment, Resolved, Selected
from bench.records.spec import OPTION_FIELDS, PAPER, SHARED, RunSpec
from bench.text import shell_line

NAME = re.compile(r"\w[\w./+-]*")
"""What plugins can offer is named like this (`bench.offers`). Files have these names."""
ROUNDING = 1e-9
"""By so much a fraction may be outside [0, 1]."""
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


def check_command(command: str, spec: RunSpec) -> None:
    """Check that a command is that of a run, as far as the spec says it: its beginning and its end.

    Args:
        command, spec: of the record.

    Raises:
        ValueError: for another method, data set or seed.
    """
    begin = shell_line(["bench", "run", "--method", spec.method, "--dataset", spec.dataset])
    if not (f"{command} ".startswith(f"{begin} ") and command.endswith(f" --seed {spec.seed}")):
        raise ValueError(f"its command is not that of {spec.method} on {spec.dataset} with seed {spec.seed}")


def check_about(about: About) -> None:
    """Check what the tables say of metrics that are the core's own.

    Args:
        about: of the record.

    Raises:
        ValueError: for another direction or unit than the metric has.
    """
    for column in about.metrics:
        metric = METRICS.get(metric_of(column))
        if metric and about.higher_is_better[column] != metric.higher_is_better:
            raise ValueError(f"its direction of {column} is not that of the metric")
        if metric and about.units.get(column, metric.unit) != metric.unit:
            raise ValueError(f"its unit of {column} is not that of the metric")


def check_data(data: Data, about: About, finished: bool) -> None:
    """Check the sizes of the sets, and the samples that were counted in them.

    Args:
        data, about: of the record.
        finished: whether the run has finished. A run may have failed because there are samples of no class.

    Raises:
        ValueError: for numbers that do not add up.
    """
    for name, size in data.sizes.items():
        if size < 0:
            raise ValueError(f"the size of {name} is {size}, below 0")
    for name, rows in data.counts.items():
        if name not in data.sizes:
            raise ValueError(f"it has counts of {name}, and no size")
        if len(rows) not in (1, len(about.groups)):
            raise ValueError(f"its counts of {name} are of {len(rows)} groups, not of {len(about.groups)}")
        if any(count < 0 for row in rows for count in row):
            raise ValueError(f"its counts of {name} have a number below 0")
        total, size = sum(map(sum, rows)), data.sizes[name]
        if total > size or (finished and total != size):
            raise ValueError(f"its counts of {name} add up to {total:,}, and its size is {size:,}")


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
    try:
        datetime.fromisoformat(environment.created)
    except ValueError:
        raise ValueError(f"environment.created is {environment.created!r}, which is no date") from None


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
            _check_values(f"history.{name}", metric_of(name), column)


def _whole_numbers(history: Mapping[str, Column], name: str) -> list[int]:
    """A column whose values have to be whole numbers of at least 0."""
    numbers: list[int] = []
    for number in history[name]:
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"history.{name} has {number}, expected whole numbers of at least 0")
        numbers.append(number)
    return numbers


def check_selected(
    selected: Mapping[str, Selected], history: Mapping[str, Column], last: str, best: str, select: str
) -> None:
    """Check that the rules of a finished run have selected what its history says.

    Args:
        selected, history: of the record; the history as `check_history` accepts it.
        last: the rule that takes the last epoch.
        best: the rule that takes the best validation value; empty where the validation data were trained on.
        select: the metric of that rule.

    Raises:
        ValueError: where they have not.
    """
    epochs = history.get("epoch", [])
    if not epochs:
        raise ValueError("it has finished, and its history is empty")
    expected = {last: len(epochs) - 1}
    values = history.get(f"val/{select}", []) if best else []
    if any(value is not None for value in values):
        expected[best] = _best_of(values, select)
    if selected.keys() != expected.keys():
        rules, names = (", ".join(sorted(of)) or "nothing" for of in (selected, expected))
        raise ValueError(f"it has selected by {rules}, expected {names}")
    for rule, choice in selected.items():
        if choice.epoch not in epochs:
            raise ValueError(f"selected.{rule} is of epoch {choice.epoch}, which is not in its history")
        place = epochs.index(choice.epoch)
        if place != expected[rule] and (rule == last or select in METRICS):
            raise ValueError(f"selected.{rule} is of epoch {choice.epoch}, expected {epochs[expected[rule]]}")
        _check_metrics(f"selected.{rule}", choice, history, place)


def _best_of(values: Column, select: str) -> int:
    """The first place of the best value. Of a metric of a plugin, the direction is not known here."""
    sign = -1 if select in METRICS and METRICS[select].higher_is_better is False else 1
    return max(range(len(values)), key=lambda place: -math.inf if (value := values[place]) is None else sign * value)


def _check_metrics(where: str, choice: Selected, history: Mapping[str, Column], place: int) -> None:
    """Raises ValueError unless the metrics of a selected epoch are those of its history, as far as this has them."""
    for name, metrics in choice.metrics.items():
        for metric, value in metrics.items():
            _check_values(f"{where}.{name}/{metric}", metric, [value])
    for column, values in history.items():
        of, _, metric = column.rpartition("/")
        if of.partition("/")[0] in ("", "train"):
            continue
        if metric not in (metrics := choice.metrics.get(of, {})) or metrics[metric] != values[place]:
            value = metrics.get(metric, "missing")
            raise ValueError(f"{where}.{of}/{metric} is {value}, and {values[place]} in its history")


def _check_values(where: str, metric: str, values: Column) -> None:
    """Raises ValueError for infinity, and for values of a metric of the core that are no fractions."""
    known = [value for value in values if value is not None]
    if not known:
        return
    least, most = (-ROUNDING, 1 + ROUNDING) if metric in METRICS else (-sys.float_info.max, sys.float_info.max)
    for value in (min(known), max(known)):
        if not least <= value <= most:
            raise ValueError(f"{where} is {value}, which no {metric} is")
