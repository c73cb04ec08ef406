"""What several test files share."""

import os
import signal

from tests.cores import share, usable_cores

os.environ.update(share(os.environ, usable_cores()))  # before torch is loaded, which reads it then

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell: tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from bench.data.dataset import Dataset
from bench.data.split import Split
from bench.metrics import METRICS
from bench.recipe import Recipe
from bench.records.run import SECTIONS, RunResult
from bench.records.selections import Selected, Selections
from bench.records.sidecar import Sidecar
from bench.records.spec import RunSpec
from bench.store.results import ResultStore
from tests.environments import made_up_environment

settings.register_profile("bench", deadline=None, derandomize=True)  # a loaded machine fails no test
settings.load_profile("bench")


@pytest.fixture(scope="session")
def make_split() -> Callable[..., Split]:
    """`make_split(sizes)`: sizes[g] samples of each group g, one after the other, with two classes in turn.

    x [N, 1] float32 is the position, so that every sample is known again.
    """

    def make(sizes: list[int]) -> Split:
        n = sum(sizes)
        group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        return Split(torch.arange(n, dtype=torch.float32).unsqueeze(1), torch.arange(n) % 2, group)

    return make


@pytest.fixture(scope="session")
def make_dataset(make_split: Callable[..., Split]) -> Callable[..., Dataset]:
    """`make_dataset(sizes)`: a data set of two classes with these groups, all of it training data unless given."""

    def make(sizes: list[int], **fields: Any) -> Dataset:
        groups = tuple(f"g{i}" for i in range(len(sizes)))
        given = {"test": None, "classes": ("no", "yes"), "groups": groups, "recipe": Recipe()} | fields
        return Dataset(name="toy", train=make_split(sizes), **given)

    return make


@pytest.fixture(scope="session")
def make_result() -> Callable[..., RunResult]:
    """A record as the runner writes it, with what the tests do not look at left out.

    Of a section, what is given is put over the usual entries. Beside it lie `arrays` and `history`: two
    evaluations, without their values, unless given.
    `test` holds the test metrics of the last epoch, 3, `best` of the epoch with the best validation accuracy.
    """

    def make(
        method: str = "erm",
        seed: int = 0,
        test: dict[str, float | None] | None = None,
        best: dict[str, float | None] | None = None,
        seconds: float = 1.0,
        device: str = "CPU A",
        metrics: tuple[str, ...] = ("tprd", "accuracy"),
        unofficial: dict[str, str] | None = None,
        history: dict[str, list[Any]] | None = None,
        arrays: dict[str, Any] | None = None,
        **fields: Any,
    ) -> RunResult:
        own = {field.name for field in dataclasses.fields(RunSpec)} - {"method", "seed"}
        spec = RunSpec(
            **{"dataset": "digits", "model": "mlp", "protocol": "class_fairness/1", "method": method, "seed": seed}
            | {name: fields.pop(name) for name in own & fields.keys()}
        )
        written: dict[str, dict[str, Any]] = {
            "about": {
                "metrics": list(metrics),
                "classes": ["no", "yes"],
                "groups": ["no", "yes"],
                "higher_is_better": {m: METRICS[m].higher_is_better if m in METRICS else False for m in metrics},
                "select": "accuracy",
                "uses_val": method == "learner",
                "uses_groups": False,
                "baseline": method == "erm",
                "protocol_reference": "a paper",
                "dataset_reference": "its source",
            },
            "resolved": {
                "recipe": {"model": "mlp", **spec.recipe},
                "model_options": spec.model_options,
                "options": spec.options,
                "dataset_options": spec.dataset_options,
                "protocol_options": spec.protocol_options,
            },
            "data": {"revision": "r1", "unofficial": unofficial or {}, "sizes": {"train": 1000, "test": 50}},
            "costs": {
                "train_seconds": seconds,
                "steps": 10,
                "seconds_per_step": seconds / 10,
                "parameters": 10,
                "peak_memory_bytes": None,
                "peak_process_bytes": None,
                "threads": 1,
                "stacked": 1,
                "load": 1.0,
            },
        }
        given: dict[str, Any] = {
            "status": "ok",
            "command": spec.command("mlp", "class_fairness"),
            "off_recipe": [f"recipe.{name}" for name in spec.recipe],
        }
        if (given | fields)["status"] == "ok":
            chosen = {"last": test or {}} | ({"best_val_accuracy": best} if best is not None else {})
            val = {"val": {"accuracy": 0.5}} if best is not None else {}
            usual = {"epoch": [2, 3], "step": [5, 10]} | ({"val/accuracy": [0.5, 0.5]} if val else {})
            given["beside"] = Sidecar(usual if history is None else history, arrays or {})
            given["sidecar"] = given["beside"].digest
            selected = {
                rule: Selected(3 if rule == "last" else 2, {"test": dict(values)} | val)
                for rule, values in chosen.items()
            }
            given["selected"] = Selections.of(selected, {"accuracy"})
        for name, entries in written.items():
            given[name] = SECTIONS[name].read(entries | fields.pop(name, {}))
        given["environment"] = made_up_environment(**{"device": device} | fields.pop("environment", {}))
        return RunResult(spec=spec, **given | fields)

    return make


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    """Of records, empty and writable."""
    found = ResultStore(tmp_path / "results")
    found.folder.mkdir()
    return found
