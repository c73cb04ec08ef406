"""Data and models that break a rule, on the command line: one line, exit code 2, no record and no checkpoint."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import bench.registry
from bench.cli import main
from bench.data.dataset import Dataset
from bench.data.split import Split
from bench.recipe import Recipe
from bench.registry import Offer, Plugin

RECIPE = Recipe(model="mlp", protocol="class_fairness", epochs=1, batch_size=32, val_size=40, val_batch_size=20)


def linear(shape, classes):
    """A model."""
    return nn.Linear(shape[0], classes)


def pair(shape, classes):
    """A model with a part for each class."""
    return nn.ModuleList(linear(shape, classes) for _ in range(2))


@pytest.fixture
def run_on(tmp_path, monkeypatch):
    """Runs ERM on training and test data; gives the result of the command, and the files that it has left."""
    monkeypatch.chdir(tmp_path)
    registry = bench.registry.load(list(bench.registry.importlib.metadata.entry_points(group="bench")))
    monkeypatch.setattr(bench.registry, "installed", lambda: registry)

    def run(train, test, model=linear, classes=("a", "b"), **more):
        dataset = replace(Dataset("mine", train, test, classes, RECIPE, reference="made here"), **more)
        for kind, value in (("datasets", lambda files: dataset), ("models", model)):
            registry.offers[kind]["mine"] = Offer(value, Plugin("my-plugin", "my-dist", "0.1"))
        words = ["run", "--method", "erm", "--dataset", "mine", "--model", "mine"]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        return result, [path for path in tmp_path.rglob("*") if path.is_file()]

    return run


def samples(n: int, seed: int) -> Split:
    """Of two easy classes in four dimensions."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (n,), generator=generator)
    return Split(torch.randn(n, 4, generator=generator) * 0.5 + torch.eye(4)[y] * 3, y, y)


def test_what_keeps_the_rules_is_run(run_on):
    result, files = run_on(samples(200, 0), samples(100, 1))
    assert result.exit_code == 0
    assert sorted(path.suffix for path in files if path.parent.name == "mine") == [".json", ".xz"]


def test_a_selection_metric_that_is_undefined_is_said(run_on):
    """With validation samples of one class there is no disparity of two."""
    train = samples(200, 0)
    val = train.select((train.y == 0).nonzero().squeeze(1))
    result, _ = run_on(train, samples(100, 1), val=val, recipe=replace(RECIPE, select="tprd"))
    assert result.exit_code == 0
    said = "erm, seed 0: validation tprd is undefined (NaN) at 1 of 1 evaluations: best validation tprd selects none"
    assert said in result.stderr.splitlines()


def outside(split: Split) -> Split:
    y = split.y.clone()
    y[:40] = 2
    return Split(split.x, y, y)


def not_a_number(split: Split) -> Split:
    return Split(split.x.masked_fill((split.y == 1).unsqueeze(1), torch.nan), split.y, split.y)


def in_bytes(split: Split) -> Split:
    return Split((split.x > 1).to(torch.uint8), split.y, split.y)


@pytest.mark.parametrize(
    ("train", "test", "more", "message"),
    [
        (samples(200, 0), outside(samples(100, 1)), {}, "mine: test has a class outside 0..1 in 40 of 100 samples"),
        (samples(200, 0), not_a_number(samples(100, 1)), {}, "mine: test has inputs that are not finite"),
        (in_bytes(samples(200, 0)), in_bytes(samples(100, 1)), {}, "mine: train has vectors of uint8"),
        (samples(200, 0), samples(100, 1), {"classes": ("a", "a")}, "mine: class names must be distinct"),
        (samples(200, 0), samples(100, 1).select(torch.arange(0)), {}, "mine: test is empty"),
        (
            samples(200, 0),
            samples(100, 1),
            {"model": pair},
            "my-dist 0.1: model mine fails in training on inputs [4, 4]",
        ),
    ],
)
def test_what_breaks_a_rule_is_one_line_and_leaves_nothing(run_on, train, test, more, message):
    result, files = run_on(train, test, **more)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert result.exit_code == 2
    assert lines[0].startswith(f"error: {message}")
    assert len(lines) == 1
    assert files == []
