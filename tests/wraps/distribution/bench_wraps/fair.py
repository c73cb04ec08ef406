"""fairret: a penalty of the logits and of the groups."""

from dataclasses import dataclass

from fairret.loss import NormLoss
from fairret.statistic import TruePositiveRate
from torch.nn.functional import one_hot

from bench import Method, NotApplicableError


@dataclass
class Fair(Method):
    """A penalty for different rates of true positives in the groups (Buyl et al. 2024)."""

    strength: float = 0.1
    uses_groups = True

    def setup(self):
        if len(self.task.classes) != 2:
            raise NotApplicableError("fair needs two classes")
        self.penalty = NormLoss(TruePositiveRate())

    def objective(self, batch, losses, weights):
        positive = (batch.logits[:, 1] - batch.logits[:, 0]).unsqueeze(1)
        groups = one_hot(batch.group, len(self.task.groups)).float()
        penalty = self.penalty(positive, groups, batch.y.float().unsqueeze(1))
        return super().objective(batch, losses, weights) + self.strength * penalty
