"""The installed metrics, for commands that compute them of stored predictions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
            return metric.function(*predictions)

    return replace(metric, function=function)
