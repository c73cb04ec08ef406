"""Class imbalance: fewer training samples of some classes, the test data as they are."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from bench.data.dataset import Dataset
from bench.data.split import Split
from bench.errors import DataError, OptionError, ProtocolError
from bench.protocols.base import Claim, Protocol, Splits, by_class, hold_out, with_test
from bench.protocols.classes import drawn, least, only, per_class, profile_counts, without
from bench.recipe import Recipe
from bench.streams import Streams


@dataclass(frozen=True)
class Profiled(Protocol):
    """What the protocols with imbalanced training data share: see `Imbalance`, which documents the options."""

    group_is_class = True

    profile: Literal["long_tailed", "linear", "step"] = "long_tailed"
    factor: float = 100.0
    classes: tuple[str, ...] = ()
    validation: Literal["imbalanced", "balanced"] = "imbalanced"

    def check(self, dataset: Dataset) -> None:
        if self.factor <= 0:
            raise OptionError(f"protocol.factor must be above 0, not {self.factor:g}")
        chosen = len(self.classes) or len(dataset.classes)
        if chosen < 2:
            raise ProtocolError(f"{self.name} needs two classes or more, not {chosen}: see -o protocol.classes=A,B")

    def task(self, dataset: Dataset) -> Dataset:
        return only(dataset, self.classes)

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.classes

    def splits(self, dataset: Dataset, recipe: Recipe, streams: Streams) -> Splits:
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

    def _thinned(self, train: Split, counts: list[int], streams: Streams) -> Split:
        """So many samples of each class."""
        return train.select(drawn(train.y, counts, streams, "train"))

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        classes = len(dataset.classes)
        profile = Claim(tuple(profile_counts(self.profile, self.factor, 10**9, classes)))
        found = super().claims(dataset) | {"train": profile}
        if dataset.val is None:
            found["val"] = Claim((1,) * classes) if self.validation == "balanced" else profile
        return found


@dataclass(frozen=True)
class Imbalance(Profiled):
    """Class imbalance: the classes have fewer and fewer training samples; the test data keep their proportions.

    The samples of each class are drawn by seed. The first class keeps all that it has (the least that any class has,
    n_max), the last n_max / factor; rounding is down. The validation data are held out of the result and are as
    imbalanced, unless `validation` is `balanced`; a validation split of the data set's own stays as it is.

    profile: `long_tailed`, n_i = n_max factor^(-i / (C - 1)) (Cui et al. 2019; Cao et al. 2019, LDAM), of which two
        classes have the ratios factor : 1 of Zha, Gao, Ma, Xu; `linear`, n_i falls evenly; `step`, the first half of
        the classes has n_max, the other n_max / factor (Buda et al. 2018; Cao et al. 2019).
    factor: largest over smallest class; 1 leaves them balanced. Below 1 the order is reversed: 1/16 leaves the first
        class the fewest.
    classes: names of the classes to take, in order; empty: all.
    validation: `imbalanced`, or `balanced`: recipe.val_size samples, equally many of each class, are held out before
        the training data are made imbalanced, as for Meta-Weight-Net's and L2RW's clean data; n_max is smaller by that.
    labels: `faithful` repeats a defect of the code of Zha, Gao, Ma, Xu (Figure 9): of two classes, where the first has
        fewer samples, all samples of both are put in a row, and the n_0 labels 0 and n_1 labels 1 are zipped with the
        row from its start. For 1/16 most samples of class 0 are labelled 1: the result is no measurement of imbalance.
        To be compared with `correct`, not to be used.
    """

    name = "imbalance"
    version = 1
    metrics = ("balanced_accuracy", "macro_f1", "accuracy")
    reference = (
        "Cui, Jia, Lin, Song, Belongie 2019, section 5.1; Cao, Wei, Gaidon, Arechiga, Ma 2019, section 4; "
        "Zha, Gao, Ma, Xu, Figure 9"
    )

    labels: Literal["correct", "faithful"] = "correct"

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        chosen = len(self.classes) or len(dataset.classes)
        if self.labels == "faithful" and chosen != 2:
            raise ProtocolError(
                f"protocol.labels=faithful is for two classes, not {chosen}: choose them with -o protocol.classes=A,B"
            )

    def _thinned(self, train: Split, counts: list[int], streams: Streams) -> Split:
        if self.labels == "faithful":
            return _zipped_from_the_start(train, counts)
        return super()._thinned(train, counts, streams)


def _with_balanced_validation(dataset: Dataset, size: int, streams: Streams) -> Dataset:
    """With `size` validation samples, equally many of each class, taken from the training data. Raises DataError."""
    train, classes = dataset.train, len(dataset.classes)
    each = per_class(dataset.name, size, train.y, classes)
    taken = drawn(train.y, [each] * classes, streams, "val")
    return replace(dataset, val=train.select(taken), train=train.select(without(len(train), taken)))


def _zipped_from_the_start(split: Split, counts: list[int]) -> Split:
    """The defect: labels by position in a row of all samples, class after class."""
    row = torch.cat([(split.y == c).nonzero().squeeze(1) for c in range(2)])[: sum(counts)]
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    return replace(split.select(row), y=labels)
