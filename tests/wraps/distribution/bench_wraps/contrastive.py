"""pytorch-metric-learning: a contrastive pretraining before the epochs of the recipe."""

from dataclasses import dataclass

from pytorch_metric_learning.losses import SupConLoss

from bench import Method


@dataclass
class Contrastive(Method):
    """Pretraining with the supervised contrastive loss of the features (Khosla et al. 2020)."""

    epochs: int = 2
    temperature: float = 0.1
    uses_features = True

    def setup(self):
        self.preparation_epochs = self.epochs

    def objective(self, batch, losses, weights):
        if batch.epoch >= 0:
            return super().objective(batch, losses, weights)
        return SupConLoss(self.temperature)(batch.features, batch.y)
