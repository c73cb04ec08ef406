"""The base of all protocols, and the hold-outs that they share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import DataError
from bench.recipe import Recipe
from bench.streams import RandomStreams

Metrics = dict[str, float]


class Evaluate(Interface):
    """Gives every metric of the model that is being examined."""

    def __call__(self, split: Split, name: str = "") -> Metrics:
        """Evaluate the model.

        Args:
            split: the test set.
            name: of the test set, for messages; without one it is known by its number.
        """


if TYPE_CHECKING:
    from bench.training.method import Method
    from bench.training.stages import Stages


@dataclass(frozen=True)
class Prepared:
    """A method and its data, ready to be trained and evaluated.

    Attributes:
        splits: the data.
        method: what is trained on them.
        left_out: by name, samples that the run drew and uses neither for training nor for validation; the record holds
            their numbers.
        arrays: by name, arrays that are stored beside the record. A protocol that chooses the training data anew tells
            of each where it was in the row of the training and validation data that its `splits` drew, by the name
            `train/position` [N]: pictures of training images look for it.
    """

    splits: Splits
    method: "Method"
    left_out: Mapping[str, Split] = field(default_factory=dict)
    arrays: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What a protocol claims about a split, so that `bench.audit` can compare it with the data.

    Attributes:
        shares: numbers in proportion to the samples of each group (of each class, if the group is the class); empty:
            the protocol claims nothing about them.
        wrong: fraction of the samples that have another class than the data set gives to the same input.
    """

    shares: tuple[float, ...] = ()
    wrong: float = 0.0


@dataclass(frozen=True)
class Protocol(ABC):
    """A standard task: how the data of a run are drawn from a data set, and which metrics are taken.

    The fields of a subclass are its options. Their defaults are those that the tables are made with.
    """

    name: ClassVar[str]
    """The name that the protocol is registered as."""
    version: ClassVar[int]
    """Raised by a change whose results cannot stand in one table with the results before it."""
    metrics: ClassVar[tuple[str, ...]]
    """Metrics that the tables show, the one that ranks methods first, unless the data set's recipe names others: names
    of metrics on the set `test`, or `set/metric`."""
    select: ClassVar[str] = "accuracy"
    """The validation metric of the selection rule `best validation`, unless the recipe names another. Under imbalance
    it must not be the accuracy, which a model that always predicts the largest class maximises."""
    concludes_by_validation: ClassVar[bool] = False
    """Whether the task is concluded by the models of the rule `best validation`, rather than by those of the last
    epoch. Either way the tables of the other rule are there too, and exploratory."""
    problem: ClassVar[str] = ""
    """What somebody has to whom the task is of use, in a few words that follow `I have`, such as `noisy labels`."""
    sets: ClassVar[Mapping[str, str]] = {}
    """Name of each set besides `test` that metrics are taken or epochs chosen on -> description for tables' readers."""
    default: ClassVar[bool] = False
    """Whether data sets whose recipe names no protocol are run under this one. One installed protocol declares this."""
    group_is_class: ClassVar[bool] = False
    """Whether the group of a sample is its class."""
    stackable: ClassVar[bool] = True
    """Whether runs under this protocol can be trained stacked."""
    examines: ClassVar[bool] = False
    """Whether this protocol takes further metrics of a trained model, by `examine`."""
    reference: ClassVar[str]
    """Where the task is published."""

    @property
    def needs_gradient(self) -> bool:
        """Whether it takes the gradient of a trained model, as attacks do. Then methods whose models have none
        (`Method.differentiable`) are not applicable.
        """
        return False

    def check(self, dataset: Dataset) -> None:
        """Check that the data set has what the protocol needs.

        Raises:
            ProtocolError: with the reason, if it has not.
        """

    def view(self, dataset: Dataset) -> Dataset:
        """The data set as this protocol sees it, such as two of its classes."""
        return dataset

    @classmethod
    def details(cls) -> str:
        """What `bench show` prints below the docstring."""
        metrics = f"Metrics: {', '.join(cls.metrics)}. Epochs are selected by validation {cls.select}."
        return f"Version {cls.version}. {metrics} Reference: {cls.reference}."

    @abstractmethod
    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        """Names of the groups, by group number."""

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        """The data of one run.

        Args:
            dataset: the data set as this protocol sees it (`view`).
            recipe: the run's.
            streams: of one seed; the data are drawn from them by the purpose `split`.

        Raises:
            DataError: when there are too few samples.
        """
        return hold_out(dataset, recipe, streams)

    def examine(
        self, model: nn.Module, splits: Splits, streams: RandomStreams, evaluate: Evaluate
    ) -> dict[str, Metrics]:
        """Take metrics on further test sets: those that are too many to evaluate during training, or that depend on the
        trained model. Called after the training, once for each selection rule.

        Args:
            model: the one that the selection rule has chosen.
            splits: the run's, on the device of the model.
            streams: the run's.
            evaluate: gives the metrics of the model on a split, whose name messages say.

        Returns:
            Name of the test set -> metrics.
        """
        return {}

    def prepare(self, splits: Splits, method: "Method", stages: "Stages") -> Prepared:
        """Choose the data, or the method that is trained on them, by trainings before the one that is evaluated.

        Most protocols have no such trainings: both stay as they are.

        Args:
            splits: those of the run on its device, without tests and probes. With `stages.on_val` the training data end
                with the validation data.
            method: the run's, which has not begun.
            stages: trains methods (`bench.training.stages`).
        """
        return Prepared(splits, method)

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        """What the protocol claims about the splits of a run: here, the proportions and labels of the data set.

        Args:
            dataset: the data set as this protocol sees it (`view`).

        Returns:
            The claims about `train`, `val` and `test`.
        """

        def unchanged(split: Split) -> Claim:
            label = split.y if self.group_is_class else split.group
            return Claim(tuple(label.bincount(minlength=len(self.groups(dataset))).tolist()))

        train = unchanged(dataset.train)
        return {
            "train": train,
            "val": unchanged(dataset.val) if dataset.val else train,
            "test": unchanged(dataset.test) if dataset.test else train,
        }


