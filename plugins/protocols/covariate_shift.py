"""Covariate shift: inside each class, the training data have other proportions of its parts than the test data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from bench import Checks, hookimpl
from bench.data.classes import drawn, each_split, least, only
from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import DataError, OptionError, ProtocolError
from bench.imbalanced import profile_counts
from bench.protocol import Claim, Protocol, hold_out, with_test
from bench.recipe import Recipe
from bench.streams import RandomStreams


@dataclass(frozen=True)
class CovariateShift(Protocol):
    """Covariate shift: two classes made of several of the data set's, rare and common in training, equal in test.

    Cat and dog are an animal, automobile and truck a vehicle. In training there are ten dogs for each cat and ten
    trucks for each automobile, in the test data as many of each. The group of a sample is its part, the class that it
    had, so that the ideal weights are `importance_weighted -o by=group` (N / (G n_g): 5.5 and 0.55). Controls are a run
    without weights and one without shift (`ratio` 1, the same number of samples).

    Source: Zha, Gao, Ma, Xu, Figure 10.

    Options:
        parts: the classes that make up each of the two classes, joined by `+`, the rare one first, such as
            `cat+dog,automobile+truck`. No default but a recipe's.
        ratio: number of training samples of the last part for each one of the first; of more than two parts, in
            geometric steps. Default: 10.
        labels: `correct` (the default), or `faithful`, which repeats a defect of the authors' code and is to be
            compared with `correct`, not to be used. The test images of that code are training images, part after part,
            paired with labels 0 and 1 as of the four parts' test data: 2,000 images of the first part are labelled 0
            and 2,000 more of it 1, so that every model has an accuracy of 1/2.

    Raises:
        ProtocolError: for a data set with fewer than four classes, and for parts that are not two classes made of two
            or more.
        OptionError: for a class that is given twice, and for a ratio that is not above 0.
        DataError: where the ratio leaves a part without training samples.
    """

    name = "covariate_shift"
    version = 1
    metrics = ("accuracy", "worst_group_accuracy")
    problem = "a covariate shift"
    reference = "Zha, Gao, Ma, Xu, section 3.2 and Figure 10"

    parts: tuple[str, ...] = ()
    ratio: float = 10.0
    labels: Literal["correct", "faithful"] = "correct"

    def check(self, dataset: Dataset) -> None:
        classes = dataset.classes
        if len(classes) < 4:
            raise ProtocolError(
                f"{self.name} needs at least four classes, from which it makes two; {dataset.name} has {len(classes)}"
            )
        if len(self.parts) != 2 or any("+" not in part for part in self.parts):
            raise ProtocolError(
                f"{self.name} needs two classes made of two or more of {dataset.name}'s, such as "
                f"-o protocol.parts={classes[0]}+{classes[1]},{classes[2]}+{classes[3]}, "
                f"not {','.join(self.parts) or 'none'}"
            )
        names = self._names()
        if len(set(names)) < len(names):
            raise OptionError(f"protocol.parts={','.join(self.parts)}: a class is given twice")
        Checks(self, "protocol.").above(0, "ratio")

    def _names(self) -> list[str]:
        return [name for part in self.parts for name in part.split("+")]

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.groups

    def view(self, dataset: Dataset) -> Dataset:
        """Two classes, whose groups are the classes that they are made of."""
        names = self._names()
        numbers = []  # of the class that each part belongs to
        for number, part in enumerate(self.parts):
            numbers += [number] * len(part.split("+"))
        of = torch.tensor(numbers)
        merged = each_split(only(dataset, names), lambda split: replace(split, group=split.y, y=of[split.y]))
        return replace(merged, classes=self.parts, groups=tuple(names))

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        dataset = with_test(dataset, recipe, streams)
        groups = len(dataset.groups)
        assert dataset.test
        train = dataset.train.select(drawn(dataset.train.group, self._counts(dataset), streams, "train"))
        equal = [least(dataset.test.group, groups)] * groups
        test = dataset.test.select(drawn(dataset.test.group, equal, streams, "test"))
        if self.labels == "faithful":
            test = _training_images_in_a_row(dataset.train, test)
        return hold_out(replace(dataset, train=train, test=test), recipe, streams)

    def _counts(self, dataset: Dataset) -> list[int]:
        """The number of training samples of each part. Raises DataError if a part has none."""
        most = least(dataset.train.group, len(dataset.groups))
        counts = self._shares(most)
        if min(counts) == 0:
            raise DataError(
                f"{dataset.name}: ratio {self.ratio:g} leaves a part of {most} samples without any: lower it"
            )
        return counts

    def _shares(self, most: int) -> list[int]:
        """The number of samples of each part, where the most common parts have `most`."""
        sizes = [part.count("+") + 1 for part in self.parts]
        return [n for size in sizes for n in profile_counts("long_tailed", 1 / self.ratio, most, size)]

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        shifted = Claim(tuple(self._shares(10**9)))
        claims = super().claims(dataset) | {"train": shifted, "test": Claim((1,) * len(dataset.groups))}
        if not dataset.val:
            claims["val"] = shifted
        return claims


def _training_images_in_a_row(train: Split, test: Split) -> Split:
    """The defect of the authors' code: the labels of the test data beside training images, part after part."""
    row = torch.cat([(train.group == g).nonzero().squeeze(1) for g in range(int(train.group.max()) + 1)])[: len(test)]
    return replace(train.select(row), y=test.y.sort().values)


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {CovariateShift.name: CovariateShift}
