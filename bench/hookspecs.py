"""The hooks of a plugin: functions that return what the plugin offers, by name.

A plugin is a module (or object) that an entry point of the group "bench" names. It marks its hook functions with
`hookimpl`. A name that ends in `/*` is a family of models or data sets: a user who asks for `timm/resnet10t` gets the
factory `timm/*`, called with `name="resnet10t"`.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from torch import nn

    from bench.data.dataset import Dataset
    from bench.data.files import Files
    from bench.metrics import Metric
    from bench.protocol import Protocol
    from bench.throughput import Workload
    from bench.training.method import Method

hookspec = pluggy.HookspecMarker("bench")
hookimpl = pluggy.HookimplMarker("bench")


@hookspec
def bench_datasets() -> "Mapping[str, Callable[[Files], Dataset]]":  # type: ignore[empty-body]
    """Loaders of data sets by name: `load(files)` reads from `files` (a `bench.Files`) and returns the data set."""


@hookspec
def bench_models() -> "Mapping[str, Callable[..., nn.Module]]":  # type: ignore[empty-body]
    """Factories of models by name: `build(shape, classes, *, option=default, ...)`.

    `shape` is that of one input, (C, H, W) or (D,). The module that a factory returns maps [B, *shape] to logits
    [B, classes], and its initial weights are drawn from torch's global generator. Options are keyword-only parameters
    with a type and a default.
    """


@hookspec
def bench_methods() -> "Mapping[str, type[Method]]":  # type: ignore[empty-body]
    """Methods by name: subclasses of `bench.Method`."""


@hookspec
def bench_protocols() -> "Mapping[str, type[Protocol]]":  # type: ignore[empty-body]
    """Protocols by name: subclasses of `bench.Protocol`, each under its own `name`."""


@hookspec
def bench_metrics() -> "Mapping[str, Metric]":  # type: ignore[empty-body]
    """Metrics by name, each a `bench.Metric`: a function of the predictions, with direction, unit and reference."""


@hookspec
def bench_workloads() -> "Mapping[str, Workload]":  # type: ignore[empty-body]
    """Workloads by name: models with an input shape and batch sizes, on which `bench throughput` times steps."""


@hookspec
def bench_rivals() -> "Mapping[str, type[Method]]":  # type: ignore[empty-body]
    """Other implementations of a method's update by name, which only `bench throughput` runs.

    Each is a subclass of `bench.Method` with an `update` of its own. Its class variable `rival_of` names the method.
    """
