"""A data set: its splits, and everything that a run needs to know about them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from bench.data.split import Augment, Split, check_fields
from bench.errors import DataError
from bench.recipe import Recipe

Fit = Callable[[Split], Callable[[Tensor], Tensor]]
"""The training rows of a run -> a function that makes inputs of rows, [n, ...] -> [n, ...], each of its row alone."""


@dataclass(frozen=True)
class Dataset:
    """A data set, with everything that a run needs to know about it.

    Attributes:
        name: for messages and records: that by which the plugin offers the data set.
        train: training data.
        test: test data; None: the protocol holds some out of the training data.
        classes: names of the classes, by class number.
        recipe: how the data set is trained on under the protocol that this recipe names.
        groups: names of the groups of the sensitive attribute, by group number; empty if there is none: then the group
            of a sample is its class.
        recipes: name of a protocol -> how the data set is trained on under it, for further protocols.
        val: validation data; None: the protocol holds some out of the training data.
        probes: name -> inputs that are of none of the classes, to see what a model predicts there.
        mean, std: of each input channel or feature, in units of [0, 1], for the model to normalise its input with;
            empty: it is not normalised. Constants that no test row has a part in, such as the published ones of
            official training data.
        standardize: whether the model normalises its input with the mean and the standard deviation of the run's
            training rows. Then `mean` and `std` are empty.
        fit: fits a preprocessing of the inputs on the run's training rows, such as one with thresholds at quantiles.
            The splits here hold the rows before it. It is fitted once for each run, on the rows that the protocol draws
            for training (with `--validation paper` the validation rows among them), and applied to all of its splits.
            None: the inputs are as they are.
        augment: random augmentation of training batches; None: there is none.
        reference: citation.
        revision: which data these are: a hash of the checksums or contents of the files. Empty: the hash of the tensors
            says it.
        unofficial: name of each file whose checksum is not the official one -> hash of its content; tables mark rows on
            such data.
        content: hash of the tensors (`bench.data.content`), which `bench` takes when it has loaded the data set.

    Raises:
        DataError: for a split whose fields have different lengths or other types, and for two ways to normalise.
    """

    name: str
    train: Split
    test: Split | None
    classes: tuple[str, ...]
    recipe: Recipe
    groups: tuple[str, ...] = ()
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    val: Split | None = None
    probes: Mapping[str, Split] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    standardize: bool = False
    fit: Fit | None = None
    augment: Augment | None = None
    reference: str = ""
    revision: str = ""
    unofficial: Mapping[str, str] = field(default_factory=dict)
    content: str = ""

    def __post_init__(self) -> None:
        if self.standardize and (self.mean or self.std):
            raise DataError(
                f"{self.name}: inputs are normalised with the constants `mean` and `std`, or with those of the run's "
                f"training rows (`standardize`), not with both"
            )
        check_fields({"train": self.train, "val": self.val, "test": self.test, **self.probes}, self.name)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input as a model gets it: (C, H, W) or (D,).

        Where `fit` makes inputs, of one made after fitting on all of `train`; a run's can differ where they depend on
        the rows.
        """
        if self.fit is None:
            return tuple(self.train.x.shape[1:])
        first = self.train.select(torch.arange(1))
        return tuple(self.fit(self.train)(first.x).shape[1:])
