"""accelerate: a loop of the method's own, with the library's backward pass and its clipping of gradients."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator

from bench import Method


@dataclass
class Accelerated(Method):
    """Gradients are clipped to a norm."""

    norm: float = 0.1

    def fit(self, task, meter):
        self.begin(task)
        accelerator = Accelerator(cpu=task.device.type == "cpu")
        model, optimizer = accelerator.prepare(self.model, self.optimizer)
        for epoch in meter.epochs(self):
            model.train()
            for batch in self.batches(epoch):
                optimizer.zero_grad()
                losses = task.loss(model(batch.x), batch.y)
                accelerator.backward(losses.mean())
                accelerator.clip_grad_norm_(model.parameters(), self.norm)
                optimizer.step()
                meter.step(batch, losses, torch.ones_like(losses))
        return self.evaluated()
