"""Training data with fewer samples of some classes, for protocols that train on such."""

from dataclasses import dataclass, replace
from typing import Literal

from bench.checks import Checks
from bench.data.classes import drawn, least, only, per_class, profile_counts, without
from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import DataError, ProtocolError
from bench.protocol import Claim, Protocol, by_class, hold_out, with_test
from bench.recipe import Recipe
from bench.streams import RandomStreams


@dataclass(frozen=True)
class Profiled(Protocol):
    """What the protocols with imbalanced training data share.

    profile: `long_tailed`, `linear` or `step`, as `bench.data.classes.profile_counts` has them.
    factor: largest over smallest class; 1 leaves them balanced; below 1 the order is reversed.
    classes: names of the classes to take, in order; empty: all.
    validation: `imbalanced` as the training data, or `balanced`: equally many samples of each class.
    """

    group_is_class = True

    profile: Literal["long_tailed", "linear", "step"] = "long_tailed"
    factor: float = 100.0
    classes: tuple[str, ...] = ()
    validation: Literal["imbalanced", "balanced"] = "imbalanced"

    def check(self, dataset: Dataset) -> None:
        Checks(self, "protocol.").above(0, "factor")
        chosen = len(self.classes) or len(dataset.classes)
        if chosen < 2:
            raise ProtocolError(f"{self.name} needs two classes or more, not {chosen}: see -o protocol.classes=A,B")

    def view(self, dataset: Dataset) -> Dataset:
        return only(dataset, self.classes)

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.classes

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        dataset, classes = with_test(dataset, recipe, streams), len(dataset.classes)
        if self.validation == "balanced" and dataset.val is None:
            dataset = _with_balanced_validation(dataset, recipe.val_size, streams)
        counts = profile_counts(self.profile, self.factor, least(dataset.train.y, classes), classes)
        if min(counts) == 0:
            raise DataError(
                f"{dataset.name}: factor {self.factor:g} leaves {counts.count(0)} of {classes} classes without a "
                f"training sample (the largest has {max(counts)}): choose one that is nearer to 1"
            )
        thinned = replace(dataset, train=self._thinned(dataset.train, counts, streams))
        found = by_class(hold_out(thinned, recipe, streams))
        left = found.train.y.bincount(minlength=classes).tolist()
        if min(left) == 0:
            raise DataError(
                f"{dataset.name}: of {len(thinned.train)} samples at factor {self.factor:g}, {len(found.train)} are "
                f"left for training, and none of {left.count(0)} of {classes} classes: choose a factor nearer to 1, a "
                f"smaller recipe.val_size or protocol.validation=balanced"
            )
        return found

    def _thinned(self, train: Split, counts: list[int], streams: RandomStreams) -> Split:
        """So many samples of each class."""
        return train.select(drawn(train.y, counts, streams, "train"))

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        classes = len(dataset.classes)
        profile = Claim(tuple(profile_counts(self.profile, self.factor, 10**9, classes)))
        found = super().claims(dataset) | {"train": profile}
        if dataset.val is None:
            found["val"] = Claim((1,) * classes) if self.validation == "balanced" else profile
        return found


def _with_balanced_validation(dataset: Dataset, size: int, streams: RandomStreams) -> Dataset:
    """With `size` validation samples, equally many of each class, taken from the training data. Raises DataError."""
    train, classes = dataset.train, len(dataset.classes)
    each = per_class(dataset.name, size, train.y, classes)
    taken = drawn(train.y, [each] * classes, streams, "val")
    return replace(dataset, val=train.select(taken), train=train.select(without(len(train), taken)))
