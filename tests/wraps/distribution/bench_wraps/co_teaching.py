"""Co-teaching: two networks, each with an optimiser."""

from dataclasses import dataclass

import torch

from bench import Method


@dataclass
class CoTeaching(Method):
    """Co-teaching (Han et al. 2018): each network learns from the samples with the smaller losses of the other one."""

    noise: float = 0.2

    def setup(self):
        torch.manual_seed(self.task.streams.seed("method"))
        self.nets = [self.model, self.task.new_model()]
        for module in self.nets[1].modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        self.optimizers = [self.optimizer, self.task.optimizer(self.nets[1])]
        self.share = 1.0

    def update(self, batch):
        losses = [self.task.loss(net(batch.x), batch.y) for net in self.nets]
        easy = [each.detach().argsort()[: int(self.share * len(each))] for each in losses]
        for own, chosen, optimizer in zip(losses, reversed(easy), self.optimizers, strict=True):
            optimizer.zero_grad()
            own[chosen].mean().backward()
            optimizer.step()
        return losses[0].detach(), torch.zeros_like(losses[0]).index_fill(0, easy[1], 1 / self.share)

    def end_epoch(self, epoch):
        self.share = 1 - self.noise * min(1, (epoch + 1) / 2)
