"""Batches, splits and data sets, resident on the device: images as uint8, features as float32."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Generator, Tensor

from bench.errors import DataError
from bench.recipe import Recipe
from bench.streams import Streams

Augment = Callable[[Tensor, Generator], Tensor]
"""(images [B, C, H, W] float in [0, 1], generator on their device) -> images of the same shape."""


PLANNER = ThreadPoolExecutor(1, "bench-plans")
"""Makes plans while steps are made on a GPU. They come from generators of their own, so that it may be at any time."""


class Batch(NamedTuple):
    """Samples of one step. Stacked runs have one more leading dimension R in every field.

    x: [B, C, H, W] float in [0, 1], or [B, D] float
    y: [B] int64, class
    group: [B] int64
    index: [B] int64, position in the split: weights belong to samples
    """

    x: Tensor
    y: Tensor
    group: Tensor
    index: Tensor  # type: ignore[assignment]  # the field's name; tuple.index is not used

    def label(self, by: str) -> Tensor:
        """[B]: class or group (`by`) of each sample."""
        return self.y if by == "class" else self.group


@dataclass(frozen=True)
class Split:
    """Samples that belong together. Stacked runs have one more leading dimension R in every field.

    x: [N, C, H, W] uint8 or [N, D] float32
    y: [N] int64, class
    group: [N] int64
    """

    x: Tensor
    y: Tensor
    group: Tensor

    def __post_init__(self) -> None:
        n = self.y.shape
        if self.group.shape != n or self.x.shape[: len(n)] != n:
            raise DataError(
                f"a split needs as many classes and groups as inputs: x {list(self.x.shape)}, "
                f"y {list(n)}, group {list(self.group.shape)}"
            )
        if self.x.dtype not in (torch.uint8, torch.float32) or self.y.dtype != torch.int64:
            raise DataError(
                f"a split needs x as uint8 or float32 and y as int64, not {self.x.dtype} and {self.y.dtype}"
            )

    def __len__(self) -> int:
        return self.y.shape[-1]

    @property
    def device(self) -> torch.device:
        return self.y.device

    @classmethod
    def stack(cls, splits: Sequence[Self]) -> Self:
        """Splits of equal size as one split of stacked runs. Raises DataError for others."""
        if len(sizes := {len(split) for split in splits}) > 1:
            each = " or ".join(f"{size:,}" for size in sorted(sizes))
            raise DataError(f"by the seed the runs have {each} samples, which are not stacked: leave out --stack")
        return cls(*(torch.stack([getattr(s, name) for s in splits]) for name in ("x", "y", "group")))

    @classmethod
    def cat(cls, splits: Sequence[Self]) -> Self:
        """The samples of all the splits, in order."""
        lead = splits[0].y.dim() - 1
        return cls(*(torch.cat([getattr(s, name) for s in splits], lead) for name in ("x", "y", "group")))

    def to(self, device: torch.device) -> Self:
        return replace(self, x=self.x.to(device), y=self.y.to(device), group=self.group.to(device))

    def select(self, index: Tensor) -> Self:
        """The samples at `index` [n] of an unstacked split, in that order."""
        index = index.to(self.device)
        return replace(self, x=self.x[index], y=self.y[index], group=self.group[index])

    def unlabelled(self) -> Self:
        """The same inputs; every class and group is 0 and means nothing."""
        nothing = torch.zeros_like(self.y)
        return replace(self, y=nothing, group=nothing)

    def batch(self, index: Tensor) -> Batch:
        """The samples at `index` [B] (stacked: [R, B]), with images scaled to [0, 1]."""
        fields = self.x, self.y, self.group
        if index.dim() == 1:
            x, y, group = (t.index_select(0, index) for t in fields)
        else:  # rows of all runs as one table: several times faster than indexing with two tensors
            first = torch.arange(0, len(index) * len(self), len(self), device=index.device)
            rows = (index + first.unsqueeze(1)).flatten()
            x, y, group = (t.flatten(0, 1).index_select(0, rows).unflatten(0, index.shape) for t in fields)
        return Batch(x.float().div_(255) if x.dtype == torch.uint8 else x, y, group, index)

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every sample once, in order."""
        index = torch.arange(len(self), device=self.device).expand(self.y.shape)
        for part in index.split(batch_size, -1):
            yield self.batch(part.contiguous())

    def epoch(
        self,
        batch_size: int,
        streams: Streams,
        epoch: int,
        augment: Augment | None = None,
        order: Tensor | None = None,
    ) -> Iterator[Batch]:
        """Every sample once, in an order drawn for this epoch, or those at `order` [.., n] (a last batch of one sample
        is left out: it has no batch statistics). Nothing here waits for the device.
        """
        if order is None:
            order = streams.draw(lambda g: torch.randperm(len(self), generator=g), "order", epoch)
        generators = streams.generators("augment", epoch, device=self.device) if augment else []
        for index in _to(order, self.device).split(batch_size, -1):
            if index.shape[-1] == 1 < min(order.shape[-1], batch_size):
                return
            batch = self.batch(index)
            if augment and streams.stacked:
                x = torch.stack([augment(x, g) for x, g in zip(batch.x, generators, strict=True)])
                batch = batch._replace(x=x)
            elif augment:
                batch = batch._replace(x=augment(batch.x, generators[0]))
            yield batch

    def steps(self, batch_size: int) -> int:
        """Batches in one `epoch`."""
        full, rest = divmod(len(self), batch_size)
        return full + (rest > 1 or len(self) == rest)


