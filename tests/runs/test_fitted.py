"""Whole runs: what is fitted is fitted on the training rows of the run, and an extreme value in a test row moves
nothing of the training.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import Dataset, Files, Method, RandomStreams, Recipe, Split
from bench.data.split import Splits
from bench.models.normalize import Normalize
from bench.models.stack import unstack
from bench.registry import installed
from bench.runs.build import loaded_splits, model_builder, new_task, splits_of
from bench.runs.experiment import Experiment, Request
from bench.runs.resolve import resolve
from bench.runs.runner import run
from bench.testing import toy_split, train
from bench_plugins.protocols.fairness import GroupFairness
from tests import twins
from tests.experiments import CPU, Plain, toy_experiment

SHORT = {"recipe.steps": 5, "recipe.train_size": 120, "recipe.val_size": 60, "recipe.test_size": 80}
SHORT |= {"recipe.min_per_group": 1, "recipe.batch_size": 30, "recipe.val_batch_size": 30}
FITTED = {"adult": {}, "compas": {}, "communities": {"standardize": True}}
"""The data sets with statistics of rows, and the options that make them."""
RECIPE = Recipe(protocol="group_fairness", lr=0.05, epochs=2, batch_size=16, val_size=40, test_size=60)


def asked(name: str, validation: str = "shared", change: Callable[[Dataset], Dataset] = lambda d: d) -> Experiment:
    """ERM on a twin of a data set, changed before it is drawn from."""
    with tempfile.TemporaryDirectory() as folder:
        getattr(twins, name)(Path(folder))
        files = Files(Path(folder), allow_unofficial=True, download=False)
        loaded = installed().find("datasets", name).value(files, **FITTED[name])
    request = Request(name, "erm", options=SHORT, validation=validation)
    return resolve(request, files, loaded=change(loaded))


def marked(dataset: Dataset, test: Split) -> Dataset:
    """The data set with extreme values in every row of this test split."""
    if dataset.test:
        return replace(dataset, test=replace(dataset.test, x=dataset.test.x + 1e6))
    wanted = {row.numpy().tobytes() for row in test.x}
    is_test = torch.tensor([row.numpy().tobytes() in wanted for row in dataset.train.x])
    x = torch.where(is_test.unsqueeze(1), dataset.train.x + 1e6, dataset.train.x)
    return replace(dataset, train=replace(dataset.train, x=x))


def drawn(experiment: Experiment, seed: int = 0) -> Splits:
    """As they were loaded."""
    return experiment.protocol.splits(experiment.dataset, experiment.recipe, RandomStreams((seed,)))


def weights(experiment: Experiment) -> dict[str, torch.Tensor]:
    """All that is left of a training."""
    streams = RandomStreams((0,))
    task = new_task(experiment, loaded_splits(experiment, streams, CPU), streams, CPU)
    return train(experiment.new_method(), task).state_dict()


@pytest.mark.parametrize("validation", ["shared", "paper"])
@pytest.mark.parametrize("name", FITTED)
def test_a_marker_in_test_rows_changes_nothing_of_the_training(name: str, validation: str) -> None:
    usual = asked(name, validation)
    test = drawn(usual).tests["test"]
    other = asked(name, validation, lambda dataset: marked(dataset, test))
    before, after = splits_of(usual, 0), splits_of(other, 0)
    assert drawn(other).tests["test"].x.max() >= 1e6, "the marker is in the test rows"
    for a, b in ((before.train, after.train), (before.val, after.val)):
        assert torch.equal(a.x, b.x)
    first, second = weights(usual), weights(other)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", FITTED)
def test_a_marker_in_training_rows_changes_it(name: str) -> None:
    """So the tests above look at something that depends on rows."""
    usual = asked(name)
    other = asked(name, change=lambda d: replace(d, train=replace(d.train, x=d.train.x * 2 + 1)))
    first, second = weights(usual), weights(other)
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_compas_has_the_thresholds_of_each_runs_training_rows() -> None:
    experiment = asked("compas")
    for seed in range(2):
        rows, made = drawn(experiment, seed), splits_of(experiment, seed)
        priors = np.percentile(rows.train.x[:, -1].numpy(), [0, 50, 70, 80, 90])
        expected = rows.tests["test"].x[:, -1:].double().numpy() > priors
        assert np.array_equal(made.tests["test"].x[:, -5:].numpy(), expected)


def test_with_paper_validation_the_validation_rows_are_training_rows() -> None:
    rows = drawn(asked("compas"))
    both = torch.cat([rows.train.x, rows.val.x])
    made = splits_of(asked("compas", "paper"), 0)
    expected = both[:, -1:].double().numpy() > np.percentile(both[:, -1].numpy(), [0, 50, 70, 80, 90])
    assert np.array_equal(made.train.x[:, -5:].numpy(), expected)


# Standardised inputs


def standardised(**recipe: object) -> Experiment:
    made = toy_experiment(RECIPE, GroupFairness(), Plain, "shared", recipe, {}, ("a", "b"))
    return replace(made, dataset=replace(made.dataset, mean=(), std=(), standardize=True))


def test_a_standardised_run_is_that_on_rows_standardised_by_hand() -> None:
    """By the mean and the deviation of its training rows."""
    experiment, streams = standardised(), RandomStreams((0,))
    splits = loaded_splits(experiment, streams, CPU)
    mean, std = splits.train.x.double().mean(0), splits.train.x.double().std(0, correction=0)

    def by_hand(split: Split) -> Split:
        return replace(split, x=((split.x - mean) / std).float())

    other = replace(experiment, dataset=replace(experiment.dataset, standardize=False))
    hand = replace(splits, train=by_hand(splits.train), val=by_hand(splits.val))
    inside, outside = (
        train(Method(), new_task(of, data, streams, CPU)).state_dict()
        for of, data in ((experiment, splits), (other, hand))
    )
    for name, value in outside.items():
        torch.testing.assert_close(inside[f"1.{name}"], value, rtol=1e-4, atol=1e-5)


def test_the_model_is_normalised_by_the_rows_that_it_is_trained_on() -> None:
    """As those of a training before, on other rows: such as what a protocol leaves of them."""
    experiment, streams = standardised(), RandomStreams((0,))
    some = toy_split(30, 5)
    normalise = model_builder(experiment, some, streams, CPU)()[0]
    assert isinstance(normalise, Normalize)
    torch.testing.assert_close(normalise(some.x).mean(0), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(normalise(some.x).std(0, correction=0), torch.ones(3))


def test_stacked_runs_are_standardised_as_single_ones(store) -> None:
    experiment, seeds = standardised(), (0, 1, 2)
    streams = RandomStreams(seeds, stacked=True)
    stack = unstack(new_task(experiment, loaded_splits(experiment, streams, CPU), streams, CPU).new_model())
    for seed, model in zip(seeds, stack, strict=True):
        alone = RandomStreams((seed,))
        single = new_task(experiment, loaded_splits(experiment, alone, CPU), alone, CPU).new_model()
        assert all(torch.equal(model.state_dict()[key], value) for key, value in single.state_dict().items())
    together = run(experiment, seeds, store, CPU, stacked=True)
    assert all(result.costs.captured for result in together) == Method.capturable
    for seed, result in zip(seeds, together, strict=True):
        (single,) = run(experiment, [seed], store, CPU)
        found, expected = (r.selected["last"].metrics["test"]["ece"] for r in (result, single))
        assert found == pytest.approx(expected, rel=1e-4)


def test_stacked_runs_with_inputs_of_other_shapes_are_refused_in_one_line() -> None:
    first, second = (Split(torch.rand(2, width), torch.arange(2), torch.arange(2)) for width in (3, 4))
    with pytest.raises(Exception, match=r"inputs of \[3\] or \[4\], which cannot be stacked: leave out --stack"):
        Split.stack([first, second])
