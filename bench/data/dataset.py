"""A data set: its splits, and everything that a run needs to know about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.data.split import Augment, Split
from bench.recipe import Recipe


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
            empty: it is not normalised.
        augment: random augmentation of training batches; None: there is none.
        reference: citation.
        revision: which data these are: a hash of the checksums or contents of the files. Empty: the hash of the tensors
            says it.
        unofficial: name of each file whose checksum is not the official one -> hash of its content; tables mark rows on
            such data.
        content: hash of the tensors (`bench.data.content`), which `bench` takes when it has loaded the data set.
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
    augment: Augment | None = None
    reference: str = ""
    revision: str = ""
    unofficial: Mapping[str, str] = field(default_factory=dict)
    content: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: (C, H, W) or (D,)."""
        return tuple(self.train.x.shape[1:])
