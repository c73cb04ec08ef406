"""MixUp: soft labels, through the recipe's loss."""

from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

from bench import Method


@dataclass
class MixUp(Method):
    """MixUp (Zhang et al. 2018): convex combinations of pairs of samples and of their labels."""

    alpha: float = 0.4

    def losses(self, batch):
        share = torch.distributions.Beta(self.alpha, self.alpha).sample()
        other = torch.randperm(len(batch.y), device=batch.y.device)
        labels = one_hot(batch.y, len(self.task.classes)).float()
        x = share * batch.x + (1 - share) * batch.x[other]
        y = share * labels + (1 - share) * labels[other]
        return super().losses(batch._replace(x=x, y=y))
