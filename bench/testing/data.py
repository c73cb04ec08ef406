"""The contracts of a data set and of a protocol."""

import copy
import pickle
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench.audit import audit
from bench.data.dataset import Dataset
from bench.data.fitting import fit_on, fitted_dataset, statistics_of_tests
from bench.data.rules import check_loaded, check_normalisation, check_sets, sets_of
from bench.data.split import Augment, Split
from bench.errors import BenchError, OptionError
from bench.guards.tensors import tensors_of
from bench.metrics import metric_of
from bench.protocol import Protocol
from bench.recipe import check_recipe
from bench.registry import installed
from bench.streams import RandomStreams
from bench.testing.common import documented, equal, rules_hold, usable
from bench.testing.toys import toy_dataset

SAMPLES = 64
"""The most samples of a batch that an augmentation is tried on."""


def check_dataset(dataset: Dataset) -> None:
    """All contracts of a loaded data set."""
    with rules_hold():
        check_loaded(dataset)
    protocols = installed().offers["protocols"]
    protocol = dataset.recipe.protocol or installed().default_protocol
    assert protocol in protocols, f"its recipe names the unknown protocol {protocol!r}"
    for recipe in (dataset.recipe, *dataset.recipes.values()):
        try:
            check_recipe(recipe, {})
        except OptionError as error:
            raise AssertionError(f"a recipe of it is not valid: {error}") from None
    assert dataset.recipe.model, "its recipe names no model"
    assert dataset.reference, "a data set needs a reference"
    rows = dataset.train
    if dataset.fit or rows.x.is_floating_point():  # a memory map is not read whole
        rows = rows.select(torch.arange(0, len(rows), 2))
        _check_fit(dataset, rows)
        dataset = fitted_dataset(dataset, rows)
    with rules_hold():
        check_sets(dataset.name, {**sets_of(dataset), **dataset.probes})
        check_normalisation(dataset, dataset.train)
    if dataset.augment:
        _check_augment(dataset.augment, dataset.train)
    assert len(torch.unique(dataset.train.y)) == len(dataset.classes), "train lacks a class"
    if dataset.train.x.is_floating_point() and (made := statistics_of_tests(dataset, rows)):
        raise AssertionError(
            f"{made} the mean and the deviation of all rows, test rows among them: set standardize=True, or fit a "
            f"preprocessing on the run's training rows (`fit`)"
        )
    protocols[protocol].value().check(dataset)


def _check_fit(dataset: Dataset, rows: Split) -> None:
    """What it fits on these rows is the same each time, and makes each input of its row alone."""
    inputs, again = (fit_on(dataset, rows)(rows).x for _ in range(2))
    assert torch.equal(inputs, again), "its `fit` makes other inputs when it is fitted again on the same rows"
    third = torch.arange(0, len(rows), 3)
    alone = fit_on(dataset, rows)(rows.select(third)).x
    assert torch.allclose(inputs[third].float(), alone.float()), (
        "what its `fit` returns makes an input of more than its row: statistics belong into `fit`, which sees the "
        "training rows alone"
    )


def _check_augment(augment: Augment, train: Split) -> None:
    """It makes finite inputs like those it gets, which it leaves as they are, and draws from the generator alone."""
    for samples in {1, min(len(train), SAMPLES)}:
        x = train.batch(torch.arange(samples)).x
        given, states = x.clone(), _random_states()
        made, again = (augment(given, torch.Generator().manual_seed(0)) for _ in range(2))
        assert _random_states() == states, "its `augment` draws from another generator than the one that it gets"
        assert torch.equal(given, x), "its `augment` writes into the inputs that it gets"
        assert isinstance(made, torch.Tensor), f"its `augment` returns a {type(made).__name__}, expected a tensor"
        assert (made.shape, made.dtype) == (x.shape, x.dtype), (
            f"its `augment` returns {made.dtype} of {list(made.shape)}, expected {x.dtype} of {list(x.shape)}"
        )
        assert made.isfinite().all(), "its `augment` makes inputs that are not finite"
        assert torch.equal(made, again), "its `augment` makes other inputs with the same generator"


def _random_states() -> list[bytes]:
    """The state of every generator that code can draw from without being given it."""
    states = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state())
    return [pickle.dumps(state) for state in states]


def check_protocol(
    protocol: type[Protocol], options: Mapping[str, Any] | None = None, dataset: Dataset | None = None
) -> None:
    """All contracts of a protocol.

    Args:
        options: values of its options. None: the defaults.
        dataset: one that it fits. None: `bench.testing.toy_dataset`, of features, else of images.
    """
    assert issubclass(protocol, Protocol), f"{protocol.__name__} is no subclass of bench.Protocol"
    assert "__dataclass_params__" in vars(protocol), f"{protocol.__name__} needs @dataclass(frozen=True)"
    for what in ("name", "version", "metrics", "reference"):
        assert getattr(protocol, what, None), f"{protocol.__name__} needs a {what}"
    documented(protocol)
    usable("protocols", protocol)
    chosen = protocol(**(options or {}))
    for column in chosen.metrics:
        installed().find("metrics", metric_of(column))
    given = dataset or _dataset_for(chosen)
    chosen.check(given)
    before = copy.deepcopy(tensors_of(given))
    seen = chosen.view(given)
    splits, again, other = (chosen.splits(seen, seen.recipe, RandomStreams((seed,))) for seed in (0, 0, 1))
    assert before.keys() == tensors_of(given).keys(), "it adds splits to the data set that it is given"
    equal(before, tensors_of(given), "it changes the data set that it is given")
    assert "test" in splits.tests, "its splits have no test set of the name `test`"
    severe = [f.what for f in audit(seen, chosen, seen.recipe, splits, again) if f.severity == "severe"]
    assert not severe, f"its splits are not what it says of them: {'; '.join(severe)}"
    drawn, otherwise = (torch.cat([of.train.x, of.val.x]) for of in (splits, other))
    assert not torch.equal(drawn, otherwise), "the seed does not matter: nothing is drawn by the streams"


def _dataset_for(protocol: Protocol) -> Dataset:
    """A small data set that it fits."""
    reasons = []
    for images in (False, True):
        for groups in (("a", "b"), ()):
            dataset = toy_dataset(images, groups)
            try:
                protocol.check(dataset)
                return dataset
            except BenchError as error:
                reasons.append(str(error))
    raise AssertionError(f"it fits no small data set: give one as `dataset`: {'; '.join(dict.fromkeys(reasons))}")
