"""The training loops of the public codes of Meta-Weight-Net and L2RW, written anew with their structure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import Batch, Method, hookimpl
from bench.models.initial import initial_perceptron


@dataclass
class PublicLoop(Method):
    """The base of the public loops: a look-ahead as the public codes have it.

    In every step a new model is built, loaded with the parameters, moved by a gradient step that stays differentiable,
    and asked for its loss on a validation batch. Then the model itself sees the training batch again. BatchNorm's
    statistics move in the new model, which is thrown away. In the look-ahead, attention runs on the math kernel, the
    only one that can be differentiated twice.
    """

    uses_val = True

    def setup(self) -> None:
        self.val = self.task.val_batches()

    @sdpa_kernel(SDPBackend.MATH)
    def build(self, batch: Batch) -> tuple[nn.Module, Tensor]:
        """The new model, and its losses [B] on the batch."""
        model = self.task.new_model()
        model.load_state_dict(self.model.state_dict())
        return model, self.task.loss(model(batch.x), batch.y)

    @sdpa_kernel(SDPBackend.MATH)
    def look_ahead_loss(self, model: nn.Module, inner: Tensor) -> Tensor:
        """The mean validation loss of the new model after a step down `inner`."""
        lr = self.optimizer.param_groups[0]["lr"]
        val = next(self.val)
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = torch.autograd.grad(inner, parameters, create_graph=True)
        moved = {name: p - lr * g for name, p, g in zip(names, parameters, gradients, strict=True)}
        return self.task.loss(functional_call(model, moved, (val.x,)), val.y).mean()


@dataclass
class PublicMetaWeightNet(PublicLoop):
    """The public loop of Meta-Weight-Net: a network with 100 hidden units weights samples by their losses.

    The loop is written anew with the structure of the authors' code for noisy labels: the virtual step is a plain one
    with the model's learning rate, weights are not normalised, and the weight network's optimiser is Adam (1e-3, weight
    decay 1e-4). The validation loss goes backward into all that it depends on, so the new model's parameters get a
    gradient too, which nobody uses: the loop pays for it.

    Source: Shu et al., Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting, 2019, Algorithm 1.
    """

    rival_of: ClassVar[str] = "meta_weight_net"

    def setup(self) -> None:
        super().setup()
        self.net = nn.Sequential(nn.Linear(1, 100), nn.ReLU(), nn.Linear(100, 1), nn.Sigmoid()).to(self.task.device)
        initial = self.task.streams.draw(partial(initial_perceptron, 100), "method")  # as the method itself begins
        nn.utils.vector_to_parameters(initial.to(self.task.device), self.net.parameters())
        self.net_optimizer = torch.optim.Adam(self.net.parameters(), 1e-3, weight_decay=1e-4)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        model, losses = self.build(batch)
        val_loss = self.look_ahead_loss(model, (self.net(losses.detach().unsqueeze(-1)).squeeze(-1) * losses).mean())
        self.net_optimizer.zero_grad()
        val_loss.backward()
        self.net_optimizer.step()
        losses = self.task.loss(self.model(batch.x), batch.y)
        with torch.no_grad():
            weights = self.net(losses.unsqueeze(-1)).squeeze(-1)
        self.descend(self.objective(self.as_step(batch), losses, weights))
        return losses.detach(), weights


@dataclass
class PublicL2RW(PublicLoop):
    """The public loop of L2RW: a sample is weighted by how much a little more of it would lower the validation loss.

    The loop is written anew with the structure of the best-known PyTorch code: the virtual step is a plain one with the
    model's learning rate, from eps = 0, so that it moves nothing. A branch on the sum of the weights waits for a GPU.

    Source: Ren et al., Learning to Reweight Examples for Robust Deep Learning, 2018, Algorithm 1.

    Departures: here weights have mean 1 and enter the mean loss; in that code they have sum 1 and enter the sum.
    """

    rival_of: ClassVar[str] = "l2rw"

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        model, losses = self.build(batch)
        eps = torch.zeros_like(losses, requires_grad=True)
        (gradient,) = torch.autograd.grad(self.look_ahead_loss(model, (eps * losses).sum()), eps)
        weights = (-gradient).clamp_min(0)
        if (total := weights.sum()) > 0:
            weights = weights * (len(weights) / total)
        losses = self.task.loss(self.model(batch.x), batch.y)
        self.descend(self.objective(self.as_step(batch), losses, weights))
        return losses.detach(), weights


@hookimpl
def bench_rivals() -> Mapping[str, type[Method]]:
    return {"public_meta_weight_net": PublicMetaWeightNet, "public_l2rw": PublicL2RW}
