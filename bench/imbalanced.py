"""The base of protocols whose training data have fewer samples of some classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from bench.checks import Checks
from bench.data.classes import drawn, least, only, without
from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import DataError, ProtocolError
from bench.protocol import Claim, Protocol, by_class, hold_out, with_test
from bench.recipe import Recipe
from bench.streams import RandomStreams


@dataclass(frozen=True)
class ImbalancedTraining(Protocol):
    """The base of protocols with imbalanced training data.

    Attributes:
        profile: how the numbers of samples fall from class to class: `long_tailed`, `linear` or `step`
            (`profile_counts`).
        factor: samples of the largest class over those of the smallest. 1 leaves the classes balanced; below 1 the
            order of the classes is reversed.
        classes: names of the classes to take, in order; empty: all.
        validation: `imbalanced` like the training data, or `balanced`: the same number of samples of each class.
    """

    group_is_class = True
    select = "balanced_accuracy"

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
        classes = len(dataset.classes)
        dataset = with_test(dataset, recipe, streams)
        if self.validation == "balanced" and dataset.val is None:
            dataset = _with_balanced_validation(dataset, recipe.val_size, streams)
        counts = profile_counts(self.profile, self.factor, least(dataset.train.y, classes), classes)
        if min(counts) == 0:
            raise DataError(
                f"{dataset.name}: factor {self.factor:g} leaves {counts.count(0)} of {classes} classes without a "
                f"training sample (the largest has {max(counts)}): choose a factor nearer to 1"
            )
        thinned = replace(dataset, train=self._thinned(dataset.train, counts, streams))
        splits = by_class(hold_out(thinned, recipe, streams))
        left = splits.train.y.bincount(minlength=classes).tolist()
        if min(left) == 0:
            raise DataError(
                f"{dataset.name}: of {len(thinned.train)} samples at factor {self.factor:g}, {len(splits.train)} are "
                f"left for training, and none of {left.count(0)} of {classes} classes: choose a factor nearer to 1, a "
                f"smaller recipe.val_size or protocol.validation=balanced"
            )
        return splits

    def _thinned(self, train: Split, counts: list[int], streams: RandomStreams) -> Split:
        """As many samples of each class as `counts` says, drawn by the seed."""
        return train.select(drawn(train.y, counts, streams, "train"))

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        classes = len(dataset.classes)
        profile = Claim(tuple(profile_counts(self.profile, self.factor, 10**9, classes)))
        claims = super().claims(dataset) | {"train": profile}
        if dataset.val is None:
            claims["val"] = Claim((1,) * classes) if self.validation == "balanced" else profile
        return claims


def profile_counts(profile: str, factor: float, n_max: int, classes: int) -> list[int]:
    """How many samples each class has under a profile.

    Args:
        profile: how the numbers fall from the first class to the last: `long_tailed` in geometric steps, as in the
            public code of LDAM; `linear` in equal steps; `step`: the first half of the classes have n_max samples, the
            others n_max / factor.
        factor: samples of the first class over those of the last; below 1 the classes are in reverse order.
        n_max: samples of the largest class.
        classes: number of classes, at least 2.

    Returns:
        The number of samples of each class, rounded down.
    """
    shrink = max(factor, 1 / factor)
    fractions: dict[str, Callable[[float], float]] = {
        "long_tailed": lambda place: shrink**-place,
        "linear": lambda place: 1 - place * (1 - 1 / shrink),
        "step": lambda place: 1 if place < 0.5 else 1 / shrink,
    }
    places = [i / (classes - 1) for i in range(classes)]
    counts = [int(n_max * fractions[profile](place) + 1e-9) for place in places]  # 1e-9: 100 * 0.29 is 28.999...
    return counts if factor >= 1 else counts[::-1]


def per_class(name: str, size: int, y: Tensor, classes: int) -> int:
    """How many validation samples each class gets if they are balanced.

    Args:
        name: of the data set, for messages.
        size: number of validation samples.
        y: [N], the classes of the samples that the validation samples are taken from.
        classes: number of classes.

    Raises:
        DataError: if `size` is no multiple of `classes`, or would leave none of a class's samples.
    """
    each, rest = divmod(size, classes)
    if rest or not 0 < each < least(y, classes):
        raise DataError(
            f"{name}: protocol.validation=balanced needs recipe.val_size to be a multiple of {classes} classes that "
            f"leaves some of the {least(y, classes)} samples of the smallest, not {size}"
        )
    return each


def _with_balanced_validation(dataset: Dataset, size: int, streams: RandomStreams) -> Dataset:
    """Take `size` validation samples out of the training data, the same number of each class. Raises DataError."""
    train = dataset.train
    classes = len(dataset.classes)
    each = per_class(dataset.name, size, train.y, classes)
    held_out = drawn(train.y, [each] * classes, streams, "val")
    return replace(dataset, val=train.select(held_out), train=train.select(without(len(train), held_out)))
