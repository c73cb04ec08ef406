"""bench: the benchmark harness for methods that reweight training data.

This module holds the public names. Each is imported when it is first used, because importing torch takes seconds and
`bench --help` does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.checks import Checks as Checks
    from bench.data.batches import BalancedBatches as BalancedBatches
    from bench.data.dataset import Dataset as Dataset
    from bench.data.files import Files as Files
    from bench.data.split import Augment as Augment
    from bench.data.split import Batch as Batch
    from bench.data.split import Split as Split
    from bench.data.step import Step as Step
    from bench.errors import BenchError as BenchError
    from bench.errors import DataError as DataError
    from bench.errors import NotApplicableError as NotApplicableError
    from bench.errors import OptionError as OptionError
    from bench.errors import UnknownNameError as UnknownNameError
    from bench.hookspecs import hookimpl as hookimpl
    from bench.metrics import Metric as Metric
    from bench.protocol import Protocol as Protocol
    from bench.recipe import Recipe as Recipe
    from bench.streams import RandomStreams as RandomStreams
    from bench.training.groups import label_counts as label_counts
    from bench.training.meter import Meter as Meter
    from bench.training.method import Method as Method
    from bench.training.task import Task as Task
    from bench.training.trials import Trials as Trials
    from bench.training.weights import drawn_order as drawn_order
    from bench.training.weights import mean_one as mean_one

_MODULES = {  # public name -> the module of `bench` that defines it
    "Augment": "data.split",
    "Batch": "data.split",
    "BenchError": "errors",
    "Checks": "checks",
    "DataError": "errors",
    "Dataset": "data.dataset",
    "Files": "data.files",
    "Meter": "training.meter",
    "Method": "training.method",
    "Metric": "metrics",
    "NotApplicableError": "errors",
    "OptionError": "errors",
    "Protocol": "protocol",
    "Recipe": "recipe",
    "Split": "data.split",
    "Step": "data.step",
    "BalancedBatches": "data.batches",
    "RandomStreams": "streams",
    "Task": "training.task",
    "Trials": "training.trials",
    "UnknownNameError": "errors",
    "drawn_order": "training.weights",
    "hookimpl": "hookspecs",
    "label_counts": "training.groups",
    "mean_one": "training.weights",
}

__version__ = "0.1.0"
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(f"bench.{_MODULES[name]}"), name)
