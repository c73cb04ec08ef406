"""Every method on every data set, with its model or a small one, and with every small model: it trains, or says why it
cannot.
"""

import functools
import inspect
import tempfile
from pathlib import Path

import pytest

from bench import Dataset, Files
from bench.options import options_of
from bench.records.run import RunResult
from bench.registry import installed
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.store.results import ResultStore
from tests import twins
from tests.experiments import FEW, one

DATASETS, METHODS = (sorted(installed().offers[kind]) for kind in ("datasets", "methods"))
MODELS = [name for name in sorted(installed().offers["models"]) if not name.endswith("/*")]
SHORT = {
    **{"recipe.steps": 2, "recipe.batch_size": 32, "recipe.val_batch_size": 32, "recipe.min_per_group": 1},
    "recipe.evaluate_every": 1,
}
OF_TWINS = {"recipe.train_size": 200, "recipe.val_size": 1000, "recipe.test_size": 1000}


SIZES: dict[str, tuple[dict[str, int], dict[str, object]]] = {
    "celeba": ({"train": 200}, {"size": 32}),
    "droughtwatch": ({"train": 1300}, {"bands": ("B4",)}),
    "waterbirds": ({"per_cell": 60}, {"size": 32}),
    "cat_dog": ({"train": 8000}, {}),
}
"""Of twins: fewer and smaller images where they take long to write and read, more where classes are left out."""


@functools.cache
def loaded(name: str) -> Dataset:
    """From a twin in the official format where there are files to read."""
    with tempfile.TemporaryDirectory() as folder:
        sizes, options = SIZES.get(name, ({}, {}))
        if write := getattr(twins, name, None):
            size = next((name for name in ("train", "count") if name in inspect.signature(write).parameters), "")
            write(Path(folder), **(sizes or {size: 4000}))
        files = Files(Path(folder), allow_unofficial=True, download=False)
        dataset: Dataset = installed().find("datasets", name).value(files, **options)
        return dataset


def trained(method: str, dataset: str, model: str, folder: Path) -> RunResult:
    build = installed().find("models", model).value
    options = SHORT | FEW.get(method, {}) | (OF_TWINS if hasattr(twins, dataset) else {})
    options |= {"model.width": 4} if "width" in options_of(build) else {}
    request = Request(dataset, method, model, options=options)
    store = ResultStore(folder)
    store.check_writable()
    experiment = resolve(request, Files(folder), loaded=loaded(dataset))
    return one(experiment, store)


def check(result: RunResult) -> None:
    assert result.ok or result.unfit, result.error
    assert not result.unfit or (result.error and "\n" not in result.error)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_on_a_data_set(method, dataset, tmp_path):
    model = "mlp" if dataset in SIZES else loaded(dataset).recipe.model
    check(trained(method, dataset, model, tmp_path))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_with_a_model(method, model, tmp_path):
    check(trained(method, "cifar10", model, tmp_path))
