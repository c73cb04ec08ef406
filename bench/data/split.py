"""Batches and splits of samples, which stay on the device: images as uint8, features as float32."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Generator, Tensor

from bench.errors import DataError

Augment = Callable[[Tensor, Generator], Tensor]
"""(images [B, C, H, W] float in [0, 1], generator on their device) -> images of the same shape and type. It draws from
the generator alone, and leaves its input as it is."""


class Batch(NamedTuple):
    """The samples of one step. Stacked runs have one more leading dimension R in every field.

    Attributes:
        x: inputs, [B, C, H, W] float in [0, 1] or [B, D] float.
        y: [B] int64, the class of each sample.
        group: [B] int64, the group of each sample.
        index: [B] int64, the position of each sample in the split, so that a method can keep weights for samples.
    """

    x: Tensor
    y: Tensor
    group: Tensor
    index: Tensor  # type: ignore[assignment]  # the field's name; tuple.index is not used

    def label(self, by: str) -> Tensor:
        """The class of each sample, or its group.

        Args:
            by: `class`; any other text means the group.

        Returns:
            [B] int64 (stacked: [R, B]).
        """
        return self.y if by == "class" else self.group


ORIGIN = "origin"
"""The column of training data that a method has made, which says where each sample comes from."""
TRUE_CLASS = "true_class"
"""The column with the class of each sample before a protocol changed it, int64; pictures tell these samples apart."""
POSITION = "position in the data set"
"""The column of test sets, in a run alone, that says where each sample is in the data that its protocol was given."""


@dataclass(frozen=True)
class Split:
    """Samples of a data set, such as its training data. Stacked runs have one more leading dimension R in every field.

    Attributes:
        x: inputs, [N, C, H, W] uint8 or [N, D] float32.
        y: [N] int64, the class of each sample.
        group: [N] int64, the group of each sample.
        columns: name -> [N, ...], what else is known of each sample, such as its true class, its time or its number.
            Protocols and pictures can use it; methods do not see it.

    Fields of different lengths or of other types are refused where the split gets its name: in `Dataset` and `Splits`.
    """

    x: Tensor
    y: Tensor
    group: Tensor
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All fields by name; a column by `column NAME`."""
        columns = {f"column {name}": self.columns[name] for name in sorted(self.columns)}
        return {"x": self.x, "y": self.y, "group": self.group} | columns

    @property
    def flaw(self) -> str:
        """What is wrong with the fields, to be said after the name of the split: other types, or different lengths.
        Empty where nothing is.
        """
        fields = (self.x, self.y, self.group)
        if not all(isinstance(values, Tensor) for values in fields):
            types = ", ".join(type(values).__name__ for values in fields)
            return f"needs x, y and group as tensors, not {types}"
        n = self.y.shape
        if self.group.shape != n or self.x.shape[: len(n)] != n:
            return (
                f"needs as many classes and groups as inputs: x {list(self.x.shape)}, y {list(n)}, group "
                f"{list(self.group.shape)}"
            )
        if self.x.dtype not in (torch.uint8, torch.float32) or {self.y.dtype, self.group.dtype} != {torch.int64}:
            return (
                f"needs x as uint8 or float32, y and group as int64, not {self.x.dtype}, {self.y.dtype} and "
                f"{self.group.dtype}"
            )
        for name, column in self.columns.items():
            if not isinstance(column, Tensor) or column.shape[: len(n)] != n:
                got = list(column.shape) if isinstance(column, Tensor) else type(column).__name__
                return f"needs a tensor with an entry for each sample as column {name!r}: {list(n)}, not {got}"
        return ""

    def __len__(self) -> int:
        return self.y.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the samples are."""
        return self.y.device

    @classmethod
    def stack(cls, splits: Sequence[Self]) -> Self:
        """The splits of several runs as one split of stacked runs.

        Args:
            splits: one for each run.

        Returns:
            The split, whose fields are [R, N, ...].

        Raises:
            DataError: if the splits differ in size or in the shape of their inputs.
        """
        if len(shapes := {tuple(split.x.shape[1:]) for split in splits}) > 1:
            each = " or ".join(str(list(shape)) for shape in sorted(shapes))
            raise DataError(f"by the seed the runs have inputs of {each}, which cannot be stacked: leave out --stack")
        if len(sizes := {len(split) for split in splits}) > 1:
            each = " or ".join(f"{size:,}" for size in sorted(sizes))
            raise DataError(f"by the seed the runs have {each} samples, which cannot be stacked: leave out --stack")
        return cls._joined(splits, torch.stack)

    @classmethod
    def cat(cls, splits: Sequence[Self]) -> Self:
        """The samples of several splits as one split.

        Args:
            splits: whose samples follow one another, in this order.

        Returns:
            The split.
        """
        lead = splits[0].y.dim() - 1
        return cls._joined(splits, partial(torch.cat, dim=lead))

    @classmethod
    def _joined(cls, splits: Sequence[Self], join: Callable[[list[Tensor]], Tensor]) -> Self:
        """Join each field of several splits, and the columns that all of them have."""
        x, y, group = (join([getattr(split, name) for split in splits]) for name in ("x", "y", "group"))
        common = set.intersection(*(set(split.columns) for split in splits))
        return cls(x, y, group, {name: join([split.columns[name] for split in splits]) for name in sorted(common)})

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same change of every field."""
        columns = {name: change(column) for name, column in self.columns.items()}
        return replace(self, x=change(self.x), y=change(self.y), group=change(self.group), columns=columns)

    def to(self, device: torch.device) -> Self:
        """The split on a device."""
        return self._each(lambda values: values.to(device))

    def select(self, index: Tensor) -> Self:
        """Some samples of an unstacked split.

        Args:
            index: [n], positions of the samples, in the order in which they are taken.

        Returns:
            The split of these samples.
        """
        index = index.to(self.device)
        return self._each(lambda values: values[index])

    def unlabelled(self) -> Self:
        """The same inputs without labels: every class and every group is 0 and means nothing. Columns are left out."""
        nothing = torch.zeros_like(self.y)
        return replace(self, y=nothing, group=nothing, columns={})

    def without_columns(self) -> Self:
        """The same samples with their inputs, classes and groups alone."""
        return replace(self, columns={})

    def with_origin(self, origin: Tensor) -> Self:
        """The same samples, as training data that a method has made (`Method.training_data`).

        Args:
            origin: [N] int64, the position of each sample in the training data that the method was given; below 0 for a
                sample that is none of these.

        Returns:
            The split with the column ORIGIN.
        """
        return replace(self, columns=dict(self.columns) | {ORIGIN: origin.to(self.device)})

    def batch(self, index: Tensor) -> Batch:
        """A batch of some samples.

        Args:
            index: [B] (stacked: [R, B]), positions of the samples, on the device of the split.

        Returns:
            The batch, with images scaled to [0, 1].
        """
        fields = self.x, self.y, self.group
        if index.dim() == 1:
            x, y, group = (t.index_select(0, index) for t in fields)
        else:  # rows of all runs as one table: several times faster than indexing with two tensors
            first = torch.arange(0, len(index) * len(self), len(self), device=index.device)
            rows = (index + first.unsqueeze(1)).flatten()
            x, y, group = (t.flatten(0, 1).index_select(0, rows).unflatten(0, index.shape) for t in fields)
        return Batch(x.float().div_(255) if x.dtype == torch.uint8 else x, y, group, index)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Batches of all samples, in the order of the split.

        Args:
            batch_size: samples of a batch; the last one may be smaller.

        Yields:
            The batches.
        """
        index = torch.arange(len(self), device=self.device).expand(self.y.shape)
        for part in index.split(batch_size, -1):
            yield self.batch(part.contiguous())

    def steps(self, batch_size: int) -> int:
        """The number of batches in an epoch."""
        return number_of_batches(len(self), batch_size)

    def with_class_as_group(self) -> Self:
        """The same samples, but the group of each is its class."""
        return replace(self, group=self.y)


def number_of_batches(samples: int, batch_size: int) -> int:
    """The number of batches in an epoch of training.

    A last batch of a single sample is left out, because it has no batch statistics, unless all batches have one.
    """
    full, rest = divmod(samples, batch_size)
    return full + (rest > 1 or samples == rest)


def to_device(index: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device without waiting for it: copies from pinned memory are queued.

    Args:
        index: on any device.
        device: where the copy is to be.

    Returns:
        The copy.
    """
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index.to(device)