def hold_out(dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
    """The splits of a data set, with test and validation data held out of the training data by the seed if the data set
    does not bring them.

    Args:
        dataset: whose splits are taken, or made from its training data.
        recipe: gives the numbers of samples that are held out, `test_size` and `val_size`, and then the number that is
            trained on, `train_size`.
        streams: of one seed.

    Raises:
        DataError: when there are too few samples.
    """
    n = len(dataset.train)
    order = streams.draw(lambda g: torch.randperm(n, generator=g), "split")
    provided = {"test_size": dataset.test, "val_size": dataset.val}
    sizes = {}
    for name, split in provided.items():
        sizes[name] = 0 if split else getattr(recipe, name)
        if split is None and sizes[name] < 1:
            kind = {"test_size": "test", "val_size": "validation"}[name]
            raise DataError(f"{dataset.name} has no {kind} data of its own: recipe.{name} must be at least 1")
    left = n - sum(sizes.values())
    size = recipe.train_size or max(left, 1)
    if size > left:
        held_out = " and ".join(f"{count} for recipe.{name}" for name, count in sizes.items() if count)
        less = f" less {held_out}" if held_out else ""
        asked = f", fewer than recipe.train_size={size}" if recipe.train_size else ""
        raise DataError(f"{dataset.name}: {n} samples{less} leave {max(left, 0)} for training{asked}: ask for fewer")
    test, val, train = order.split([sizes["test_size"], sizes["val_size"], left])
    return Splits(
        train=dataset.train if size == n else dataset.train.select(train[:size]),  # `select` would copy a memory map
        val=dataset.val or dataset.train.select(val),
        tests={"test": dataset.test or dataset.train.select(test)},
        probes=dataset.probes,
    )


def with_test(dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Dataset:
    """The data set with test data, for protocols that change the training data afterwards.

    Args:
        dataset: returned as it is if it has test data.
        recipe: of its training data, `test_size` samples are held out by the seed.
        streams: of one seed.

    Raises:
        DataError: when there are too few samples.
    """
    if dataset.test:
        return dataset
    n = len(dataset.train)
    size = recipe.test_size
    if not 0 < size < n:
        raise DataError(
            f"{dataset.name} has no test data of its own: recipe.test_size must be from 1 to {n - 1}, not {size}"
        )
    test, train = streams.draw(lambda g: torch.randperm(n, generator=g), "split").split([size, n - size])
    return replace(dataset, train=dataset.train.select(train), test=dataset.train.select(test))


def by_class(splits: Splits) -> Splits:
    """The same splits, but the group of each sample is its class."""

    return replace(
        splits,
        train=splits.train.with_class_as_group(),
        val=splits.val.with_class_as_group(),
        tests={name: split.with_class_as_group() for name, split in splits.tests.items()},
    )
