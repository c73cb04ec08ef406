"""What loads data, or gives a view of them, is part of no run: nothing of what it sets reaches one."""

import dataclasses
import random
from dataclasses import dataclass

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional

import bench.registry
from bench.cli import main
from bench.data.dataset import Dataset
from bench.recipe import Recipe
from bench.registry import Offer, Plugin
from bench.store.results import ResultStore
from bench.testing import toy_split
from bench.training.method import Method
from bench_plugins.protocols.fairness import GroupFairness

PLUGIN = Plugin("my-plugin", "my-dist", "0.1", __name__)
RECIPE = Recipe(model="mlp", protocol="group_fairness", epochs=1, batch_size=32, val_batch_size=20)


def data():
    train, test, val = toy_split(200, 0), toy_split(60, 1), toy_split(40, 2)
    return Dataset("mine", train, test, ("no", "yes"), RECIPE, ("a", "b"), val=val, reference="made here")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a method on data; their loader, the protocol's view, or the `__post_init__` of the protocol or the method
    does something first.
    """
    registry = bench.registry.load(list(bench.registry.importlib.metadata.entry_points(group="bench")))
    monkeypatch.setattr(bench.registry, "installed", lambda: registry)

    def run(does, where="loader", view=None):
        known = {"name": "mine", "default": False, "view": view or (lambda self, dataset: [dataset, does()][0])}
        known |= {} if where == "view" else {"view": GroupFairness.view}
        known |= {"__post_init__": lambda self: does()} if where == "protocol" else {}
        protocol = dataclass(frozen=True)(type("Mine", (GroupFairness,), known))
        begun = {"__post_init__": lambda self: does()} if where == "method" else {}
        registry.offers["methods"]["mine"] = Offer(dataclass(type("Mine", (Method,), begun)), PLUGIN)
        registry.offers["protocols"]["mine"] = Offer(protocol, PLUGIN)
        registry.offers["datasets"]["mine"] = Offer(
            lambda files: [data(), does() if where == "loader" else 0][0], PLUGIN
        )
        out = tmp_path / str(random.random())
        words = ["run", "--method", "mine", "--dataset", "mine", "--protocol", "mine", "--out", str(out)]
        return CliRunner().invoke(main, words, catch_exceptions=False), out

    return run


SETS = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "grad mode": lambda: torch.set_grad_enabled(False),
    "flushing": lambda: torch.set_flush_denormal(True),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
}


@pytest.mark.parametrize("where", ["loader", "view", "protocol"])
def test_what_it_sets_is_put_back(run, where):
    numbers = []
    for does in (lambda: None, *SETS.values()):
        result, out = run(does, where)
        assert result.exit_code == 0, result.output
        (record,), _ = ResultStore(out / "results").load()
        numbers.append(record.reproducible())
    assert all(one == numbers[0] for one in numbers)
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("where", ["loader", "view", "protocol", "method"])
def test_what_it_replaces_is_named_and_nothing_is_run(run, monkeypatch, where):
    """ERM went up the loss, with status ok."""
    right = functional.cross_entropy
    result, out = run(lambda: setattr(functional, "cross_entropy", lambda *a, **k: -right(*a, **k)), where)
    assert functional.cross_entropy is right
    assert (result.exit_code, out.exists()) == (2, False)
    whose = {"loader": "data set", "view": "protocol"}.get(where, where)
    assert result.stderr.strip() == (
        f"error: my-dist 0.1: {whose} mine replaced torch.nn.functional.cross_entropy, "
        f"with which other code computes too"
    )


def shuffled_numpy(self, dataset):
    dataset.train.y.numpy()[:] = dataset.train.y.numpy()[::-1].copy()
    return dataset


WRITES = {
    "train.x": lambda self, dataset: [dataset, dataset.train.x.zero_()][0],
    "train.y": shuffled_numpy,
    "test.y": lambda self, dataset: [dataset, dataset.test.y.data.fill_(0)][0],
    "test.group": lambda self, dataset: dataclasses.replace(
        dataset, test=dataclasses.replace(dataset.test, group=dataset.test.group.sub_(dataset.test.group))
    ),
    "far.x": lambda self, dataset: [dataset, dataset.probes.update(far=dataset.test)][0],
}


@pytest.mark.parametrize("what", WRITES)
def test_a_view_that_writes_into_what_was_loaded_is_named_and_nothing_is_run(run, what):
    """The hash of the data in the record would be that of others."""
    result, out = run(None, "view", WRITES[what])
    assert (result.exit_code, out.exists()) == (2, False)
    assert result.stderr.startswith("error: my-dist 0.1: protocol mine: its view has written to ")
    assert what in result.stderr
    assert result.stderr.count("\n") == 1
