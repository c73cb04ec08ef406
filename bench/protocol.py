"""What a protocol is, and the hold-outs that all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import DataError
from bench.recipe import Recipe
from bench.streams import RandomStreams

Metrics = dict[str, float]
Evaluate = Callable[[Split], Metrics]
"""Every metric of the model that is examined, on a split."""
if TYPE_CHECKING:
    from bench.training.method import Method
    from bench.training.stages import Stages


@dataclass(frozen=True)
class Prepared:
    """What is trained and evaluated: a method, and its data.

    left_out: samples that were drawn and are neither trained on nor validated with; the record counts them.
    arrays: what is kept beside the record, by name.
    """

    splits: Splits
    method: "Method"
    left_out: Mapping[str, Split] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What a protocol says of a split, for `bench.audit` to compare with what is there.

    shares: numbers in proportion to the samples of each group (of each class, where the group is the class); empty
        where it says nothing of them.
    wrong: fraction of the samples whose class is not the one that the data set gives the same input.
    """

    shares: tuple[float, ...] = ()
    wrong: float = 0.0


@dataclass(frozen=True)
class Protocol(ABC):
    """A standard task; the fields of a subclass are its options, each with the default that the tables are made with.

    Raise the version when results before and after a change cannot stand in one table.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    metrics: ClassVar[tuple[str, ...]]
    """What the tables show, the ranking one first, unless the data set's recipe says otherwise: names of metrics on
    the set `test`, or `set/metric`."""
    sets: ClassVar[Mapping[str, str]] = {}
    """What the sets are, besides `test`, that metrics are taken on or epochs chosen by: for the readers of tables."""
    default: ClassVar[bool] = False
    """Whether data sets are run under it whose recipe names no protocol: one of those that are installed says so."""
    group_is_class: ClassVar[bool] = False
    stackable: ClassVar[bool] = True
    """Whether runs under it can be trained stacked."""
    examines: ClassVar[bool] = False
    """Whether it has more to say of a trained model: see `examine`."""
    reference: ClassVar[str]

    def check(self, dataset: Dataset) -> None:
        """Raise ProtocolError, with the reason, when the data set cannot give what the protocol needs."""

    def view(self, dataset: Dataset) -> Dataset:
        """The data set as this protocol sees it, such as two of its classes."""
        return dataset

    @classmethod
    def about(cls) -> str:
        """What `bench show` tells beside the docstring."""
        return f"Version {cls.version}. Metrics: {', '.join(cls.metrics)}. Reference: {cls.reference}."

    @abstractmethod
    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        """Names of the groups."""

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        """The data of the run with these streams (of one seed), drawn by the purpose `split`."""
        return hold_out(dataset, recipe, streams)

    def examine(
        self, model: nn.Module, splits: Splits, streams: RandomStreams, evaluate: Evaluate
    ) -> dict[str, Metrics]:
        """Metrics by test set, of sets that are too many to evaluate in training or depend on the trained model.

        Called after the training, for the model of each selection rule, with the splits on its device.
        """
        return {}

    def prepare(self, splits: Splits, method: "Method", stages: "Stages") -> Prepared:
        """Choose the data, or what is trained on them, by trainings of its own, where it has any
        (`bench.training.stages`).

        splits: those of the run, on its device, without tests and probes; where `stages.on_val`, the validation data
        stand at the end of the training data too. method: the run's, which has not begun.
        """
        return Prepared(splits, method)

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        """What it says of `train`, `val` and `test` of `view(dataset)`: the data set's own proportions and labels."""

        def own(split: Split) -> Claim:
            label = split.y if self.group_is_class else split.group
            return Claim(tuple(label.bincount(minlength=len(self.groups(dataset))).tolist()))

        train = own(dataset.train)
        return {
            "train": train,
            "val": own(dataset.val) if dataset.val else train,
            "test": own(dataset.test) if dataset.test else train,
        }


def hold_out(dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
    """Test and validation data held out of the training data by seed, where the data set does not bring its own.

    The training data are then cut to `recipe.train_size`. Raises DataError when there are too few samples.
    """
    n = len(dataset.train)
    order = streams.draw(lambda g: torch.randperm(n, generator=g), "split")
    own = {"test_size": dataset.test, "val_size": dataset.val}
    sizes = {name: 0 if split else getattr(recipe, name) for name, split in own.items()}
    for name, split in own.items():
        if split is None and sizes[name] < 1:
            kind = {"test_size": "test", "val_size": "validation"}[name]
            raise DataError(f"{dataset.name} has no {kind} data of its own: recipe.{name} must be at least 1")
    left = n - sum(sizes.values())
    size = recipe.train_size or max(left, 1)
    if size > left:
        held = " and ".join(f"{held} for recipe.{name}" for name, held in sizes.items() if held)
        asked = f", fewer than recipe.train_size={size}" if recipe.train_size else ""
        raise DataError(
            f"{dataset.name}: {n} samples{f' less {held}' if held else ''} leave {max(left, 0)} for training{asked}: "
            f"ask for fewer"
        )
    test, val, train = order.split([sizes["test_size"], sizes["val_size"], left])
    return Splits(
        train=dataset.train if size == n else dataset.train.select(train[:size]),  # no copy of a memory map
        val=dataset.val or dataset.train.select(val),
        tests={"test": dataset.test or dataset.train.select(test)},
        probes=dataset.probes,
    )


def with_test(dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Dataset:
    """The data set with `recipe.test_size` samples held out by seed where it has no test data: for a protocol that
    changes the training data, before it does. Raises DataError when there are too few samples.
    """
    if dataset.test:
        return dataset
    n, size = len(dataset.train), recipe.test_size
    if not 0 < size < n:
        raise DataError(
            f"{dataset.name} has no test data of its own: recipe.test_size must be from 1 to {n - 1}, not {size}"
        )
    test, train = streams.draw(lambda g: torch.randperm(n, generator=g), "split").split([size, n - size])
    return replace(dataset, train=dataset.train.select(train), test=dataset.train.select(test))


def by_class(splits: Splits) -> Splits:
    """The same, where the group of a sample is its class."""

    def own(split: Split) -> Split:
        return replace(split, group=split.y)

    tests = {name: own(split) for name, split in splits.tests.items()}
    return replace(splits, train=own(splits.train), val=own(splits.val), tests=tests)
