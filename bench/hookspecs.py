"""The hooks of a plugin: functions that return what it offers, by name.

A plugin is a module (or object) named by an entry point of the group "bench". Its functions are marked with `hookimpl`.
A name that ends in `/*` is a family: `timm/*` is asked for `timm/resnet10t` and called with `name="resnet10t"`.
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
    """Loaders by name: `load(files)` reads the data set's files from `files` (bench.Files) and returns it."""


@hookspec
def bench_models() -> "Mapping[str, Callable[..., nn.Module]]":  # type: ignore[empty-body]
    """Factories by name: `build(shape, classes, *, option=default, ...)` with the input's shape (C, H, W) or (D,).

    The module maps [B, *shape] to logits [B, classes]; its initial weights come from torch's global generator.
    Options are keyword-only, typed and with defaults.
    """


@hookspec
def bench_methods() -> "Mapping[str, type[Method]]":  # type: ignore[empty-body]
    """Subclasses of bench.Method by name."""


@hookspec
def bench_protocols() -> "Mapping[str, type[Protocol]]":  # type: ignore[empty-body]
    """Subclasses of bench.Protocol by name: the name that the class has itself."""


@hookspec
def bench_metrics() -> "Mapping[str, Metric]":  # type: ignore[empty-body]
    """Metrics by name: functions of the predictions and their confusion, with direction, unit and reference."""


@hookspec
def bench_workloads() -> "Mapping[str, Workload]":  # type: ignore[empty-body]
    """Models with input shapes and batch sizes by name, for `bench throughput` to time steps on."""


@hookspec
def bench_rivals() -> "Mapping[str, type[Method]]":  # type: ignore[empty-body]
    """Other implementations of a method's update by name, for `bench throughput` alone.

    Subclasses of bench.Method with their own `update`; the class variable `rival_of` names the method.
    """
