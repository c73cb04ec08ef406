"""Random sample weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Method, hookimpl


@dataclass
class Random(Method):
    """Random sample weights, drawn once: the control for methods that learn their weights.

    A normal weight is negative half of the time, which the paper does not comment on. Since the paper's weights enter
    through a softmax (Algorithm 1, line 6), these do by default too.

    Source: Yan, Seto, Apostoloff 2022 (FORML), section 4.1: "Each example is randomly assigned a weight sampled from a
    standard normal distribution".

    Options:
        distribution: `softmax` (the default): the softmax of normals over the training set, with mean 1. `rectified`:
            max(0, n) of normals n, as in the L2RW reference code, scaled to mean 1. `uniform`: uniform on (0.1, 1.9),
            as in the MOEW reference code.
    """

    name = "random"
    stackable = True
    capturable = True

    distribution: Literal["softmax", "rectified", "uniform"] = "softmax"

    def setup(self) -> None:
        n = len(self.task.train)
        if self.distribution == "uniform":
            uniform = self.task.streams.draw(lambda g: torch.rand(n, generator=g), "method")
            w = 0.1 + 1.8 * uniform
        else:
            normal = self.task.streams.draw(lambda g: torch.randn(n, generator=g), "method")
            w = n * normal.softmax(-1) if self.distribution == "softmax" else normal.relu()
            w = w / w.mean(-1, keepdim=True)
        self.w = w.to(self.task.device)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return self.w.gather(-1, batch.index)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {Random.name: Random}
