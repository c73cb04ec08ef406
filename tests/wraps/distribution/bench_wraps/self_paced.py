"""Self-paced learning: weights from the losses and from the progress of the training."""

from dataclasses import dataclass

from bench import Method


@dataclass
class SelfPaced(Method):
    """Self-paced learning (Kumar et al. 2010): the easy samples first, and more of them in each epoch."""

    first: float = 0.5

    def weights(self, batch, losses):
        share = self.first + (1 - self.first) * batch.epoch / max(1, self.training_epochs - 1)
        easy = (losses.detach() <= losses.detach().quantile(share)).float()
        return easy / easy.mean()
