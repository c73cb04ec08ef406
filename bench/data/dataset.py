"""A data set: its splits, and all that a run needs to know of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.data.split import Augment, Split
from bench.recipe import Recipe


@dataclass(frozen=True)
class Dataset:
    """Data with all that a run needs to know of it.

    Attributes:
        train, test: splits; `test` None where the protocol has to hold one out. `val`: the data set's own validation
            split, or None where the protocol has to hold one out.
        recipe: how it is trained on, under the protocol that it names. `recipes`: under others, by their names.
        classes: names of the classes, by class number.
        groups: names of the groups of the sensitive attribute; empty where there is none (then `group` is the class).
        probes: inputs of none of its classes, to see what is predicted there.
        mean, std: of each input channel or feature, in [0, 1] units, which the model normalises with, or empty.
        augment: random augmentation of training batches, or None.
        reference: citation. `revision`: which data these are: the hash of the official files' checksums or contents.
        unofficial: content hash of each file whose checksum is not the official one; tables mark such rows.
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

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input: (C, H, W) or (D,)."""
        return tuple(self.train.x.shape[1:])
