"""Shared adversarial training."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import Checks, Method, Step, hookimpl
from bench.images.attacks import InputRange


def heap_sums(values: Tensor, dim: int, size: int) -> Tensor:
    """For each entry along `dim`, the sum over its heap: `size` consecutive entries; the last heap has what is left."""
    n = values.shape[dim]
    size = min(size, n)
    heaps = F.pad(values, (0, 0) * (values.dim() - dim - 1) + (0, -n % size)).unflatten(dim, (-1, size))
    sums: Tensor = heaps.sum(dim + 1, keepdim=True).expand_as(heaps)
    return sums.flatten(dim, dim + 1).narrow(dim, 0, n)


@dataclass
class SharedAdversarial(Method):
    """Shared adversarial training: batches are split into heaps, each with one perturbation that raises its loss most.

    A batch is split into heaps of `sharedness` samples. Projected gradient ascent looks for a perturbation of each
    heap, in a ball of the maximum norm, that raises the heap's mean loss: it takes steps along the sign of the
    gradient, from 0. The model descends sigma times the loss of the perturbed samples plus 1 - sigma times that of the
    clean ones. Heaps of one sample are adversarial training (Madry, Makelov, Schmidt, Tsipras, Vladu 2018, without
    their random start); one heap of the whole batch approaches training against universal perturbations.

    An update costs a step of ERM, a forward and backward pass for each of the `steps`, and another pass where sigma is
    below 1.

    Source: Mummadi, Brox, Metzen, Defending Against Universal Perturbations With Shared Adversarial Training, 2019.

    Departures, and what the paper leaves open:

    - A heap is `sharedness` consecutive samples of the batch, which is in random order; the last one may be smaller.
    - During the attack the model is in evaluation mode: no running statistic of BatchNorm moves, no dropout is drawn,
      and no heap depends on another one. The perturbed and the clean samples have separate passes in training mode, and
      each moves the running statistics.
    - Perturbed inputs are clamped to [0, 1], and the gradient is that at the clamped inputs. As in
      `universal_adversarial`, features that are not images are clamped to their range in the training data, and eps is
      a fraction of it, so the method applies to all inputs.
    - The loss that the attack climbs is the recipe's, without any threshold.
    - The defaults of all options are ours.

    Options:
        sharedness: number of samples in a heap; one heap of all where it exceeds the batch. Default: 8.
        eps: radius of the ball, in units of [0, 1]. Default: 8/255.
        steps, step: number of steps of the attack, and their size as a fraction of eps. Defaults: 4 and 0.5.
        sigma: weight of the loss of the perturbed samples; 1 uses no clean ones. Default: 0.5.
    """

    name = "shared_adversarial"
    stackable = True
    capturable = True

    sharedness: int = 8
    eps: float = 8 / 255
    steps: int = 4
    step: float = 0.5
    sigma: float = 0.5

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(1, "sharedness", "steps")
        check.at_least(0, "eps", "step")
        check.within(0, 1, "sigma", closed="right")

    def setup(self) -> None:
        self.range = InputRange.of(self.task.train)

    def losses(self, batch: Step) -> Tensor:
        losses = self.sigma * super().losses(batch._replace(x=self.perturbed(batch)))
        return losses if self.sigma == 1 else losses + (1 - self.sigma) * super().losses(batch)

    def perturbed(self, batch: Step) -> Tensor:
        """The inputs [.., B, ...] of a batch, each heap with its perturbation."""
        training = self.model.training
        self.model.eval()
        delta = torch.zeros_like(batch.x)
        for _ in range(self.steps):
            x = self.range.perturbed(batch.x, delta).requires_grad_()
            (gradient,) = torch.autograd.grad(super().losses(batch._replace(x=x)).sum(), x)
            direction = heap_sums(gradient, batch.y.dim() - 1, self.sharedness).sign()
            delta = (delta + self.eps * self.step * direction).clamp(-self.eps, self.eps)
        self.model.train(training)
        return self.range.perturbed(batch.x, delta)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {SharedAdversarial.name: SharedAdversarial}
