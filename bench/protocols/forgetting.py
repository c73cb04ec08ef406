"""Forgetting events: how often a training unlearns its samples."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data.split import Batch
from bench.training.method import Method


@dataclass
class Forgetting(Method):
    """Empirical risk minimisation that counts how often each sample is forgotten: classified correctly when it was
    drawn the time before, and wrongly now (Toneva et al. 2019, Algorithm 1).

    As there, a sample is looked at in the training batch, augmented and before the update.
    """

    capturable = True

    def setup(self) -> None:
        y = self.task.train.y
        self.events = torch.zeros_like(y)
        self.correct, self.learned = torch.zeros_like(y, dtype=torch.bool), torch.zeros_like(y, dtype=torch.bool)

    def losses(self, batch: Batch) -> Tensor:
        logits = self.model(batch.x)
        self.note(batch.index, logits.argmax(-1) == batch.y)
        return self.task.loss(logits, batch.y)

    def note(self, index: Tensor, correct: Tensor) -> None:
        """Whether the samples at `index` [.., B], no two of them the same, are classified correctly now."""
        forgotten = self.correct.gather(-1, index) & ~correct
        self.events.scatter_add_(-1, index, forgotten.long())
        self.learned.scatter_(-1, index, self.learned.gather(-1, index) | correct)
        self.correct.scatter_(-1, index, correct)

    @property
    def counts(self) -> Tensor:
        """[.., N] forgetting events of each training sample; infinite for those that were never classified correctly
        (section 3 there).
        """
        return self.events.float().masked_fill(~self.learned, math.inf)
