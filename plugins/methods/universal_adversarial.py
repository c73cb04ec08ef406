"""Universal adversarial training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.images.attacks import InputRange


@dataclass
class UniversalAdversarial(Method):
    """Universal adversarial training: one perturbation of all inputs climbs the loss while the model descends it.

    The method solves min_w max_delta 1/N sum_i l(w, x_i + delta), with delta in a ball (equation 4), by the
    simultaneous stochastic gradient method (Algorithm 4), the paper's cheap one. A step is one pass of the perturbed
    batch, forward and backward. Its gradients move the parameters down, by the recipe's optimiser, and delta up; delta
    is then clamped to the ball. It starts at 0 and goes on from batch to batch.

    On 8x8 digits, a small convolutional network keeps more of its accuracy under universal perturbations than with ERM,
    at a price in clean accuracy. A perceptron does not (a likely reason: the biases of its first layer can undo one
    perturbation of all inputs). `shared_adversarial` defends both.

    Source: Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein, Universal Adversarial Training, 2020.

    Departures, and what the paper leaves open:

    - The paper's alternating method (Algorithm 3), which takes a second pass for delta with the new parameters and
      costs twice as much, is not offered.
    - The ball is that of the maximum norm, and perturbed inputs are clamped to [0, 1]. The gradient that delta follows
      is that at the clamped inputs, as if the clamp were not there: an entry that is clamped for every sample moves on.
    - Features that are not images have no such bounds. Each is clamped to its range in the training data, and eps is a
      fraction of that range, so the method applies to all inputs, and a constant feature stays as it is.
    - There is no pass for the attack alone: BatchNorm is in training mode and sees perturbed inputs only.

    Options:
        eps: radius of the ball, in units of [0, 1]. Default: 8/255.
        step: step size of delta, as a fraction of eps. Default: 1, our choice, after Algorithm 1 of Shafahi et al.
            2019, Adversarial Training for Free!: an entry then is -eps, 0 or eps.
        ascent: direction of the step. `sign` (the default, our choice): the sign of the gradient. `normalized`: the
            gradient divided by its largest entry.
        beta: losses above it do not move delta, which climbs min(l, beta) as in the paper's attack (equation 3). None
            (the default): no clip, as in equation 4. With BatchNorm, which couples samples, the gradient at the inputs
            with such a loss is left out, not all that the loss contributes.
    """

    name = "universal_adversarial"
    stackable = True
    capturable = True

    eps: float = 8 / 255
    step: float = 1.0
    ascent: Literal["sign", "normalized"] = "sign"
    beta: float | None = None

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(0, "eps", "step")
        check.above(0, "beta")

    def setup(self) -> None:
        train = self.task.train
        self.range = InputRange.of(train)
        self.delta = torch.zeros_like(train.x.narrow(train.y.dim() - 1, 0, 1), dtype=torch.float32)  # [.., 1, ...]

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x = self.range.perturbed(batch.x, self.delta).requires_grad_()
        losses, weights = super().update(batch._replace(x=x))  # the backward pass reaches x as well
        assert x.grad is not None
        self.climb(x.grad, losses)
        return losses, weights

    def climb(self, gradient: Tensor, losses: Tensor) -> None:
        """Take one step of delta up the losses.

        Args:
            gradient: gradient of the losses with respect to the perturbed inputs, [.., B, ...].
            losses: [.., B].
        """
        samples = losses.dim() - 1  # the dimension of the samples, and those of one input
        inputs = tuple(range(losses.dim(), gradient.dim()))
        if self.beta is not None:
            gradient = gradient * (losses < self.beta).view(*losses.shape, *(1 for _ in inputs))
        slope = self.range.span * gradient.sum(samples, keepdim=True)
        if self.ascent == "sign":
            direction = slope.sign()
        else:
            largest = slope.abs().amax(inputs, keepdim=True)
            direction = slope / (largest + (largest == 0))
        self.delta.add_(self.eps * self.step * direction).clamp_(-self.eps, self.eps)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {UniversalAdversarial.name: UniversalAdversarial}