class Stream:
    """Endless batches of a split, each with the same number of samples of every group.

    A group gets `min_per_group` places in the batch and a share of the other places in proportion to its size. Its
    samples come in an order of their own, reshuffled when too few are left: no sample is twice in a batch.

    batch_size is the least size; the batch grows to `groups * min_per_group`. `where` [.., N] bool leaves samples out.
    Raises DataError when a group has fewer samples than places.
    """

    CHUNK = 64  # batches planned at once, so that planning costs next to nothing per batch
    tap: "ClassVar[Callable[[Stream], Batch] | None]" = None
    """What stands between all streams and who takes batches from them, while an update is recorded."""

    def __init__(
        self,
        split: Split,
        batch_size: int,
        streams: Streams,
        groups: Sequence[str],
        min_per_group: int = 1,
        where: Tensor | None = None,
    ) -> None:
        self.split, self.streams = split, streams
        self.position = 0
        self._ahead: dict[int, Future[Tensor]] = {}  # by chunk, the plan that is being made
        self._members: list[list[Tensor]] = []
        self._places: list[list[int]] = []
        kept = split.group if where is None else split.group.where(where, -1)
        for group in kept.cpu().view(-1, len(split)):
            members = [(group == g).nonzero().squeeze(1) for g in range(len(groups))]
            self._members.append(members)
            self._places.append(_places([len(m) for m in members], batch_size, min_per_group, groups))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return Stream.tap(self) if Stream.tap else self.draw()

    def draw(self) -> Batch:
        """The next batch."""
        chunk, row = divmod(self.position, self.CHUNK)
        if row == 0:
            self._begin(chunk)
        self.position += 1
        return self.split.batch(self._plan[row])

    def _begin(self, chunk: int) -> None:
        """Take the plan of this chunk. On a GPU the next one is made meanwhile, so that its steps need not wait."""
        plan = self._ahead[chunk].result() if chunk in self._ahead else self._planned(chunk)
        self._plan = _to(plan, self.split.device)
        if self.split.device.type == "cuda":
            self._ahead = {chunk + 1: PLANNER.submit(self._planned, chunk + 1)}

    def _planned(self, chunk: int) -> Tensor:
        """[CHUNK, B] (stacked: [CHUNK, R, B]) positions in the split, on the host."""
        plans = []
        generators = self.streams.generators("validation", chunk)
        for members, places, generator in zip(self._members, self._places, generators, strict=True):
            columns = [_rows(m, p, self.CHUNK, generator) for m, p in zip(members, places, strict=True)]
            plans.append(torch.cat(columns, 1))
        return torch.stack(plans, 1) if self.streams.stacked else plans[0]

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]
        self._begin(self.position // self.CHUNK)


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


def _places(sizes: Sequence[int], batch_size: int, minimum: int, groups: Sequence[str]) -> list[int]:
    """How many places each group gets, `minimum` and its share of the rest (largest remainders)."""
    rest = max(batch_size - minimum * len(sizes), 0)
    shares = [rest * size / max(sum(sizes), 1) for size in sizes]
    places = [minimum + math.floor(share) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda g: math.floor(shares[g]) - shares[g])
    for g in by_remainder[: rest - sum(map(math.floor, shares))]:
        places[g] += 1
    for group, size, need in zip(groups, sizes, places, strict=True):
        if size < need or size == 0:
            raise DataError(
                f"validation batches of {sum(places)} with at least {minimum} of each group need {max(need, 1)} "
                f"samples of group {group!r}, and the validation data hold {size}: hold out more (recipe.val_size) "
                f"or lower recipe.min_per_group"
            )
    return places


def _rows(members: Tensor, places: int, rows: int, generator: Generator) -> Tensor:
    """[rows, places] positions of one group: its samples in random order, again and again."""
    if places == 0:
        return members.new_empty(rows, 0)
    per_pass = len(members) // places
    passes = [
        members[torch.randperm(len(members), generator=generator)][: per_pass * places].view(per_pass, places)
        for _ in range(math.ceil(rows / per_pass))
    ]
    return torch.cat(passes)[:rows]


def _to(index: Tensor, device: torch.device) -> Tensor:
    """To the device without waiting for it: copies from pinned memory are queued."""
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index.to(device)
