"""Class imbalance: fewer training samples of some classes, the test data as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from bench import hookimpl
from bench.data.dataset import Dataset
from bench.data.split import Split
from bench.errors import ProtocolError
from bench.imbalanced import ImbalancedTraining
from bench.protocol import Protocol
from bench.streams import RandomStreams


@dataclass(frozen=True)
class Imbalance(ImbalancedTraining):
    """Class imbalance: the classes have fewer and fewer training samples; the test data keep their proportions.

    The samples of each class are drawn by seed. The first class keeps n_max samples, the least number that any class
    has; the last class keeps n_max / factor. Numbers are rounded down. The validation data are held out of the result
    and are as imbalanced, unless `validation` is `balanced`; a data set's own validation split stays as it is.

    Source: Cui, Jia, Lin, Song, Belongie 2019, section 5.1; Cao, Wei, Gaidon, Arechiga, Ma 2019 (LDAM), section 4; Buda
    et al. 2018; Zha, Gao, Ma, Xu, Figure 9.

    Options:
        profile: `long_tailed` (the default): n_i = n_max factor^(-i / (C - 1)) (Cui et al. 2019; Cao et al. 2019); two
            classes then have the ratios factor : 1 of Zha, Gao, Ma, Xu. `linear`: n_i falls evenly. `step`: the first
            half of the classes has n_max, the other half n_max / factor (Buda et al. 2018; Cao et al. 2019).
        factor: size of the largest class over that of the smallest; 1 leaves them balanced. Below 1 the order is
            reversed: 1/16 leaves the first class the fewest. Default: 100.
        classes: names of the classes to take, in order. Default: empty, all.
        validation: `imbalanced` (the default), or `balanced`: recipe.val_size samples, equally many of each class, are
            held out before the training data are made imbalanced, as for Meta-Weight-Net's and L2RW's clean data; n_max
            is smaller by the number that is held out of each class.
        labels: `correct` (the default), or `faithful`, which repeats a defect of the code of Zha, Gao, Ma, Xu (Figure
            9) and is to be compared with `correct`, not to be used. Of two classes, where the first has fewer samples,
            all samples of both are put in a row, and the n_0 labels 0 and n_1 labels 1 are zipped with the row from its
            start. For 1/16 most samples of class 0 are labelled 1, and the result is no measurement of imbalance.

    Raises:
        ProtocolError: for fewer than two classes, and with `labels=faithful` for a number of classes other than two.
        OptionError: for a factor that is not above 0.
        DataError: where the factor leaves a class without training samples.
    """

    name = "imbalance"
    version = 1
    metrics = ("balanced_accuracy", "macro_f1", "accuracy")
    problem = "imbalanced classes"
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

    def _thinned(self, train: Split, counts: list[int], streams: RandomStreams) -> Split:
        if self.labels == "faithful":
            return _zipped_from_the_start(train, counts)
        return super()._thinned(train, counts, streams)


def _zipped_from_the_start(split: Split, counts: list[int]) -> Split:
    """The defect of the code: labels by position in a row of all samples, class after class."""
    row = torch.cat([(split.y == c).nonzero().squeeze(1) for c in range(2)])[: sum(counts)]
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    return replace(split.select(row), y=labels)


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {Imbalance.name: Imbalance}
