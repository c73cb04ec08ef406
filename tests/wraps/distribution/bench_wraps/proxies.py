"""pytorch-metric-learning: a loss of the features, with parameters and an optimiser of its own."""

from dataclasses import dataclass

import torch
from pytorch_metric_learning.losses import ProxyAnchorLoss

from bench import Method
from bench.models.heads import head_of


@dataclass
class Proxies(Method):
    """Proxy anchors (Kim et al. 2020) of the classes, beside the recipe's loss."""

    strength: float = 0.1
    uses_features = True

    def setup(self):
        torch.manual_seed(self.task.streams.seed("method"))
        width = head_of(self.model, self.task.train).in_features
        self.anchors = ProxyAnchorLoss(len(self.task.classes), width).to(self.task.device)
        self.optimizer_of_anchors = self.task.optimizer(self.anchors)

    def objective(self, batch, losses, weights):
        return super().objective(batch, losses, weights) + self.strength * self.anchors(batch.features, batch.y)

    def descend(self, objective):
        self.optimizer_of_anchors.zero_grad()
        super().descend(objective)
        self.optimizer_of_anchors.step()
