"""The installed metrics, for commands that compute them of stored predictions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.errors import PluginError
from bench.records.shape import ROUNDING

if TYPE_CHECKING:
    from bench.metrics import Metric
    from bench.registry import Registry


def guarded_metrics(plugins: "Registry") -> "Mapping[str, Metric]":
    """Name -> metric. An error of one of a plugin becomes a PluginFailureError in one line.

    Args:
        plugins: those that are installed.
    """
    from bench.metrics import METRICS

    metrics: dict[str, Metric] = plugins.values("metrics")
    return {name: metrics[name] if metrics[name] is METRICS.get(name) else _guarded(plugins, name) for name in metrics}


def _guarded(plugins: "Registry", name: str) -> "Metric":
    from bench.failures import plugin_code
    from bench.parts import Part

    offer = plugins.find("metrics", name)
    metric: Metric = offer.value

    def function(*predictions: Any) -> Any:
        with plugin_code(Part("metric", name, offer.plugin, metric.function)):
            values = metric.function(*predictions)
        _check(name, metric.unit, values)
        return values

    return replace(metric, function=function)


def _check(name: str, unit: str, values: Any) -> None:
    """Raises PluginError for what no metric can be. What is no tensor is refused where its shape is looked at."""
    from torch import Tensor

    if not isinstance(values, Tensor):
        return
    if not values.is_floating_point():
        kind = str(values.dtype).removeprefix("torch.")
        raise PluginError(f"metric {name} gives numbers of the type {kind}: it must give float32 or float64")
    outside = values.isfinite() & ((values < -ROUNDING) | (values > 1 + ROUNDING))  # what is not finite is undefined
    if unit == "%" and (impossible := values[outside].tolist()):
        raise PluginError(
            f"metric {name} gives {impossible[0]:g}, and its unit is %, that of fractions from 0 to 1: divide it by "
            "100, or give the metric another unit"
        )
