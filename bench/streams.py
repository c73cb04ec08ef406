"""Random streams, each derived from a seed and a purpose alone.

A stream does not depend on the method or on what was drawn before. So two methods with the same seed get the same
split, the same initial weights and the same order of the samples (their runs are paired), and a run that is resumed at
an epoch boundary draws what it would have drawn without the interrupt.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose of a run.

    Args:
        seed: of the run.
        purpose: words and numbers that say what is drawn, such as "augment" and the epoch.

    Returns:
        The first 63 bits of a SHA-256 of all of them.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_global_generators(seed: int) -> None:
    """Seed the generators of the process, from which layers and libraries draw: those of torch, numpy and Python.

    Args:
        seed: below 2**63; numpy takes its last 32 bits.
    """
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@dataclass(frozen=True)
class RandomStreams:
    """The random streams of one run, or of several runs trained at once.

    Attributes:
        seeds: one seed for each run.
        stacked: whether the draws get a leading dimension R = len(seeds). If not, there is exactly one seed and no such
            dimension.
    """

    seeds: tuple[int, ...]
    stacked: bool = False

    def __post_init__(self) -> None:
        assert self.stacked or len(self.seeds) == 1

    def seed(self, *purpose: str | int) -> int:
        """A seed for the generators of the process; if runs are stacked, that of the first run."""
        return derive(self.seeds[0], *purpose)

    def generators(self, *purpose: str | int, device: torch.device | str = "cpu") -> list[Generator]:
        """A generator for each run, seeded for this purpose: equal arguments give generators in equal states."""
        return [Generator(device).manual_seed(derive(seed, *purpose)) for seed in self.seeds]

    def draw(
        self, sample: Callable[[Generator], Tensor], *purpose: str | int, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw once for each run. Equal arguments give equal draws.

        Args:
            sample: draws a tensor [...] with a generator.
            purpose: as for `derive`.
            device: of the generators.

        Returns:
            [...], or [R, ...] if the runs are stacked.
        """
        draws = [sample(generator) for generator in self.generators(*purpose, device=device)]
        return torch.stack(draws) if self.stacked else draws[0]