@dataclass(frozen=True)
class Splits:
    """The data of one run.

    Attributes:
        train: training data, which methods see.
        val: validation data, which methods see.
        tests: name -> test data, which only the runner sees.
        probes: name -> inputs of no class of the task, to see what a model predicts there. Their y and group mean
            nothing. Only the runner sees them.
        target: unlabelled inputs from the distribution of the test data, but none of the test data, which methods see;
            None: there are none.

    Raises:
        DataError: for a split whose fields have different lengths or other types.
    """

    train: Split
    val: Split
    tests: Mapping[str, Split]
    probes: Mapping[str, Split] = field(default_factory=dict)
    target: Split | None = None

    def __post_init__(self) -> None:
        check_fields({"train": self.train, "val": self.val, **self.tests, **self.probes, "target": self.target})

    @property
    def planes(self) -> tuple[str, ...]:
        """The probes whose inputs are points of a plane, on which surfaces are drawn."""
        return tuple(name for name, split in self.probes.items() if split.x.shape[split.y.dim() :] == (2,))


def check_fields(sets: Mapping[str, Split | None], whose: str = "") -> None:
    """Check the types and the lengths of the fields of some sets.

    Args:
        sets: by name. What is no split is left to other rules.
        whose: the name of the data set, where it is known.

    Raises:
        DataError: for the first set with a flaw, with the place in the code that gave it its name.
    """
    for name, split in sets.items():
        if isinstance(split, Split) and split.flaw:
            raise DataError(f"{f'{whose}: ' if whose else ''}{name} {split.flaw} (made in {_place()})")


def _place() -> str:
    """Where the code that is running was called from outside this package: `PACKAGE/FILE.py:LINE`."""
    frame = sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("bench", "dataclasses"):
        frame = frame.f_back
    folders = frame.f_globals.get("__name__", "").split(".")[:-1]
    path = Path(frame.f_code.co_filename)
    folders += [path.parent.name] if path.name == "__init__.py" else []
    return f"{'/'.join([*folders, path.name])}:{frame.f_lineno}"
