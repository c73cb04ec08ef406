"""Random streams, each derived from (seed, purpose) alone.

Nothing in a stream depends on the method or on what was drawn before, so two methods with one seed see the same
split, start and order (runs are paired), and a run resumed at an epoch boundary draws what it would have drawn.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of the run `seed`."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class RandomStreams:
    """The random streams of one run, or of several runs trained at once.

    seeds: one seed for each run. With `stacked`, draws get a leading dimension of `len(seeds)`; without, there is
    exactly one seed and no such dimension.
    """

    seeds: tuple[int, ...]
    stacked: bool = False

    def __post_init__(self) -> None:
        assert self.stacked or len(self.seeds) == 1

    def seed(self, *purpose: str | int) -> int:
        """A seed for torch's global generator, of the first run where several are stacked."""
        return derive(self.seeds[0], *purpose)

    def generators(self, *purpose: str | int, device: torch.device | str = "cpu") -> list[Generator]:
        """A generator for each run. Equal arguments give generators in equal states."""
        return [Generator(device).manual_seed(derive(seed, *purpose)) for seed in self.seeds]

    def draw(
        self, sample: Callable[[Generator], Tensor], *purpose: str | int, device: torch.device | str = "cpu"
    ) -> Tensor:
        """`sample(generator)` for each run: [...] or, stacked, [R, ...]. Equal arguments give equal draws."""
        draws = [sample(generator) for generator in self.generators(*purpose, device=device)]
        return torch.stack(draws) if self.stacked else draws[0]
