"""Endless batches of validation data, with every group in each of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from bench.data.split import Batch, Split, to_device
from bench.errors import DataError
from bench.streams import RandomStreams

PLANNER = ThreadPoolExecutor(1, "bench-plans")
"""Makes plans while steps are made on a GPU. They come from generators of their own, so that it may be at any time."""


class Draws:
    """How the endless batches of one task are drawn: each from itself, unless something else is put in between.

    Attributes:
        by: gives the next batch of the `BalancedBatches` that it is called with.
    """

    def __init__(self) -> None:
        self.by: Callable[[BalancedBatches], Batch] = BalancedBatches.draw

    @contextmanager
    def replaced(self, by: Callable[["BalancedBatches"], Batch]) -> Iterator[None]:
        """Have batches drawn by this function for a while, as a capture of an update does."""
        before = self.by
        self.by = by
        try:
            yield
        finally:
            self.by = before


class BalancedBatches:
    """Endless batches of a split, each with the same number of samples of every group.

    A group gets `min_per_group` places in the batch and a share of the other places in proportion to its size. Its
    samples come in an order of their own, reshuffled when too few are left: no sample is twice in a batch.

    batch_size is the least size; the batch grows to `groups * min_per_group`. `where` [.., N] bool leaves samples out.
    draws: those of the task, shared by all that it makes (`Task.val_batches`); None: draws of its own.
    Raises DataError when a group has fewer samples than places.
    """

    CHUNK = 64  # batches planned at once, so that planning costs next to nothing per batch

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
        return self.draws.by(self)

    def draw(self) -> Batch:
        """The next batch, whatever stands in between."""
        chunk, row = divmod(self.position, self.CHUNK)
        if row == 0:
            self._begin(chunk)
        self.position += 1
        return self.split.batch(self._plan[row])

    def _begin(self, chunk: int) -> None:
        """Take the plan of this chunk. On a GPU the next one is made meanwhile, so that its steps need not wait."""
        plan = self._ahead[chunk].result() if chunk in self._ahead else self._planned(chunk)
        self._plan = to_device(plan, self.split.device)
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
