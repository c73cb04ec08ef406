"""pytorch_optimizer: an optimiser around the recipe's, which needs two passes in each step."""

from dataclasses import dataclass

import torch
from pytorch_optimizer import SAM

from bench import Method


@dataclass
class SharpnessAware(Method):
    """Sharpness-aware minimisation (Foret et al. 2021) by the recipe's optimiser."""

    rho: float = 0.05

    def restart(self):
        self.model = self.task.new_model()
        self.optimizer = SAM(self.model.parameters(), lambda groups: self.task.optimizer(groups), rho=self.rho)

    def update(self, batch):
        def closure():
            self.optimizer.zero_grad()
            losses = self.task.loss(self.forward(batch.x), batch.y)
            losses.mean().backward()
            return losses.detach()

        losses = closure()
        self.optimizer.step(closure)
        return losses, torch.ones_like(losses)
