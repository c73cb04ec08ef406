"""What protocols do with the classes of a data set: take some of them, and some samples of each."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from bench.data.dataset import Dataset
from bench.data.split import Split
from bench.errors import DataError, OptionError
from bench.streams import RandomStreams


def only(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The data set with these classes alone, numbered in this order; with all, where no names are given.

    Raises OptionError for a name that is not a class, or is given twice.
    """
    if not names:
        return dataset
    numbers = [class_number(dataset, name) for name in names]
    if len(set(numbers)) < len(numbers):
        raise OptionError(f"classes={','.join(names)}: a class is given twice")
    taken = each_split(dataset, lambda split: _only(split, numbers))
    if not dataset.groups:  # then the group is the class
        taken = each_split(taken, lambda split: replace(split, group=split.y))
    return replace(taken, classes=tuple(names))


def only_with_others(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """As `only`; the test inputs of the classes that are not taken become the probe `other`.

    Raises OptionError as `only` does.
    """
    taken = only(dataset, names)
    if not names or not dataset.test:
        return taken
    numbers = torch.tensor([class_number(dataset, name) for name in names])
    other = dataset.test.select((~torch.isin(dataset.test.y, numbers)).nonzero().squeeze(1))
    return replace(taken, probes={**dataset.probes, "other": other} if len(other) else dataset.probes)


def each_split(dataset: Dataset, change: Callable[[Split], Split]) -> Dataset:
    """The data set with each of its splits changed."""
    val, test = (split and change(split) for split in (dataset.val, dataset.test))
    return replace(dataset, train=change(dataset.train), val=val, test=test)


def class_number(dataset: Dataset, name: str) -> int:
    """Raises OptionError, with the classes that there are."""
    if name not in dataset.classes:
        raise OptionError(f"{dataset.name} has no class {name!r}; its classes: {', '.join(dataset.classes)}")
    return dataset.classes.index(name)


def members(y: Tensor, number: int, generator: Generator) -> Tensor:
    """Positions of a class's samples in y [N], in random order."""
    positions = (y == number).nonzero().squeeze(1)
    return positions[torch.randperm(len(positions), generator=generator)]


def drawn(label: Tensor, counts: Sequence[int], streams: RandomStreams, part: str) -> Tensor:
    """Positions of so many samples of each label (class or group, [N]), by the seed for this part of the data."""

    def draw(generator: Generator) -> Tensor:
        return torch.cat([members(label, c, generator)[:n] for c, n in enumerate(counts)])

    return streams.draw(draw, "counts", part)


def per_class(name: str, size: int, y: Tensor, classes: int) -> int:
    """Validation samples of each class, of `size` that are balanced. Raises DataError where there are too few in y."""
    each, rest = divmod(size, classes)
    if rest or not 0 < each < least(y, classes):
        raise DataError(
            f"{name}: protocol.validation=balanced needs recipe.val_size to be a multiple of {classes} classes that "
            f"leaves some of the {least(y, classes)} samples of the smallest, not {size}"
        )
    return each


def without(n: int, positions: Tensor) -> Tensor:
    """The other ones of n positions, in order."""
    left = torch.ones(n, dtype=torch.bool)
    left[positions] = False
    return left.nonzero().squeeze(1)


def least(label: Tensor, labels: int) -> int:
    """Samples of the rarest label."""
    return int(label.bincount(minlength=labels).min())


def profile_counts(profile: str, factor: float, n_max: int, classes: int) -> list[int]:
    """Samples of each class, rounded down: n_max for the first and n_max / factor for the last, or the reverse where
    the factor is below 1. `long_tailed`: in geometric steps, as in the public code of LDAM; `linear`: in equal ones;
    `step`: the first half of the classes have n_max.
    """
    shrink = max(factor, 1 / factor)
    kept: dict[str, Callable[[float], float]] = {
        "long_tailed": lambda place: shrink**-place,
        "linear": lambda place: 1 - place * (1 - 1 / shrink),
        "step": lambda place: 1 if place < 0.5 else 1 / shrink,
    }
    places = [i / (classes - 1) for i in range(classes)]
    counts = [int(n_max * kept[profile](place) + 1e-9) for place in places]  # 1e-9: 100 * 0.29 is 28.999...
    return counts if factor >= 1 else counts[::-1]


def _only(split: Split, numbers: Sequence[int]) -> Split:
    """The samples of these classes, in their order, with the classes renumbered."""
    renumbered = torch.full((int(split.y.max()) + 1 if len(split) else 1,), -1)
    for new, old in enumerate(numbers):
        if old < len(renumbered):
            renumbered[old] = new
    y = renumbered[split.y]
    kept = (y >= 0).nonzero().squeeze(1)
    return replace(split.select(kept), y=y[kept])
