"""The contract of protocols over everything that is installed, and that each point of it can be broken."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.protocol import Claim, Protocol
from bench.recipe import Recipe
from bench.registry import installed
from bench.streams import RandomStreams
from bench.testing import check_protocol, toy_dataset

PROTOCOLS = sorted(installed().offers["protocols"])


def four_classes() -> Dataset:
    """The classes a to d, each one of the four combinations of class and group of the toy data."""
    dataset = toy_dataset(groups=())
    binary = toy_dataset()

    def quarters(split: Split, labelled: Split) -> Split:
        y = 2 * labelled.y + labelled.group
        return replace(split, y=y, group=y)

    assert dataset.test and binary.test
    train = quarters(dataset.train, binary.train)
    return replace(dataset, train=train, test=quarters(dataset.test, binary.test), classes=tuple("abcd"))


OPTIONS: dict[str, dict[str, Any]] = {
    "covariate_shift": {"parts": ("a+b", "c+d"), "ratio": 4.0},
    "label_noise": {"target": "yes"},
}
DATA: dict[str, Callable[[], Dataset]] = {"covariate_shift": four_classes}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocol(name):
    make = DATA.get(name)
    protocol = installed().find("protocols", name).value
    check_protocol(protocol, OPTIONS.get(name), make() if make else None)
    assert protocol.name == name


@dataclass(frozen=True)
class Plain(Protocol):
    """Nothing but hold-outs."""

    name = "plain"
    version = 1
    metrics = ("accuracy",)
    reference = "made up"

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.groups


@dataclass(frozen=True)
class Scaling(Plain):
    """Changes the data set in place."""

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        dataset.train.x.mul_(0.5)
        return super().splits(dataset, recipe, streams)


@dataclass(frozen=True)
class Elsewhere(Plain):
    """Its test set has another name."""

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        splits = super().splits(dataset, recipe, streams)
        return replace(splits, tests={"exam": splits.tests["test"]})


@dataclass(frozen=True)
class Leaking(Plain):
    """Validates on training samples."""

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        splits = super().splits(dataset, recipe, streams)
        return replace(splits, val=splits.train)


@dataclass(frozen=True)
class Boasting(Plain):
    """Claims proportions that are not there."""

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        return super().claims(dataset) | {"train": Claim((1, 9))}


@dataclass(frozen=True)
class Global(Plain):
    """Draws from torch's global generator."""

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        splits = super().splits(dataset, recipe, streams)
        return replace(splits, train=splits.train.select(torch.randperm(len(splits.train))[:100]))


@dataclass(frozen=True)
class Fixed(Plain):
    """The same for every seed."""

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        return super().splits(dataset, recipe, RandomStreams((7,)))


@dataclass(frozen=True)
class Demanding(Plain):
    """Fits nothing."""

    def check(self, dataset: Dataset) -> None:
        from bench.errors import ProtocolError

        raise ProtocolError("it needs a thousand classes")


class Undecorated(Plain):
    """No dataclass of its own."""


@dataclass(frozen=True)
class Unmeasured(Plain):
    """Its metric is not there."""

    metrics = ("accuracy", "corrupted/charm")


@dataclass(frozen=True)
class Sourceless(Plain):
    """Without a reference."""

    reference = ""


@dataclass(frozen=True)
class Silent(Plain):
    pass


def test_a_protocol_without_fault_passes():
    check_protocol(Plain)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (Scaling, "it changes the data set"),
        (Elsewhere, "no test set of the name `test`"),
        (Leaking, "its splits are not what it says of them"),
        (Boasting, "its splits are not what it says of them: train"),
        (Global, "drawn twice with the same seed, these come out differently: train"),
        (Fixed, "the seed does not matter"),
        (Demanding, "it fits no small data set: give one as `dataset`: it needs a thousand classes"),
        (Undecorated, r"needs @dataclass\(frozen=True\)"),
        (Sourceless, "Sourceless needs a reference"),
        (Silent, "Silent needs a docstring"),
    ],
)
def test_a_protocol_that_breaks_its_contract_is_found(protocol, message):
    with pytest.raises(AssertionError, match=message):
        check_protocol(protocol)


def test_a_protocol_of_unknown_metrics_is_found():
    with pytest.raises(Exception, match="unknown metric 'charm'"):
        check_protocol(Unmeasured)
