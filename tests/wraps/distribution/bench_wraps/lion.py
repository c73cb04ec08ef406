"""pytorch_optimizer: an optimiser and a schedule of the method's own."""

from dataclasses import dataclass

from pytorch_optimizer import Lion
from torch.optim.lr_scheduler import CosineAnnealingLR

from bench import Method


@dataclass
class LionCosine(Method):
    """Lion (Chen et al. 2023), whose rate falls as a cosine in every step."""

    lr: float = 0.01

    def restart(self):
        self.model = self.task.new_model()
        self.optimizer = Lion(self.model.parameters(), lr=self.lr)
        self.schedule = CosineAnnealingLR(self.optimizer, self.task.steps)

    def learning_rate(self, epoch, step):
        return None  # the schedule sets it

    def descend(self, objective):
        super().descend(objective)
        self.schedule.step()
