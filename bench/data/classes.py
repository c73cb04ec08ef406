"""For authors of protocols: taking some of the classes of a data set, and some of the samples of each class."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from bench.data.dataset import Dataset
from bench.data.split import Split
from bench.errors import OptionError
from bench.streams import RandomStreams


def only(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The data set with some of its classes.

    Args:
        dataset: whose classes are taken.
        names: of the classes, in the order in which they are numbered anew; empty: the data set stays as it is.

    Raises:
        OptionError: for a name that is not a class, or that is given twice.
    """
    if not names:
        return dataset
    numbers = [class_number(dataset, name) for name in names]
    if len(set(numbers)) < len(numbers):
        raise OptionError(f"classes={','.join(names)}: a class is given twice")
    subset = each_split(dataset, lambda split: _only(split, numbers))
    if not dataset.groups:  # then the group is the class
        subset = each_split(subset, Split.with_class_as_group)
    return replace(subset, classes=tuple(names))


def only_with_others(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The data set with some of its classes, and the test inputs of its other classes as the probe `other`.

    Args:
        dataset, names: as for `only`.

    Raises:
        OptionError: as `only` does.
    """
    subset = only(dataset, names)
    if not names or not dataset.test:
        return subset
    numbers = torch.tensor([class_number(dataset, name) for name in names])
    other = dataset.test.select((~torch.isin(dataset.test.y, numbers)).nonzero().squeeze(1))
    return replace(subset, probes={**dataset.probes, "other": other} if len(other) else dataset.probes)


def each_split(dataset: Dataset, change: Callable[[Split], Split]) -> Dataset:
    """Apply a function to each split of a data set.

    Args:
        dataset: whose splits are changed.
        change: gives the new split for an old one.

    Returns:
        The data set with the new splits; its probes stay as they are.
    """
    return replace(
        dataset,
        train=change(dataset.train),
        val=dataset.val and change(dataset.val),
        test=dataset.test and change(dataset.test),
    )


def class_number(dataset: Dataset, name: str) -> int:
    """The number of a class.

    Args:
        dataset: that has the class.
        name: of the class.

    Returns:
        A number from 0 on.

    Raises:
        OptionError: with the names of all classes, if there is no such class.
    """
    if name not in dataset.classes:
        raise OptionError(f"{dataset.name} has no class {name!r}; its classes: {', '.join(dataset.classes)}")
    return dataset.classes.index(name)


def members(y: Tensor, number: int, generator: Generator) -> Tensor:
    """The positions of a class's samples, in random order.

    Args:
        y: [N], the classes of all samples.
        number: of the class.
        generator: on the CPU; it draws the order.

    Returns:
        [n] int64.
    """
    positions = (y == number).nonzero().squeeze(1)
    return positions[torch.randperm(len(positions), generator=generator)]


def drawn(label: Tensor, counts: Sequence[int], streams: RandomStreams, part: str) -> Tensor:
    """Draw a number of samples of each label.

    Args:
        label: [N], class or group of each sample.
        counts: for each label, how many samples are drawn; all of them if it has fewer.
        streams: the run's; the samples are drawn by the purpose `counts` and `part`.
        part: the part of the data that is drawn, such as "train".

    Returns:
        [n] int64, positions of the samples, label by label.
    """

    def draw(generator: Generator) -> Tensor:
        return torch.cat([members(label, c, generator)[:n] for c, n in enumerate(counts)])

    return streams.draw(draw, "counts", part)


def without(n: int, positions: Tensor) -> Tensor:
    """The positions from 0 to n - 1 that are not among the given ones.

    Args:
        n: number of positions.
        positions: int64, those that are left out.

    Returns:
        int64, in order.
    """
    remains = torch.ones(n, dtype=torch.bool)
    remains[positions] = False
    return remains.nonzero().squeeze(1)


def least(label: Tensor, labels: int) -> int:
    """The number of samples of the rarest label.

    Args:
        label: [N], class or group of each sample.
        labels: how many classes or groups there are; one without samples counts.

    Returns:
        The number.
    """
    return int(label.bincount(minlength=labels).min())


def _only(split: Split, numbers: Sequence[int]) -> Split:
    """The samples of some classes in the order of the split, with the classes renumbered."""
    renumbered = torch.full((int(split.y.max()) + 1 if len(split) else 1,), -1)
    for new, old in enumerate(numbers):
        if old < len(renumbered):
            renumbered[old] = new
    y = renumbered[split.y]
    positions = (y >= 0).nonzero().squeeze(1)
    return replace(split.select(positions), y=y[positions])
