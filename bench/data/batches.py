"""Batches: those of an epoch of training, and endless ones of validation data with every group in each."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from bench.data.split import Augment, Batch, Split, number_of_batches, to_device
from bench.errors import DataError
from bench.streams import RandomStreams

PLANNER = ThreadPoolExecutor(1, "bench-plans")
"""The thread that plans batches while a GPU makes steps. A plan has its own generators, so its time does not matter."""


def training_batches(
    split: Split,
    batch_size: int,
    streams: RandomStreams,
    epoch: int,
    augment: Augment | None = None,
    order: Tensor | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch. Nothing here waits for the device.

    A last batch of a single sample is left out (`bench.data.split.number_of_batches`).

    Args:
        split: the training data.
        batch_size: samples of a batch; the last one may be smaller.
        streams: the run's.
        epoch: for which the order and the augmentation are drawn.
        augment: applied to each batch; None: inputs stay as they are.
        order: [.., n], positions of the samples; None: every sample once, in an order drawn for this epoch.

    Raises:
        DataError: where `augment` returns inputs of another shape or type.
    """
    if order is None:
        order = streams.draw(lambda g: torch.randperm(len(split), generator=g), "order", epoch)
    generators = streams.generators("augment", epoch, device=split.device) if augment else []
    batches = to_device(order, split.device).split(batch_size, -1)
    for index in batches[: number_of_batches(order.shape[-1], batch_size)]:
        batch = split.batch(index)
        if augment and streams.stacked:
            x = torch.stack([_augmented(augment, x, g) for x, g in zip(batch.x, generators, strict=True)])
            batch = batch._replace(x=x)
        elif augment:
            batch = batch._replace(x=_augmented(augment, batch.x, generators[0]))
        yield batch


def _augmented(augment: Augment, x: Tensor, generator: Generator) -> Tensor:
    """Raises DataError for what is not like the inputs. Whether it is finite is not asked: the answer takes time."""
    made = augment(x, generator)
    if not isinstance(made, Tensor) or made.shape != x.shape or made.dtype != x.dtype:
        got = f"{made.dtype} of {list(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        raise DataError(f"the data set's `augment` must return {x.dtype} of {list(x.shape)}, as it gets, not {got}")
    return made


class Draws:
    """The function that draws the endless batches of one task: `BalancedBatches.draw`, unless it is replaced.

    Attributes:
        by: gives the next batch of the `BalancedBatches` that it is called with.
    """

    def __init__(self) -> None:
        self.by: Callable[[BalancedBatches], Batch] = BalancedBatches.draw

    @contextmanager
    def replaced(self, by: Callable[["BalancedBatches"], Batch]) -> Iterator[None]:
        """Within this context, let another function draw the batches, as a capture of an update does.

        Args:
            by: given the batches, draws the next one.
        """
        before = self.by
        self.by = by
        try:
            yield
        finally:
            self.by = before


class BalancedBatches:
    """Endless batches of a split, each with the same number of samples of every group.

    A group gets `min_per_group` places in the batch, and a share of the other places in proportion to its size. The
    samples of a group come in random order. They are shuffled again when fewer are left than the group has places, so
    that no sample is in a batch twice.

    Args:
        split: the samples.
        batch_size: least size of a batch, which grows to `len(groups) * min_per_group`.
        streams: the run's; the batches are drawn by the purpose `validation`.
        groups: names of the groups.
        min_per_group: least number of samples of each group in a batch.
        where: [.., N] bool, False for samples that are left out; None: all are used.
        draws: shared by all batches of a task (`Task.val_batches`); None: these batches have their own.

    Raises:
        DataError: when a group has fewer samples than places.
    """

    CHUNK = 64  # batches that are planned at once, so that planning costs next to nothing for each batch

    def __init__(
        self,
        split: Split,
        batch_size: int,
        streams: RandomStreams,
        groups: Sequence[str],
        min_per_group: int = 1,
        where: Tensor | None = None,
        draws: Draws | None = None,
    ) -> None:
        self.split = split
        self.streams = streams
        self.draws = draws or Draws()
        self.position = 0
        self._ahead: dict[int, Future[Tensor]] = {}  # chunk -> the plan that is being made for it
        self._members: list[list[Tensor]] = []
        self._places: list[list[int]] = []
        groups_of_samples = split.group if where is None else split.group.where(where, -1)
        for group in groups_of_samples.cpu().view(-1, len(split)):
            members = [(group == g).nonzero().squeeze(1) for g in range(len(groups))]
            self._members.append(members)
            self._places.append(_places([len(m) for m in members], batch_size, min_per_group, groups))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self.draws.by(self)

    def draw(self) -> Batch:
        """The next batch, drawn here even if `draws` is replaced."""
        chunk, row = divmod(self.position, self.CHUNK)
        if row == 0:
            self._begin(chunk)
        self.position += 1
        return self.split.batch(self._plan[row])

    def _begin(self, chunk: int) -> None:
        """Take the plan of this chunk. On a GPU, start to plan the next chunk, so that its steps need not wait."""
        plan = self._ahead[chunk].result() if chunk in self._ahead else self._planned(chunk)
        self._plan = to_device(plan, self.split.device)
        if self.split.device.type == "cuda":
            self._ahead = {chunk + 1: PLANNER.submit(self._planned, chunk + 1)}

    def _planned(self, chunk: int) -> Tensor:
        """The positions in the split of the samples of a chunk, [CHUNK, B] (stacked: [CHUNK, R, B]), on the host."""
        plans = []
        generators = self.streams.generators("validation", chunk)
        for members, places, generator in zip(self._members, self._places, generators, strict=True):
            columns = [_rows(m, p, self.CHUNK, generator) for m, p in zip(members, places, strict=True)]
            plans.append(torch.cat(columns, 1))
        return torch.stack(plans, 1) if self.streams.stacked else plans[0]

    def state_dict(self) -> dict[str, int]:
        """What `load_state_dict` needs to go on from here."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from where another object was.

        Args:
            state: what its `state_dict` gave.
        """
        self.position = state["position"]
        self._begin(self.position // self.CHUNK)


def _places(sizes: Sequence[int], batch_size: int, minimum: int, groups: Sequence[str]) -> list[int]:
    """How many places of a batch each group gets: the minimum, and its share of the rest by largest remainders."""
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
    """The positions of one group's samples in each batch, [rows, places]: its samples in random order, pass by pass."""
    if places == 0:
        return members.new_empty(rows, 0)
    per_pass = len(members) // places
    passes = []
    for _ in range(math.ceil(rows / per_pass)):
        shuffled = members[torch.randperm(len(members), generator=generator)]
        passes.append(shuffled[: per_pass * places].view(per_pass, places))
    return torch.cat(passes)[:rows]
