"""Adversarial perturbations: the range that inputs keep to, and one change of all images that misleads a model."""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench.data.split import Split
from bench.errors import OptionError
from bench.images.operations import check_images


def universal_perturbation(
    model: nn.Module,
    split: Split,
    eps: float,
    steps: int,
    generator: Generator,
    *,
    step: float = 0.1,
    beta: float = 9.0,
    batch_size: int = 128,
) -> Tensor:
    """delta [C, H, W], of absolute values up to eps in units of [0, 1], on the device of the split.

    Source: Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein, Universal Adversarial Training, 2020, Algorithm 1: from 0,
    stochastic gradient ascent over batches of the split on the mean of min(loss, beta), projected onto the ball; the
    clip keeps one sample from taking it all (equation 3). Perturbations of this kind were found by Moosavi-Dezfooli,
    Fawzi, Fawzi, Frossard, Universal Adversarial Perturbations, 2017, with a search sample by sample. Departures: a
    step is along the sign of the gradient, in the ball of the maximum norm, and shrinks linearly to 0; perturbed images
    are clamped to [0, 1], with the gradient at the clamped images, as if the clamp were not there.

    The model is in evaluation mode while it is attacked; its parameters, their gradients and its mode stay.

    step: the first step's size, as a fraction of eps.
    generator: on the CPU; orders the samples anew for each pass. Equal states give equal perturbations.

    Raises NotApplicableError for a split of anything but images, OptionError for options that make no sense.
    """
    if not 0 <= eps <= 1 or steps < 1 or step <= 0 or beta <= 0 or batch_size < 1:
        raise OptionError(
            "the attack needs eps in [0, 1], steps and batch_size of at least 1, and step and beta above 0, "
            f"not {eps:g}, {steps}, {batch_size}, {step:g} and {beta:g}"
        )
    check_images(split, "the universal perturbation")
    training = model.training
    model.eval()
    delta = torch.zeros_like(split.x[0], dtype=torch.float32)
    order = torch.empty(0, dtype=torch.int64)
    for k in range(steps):
        if not len(order):
            order = torch.randperm(len(split), generator=generator)
        index, order = order[:batch_size], order[batch_size:]
        batch = split.batch(index.to(split.device))
        x = perturbed(batch.x, delta).requires_grad_()
        losses = F.cross_entropy(model(x).float(), batch.y, reduction="none")
        (gradient,) = torch.autograd.grad(losses.clamp_max(beta).sum(), x)
        size = eps * step * (1 - k / steps)
        delta.add_(size * gradient.sum(0).sign()).clamp_(-eps, eps)
    model.train(training)
    return delta


def perturbed(x: Tensor, delta: Tensor) -> Tensor:
    """Images [B, C, H, W] moved by delta [C, H, W] and clamped to [0, 1]."""
    return (x + delta).clamp(0, 1)


class InputRange(NamedTuple):
    """Least and greatest value of inputs, so that the size of a perturbation means the same for images and features.

    Attributes:
        low, high: scalars 0 and 1 for images; for features those of each in the training data, [.., 1, D].
    """

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, train: Split) -> Self:
        """The range of the inputs of a split."""
        if train.x.dtype == torch.uint8:
            return cls(torch.zeros((), device=train.device), torch.ones((), device=train.device))
        samples = train.y.dim() - 1
        return cls(train.x.amin(samples, keepdim=True), train.x.amax(samples, keepdim=True))

    @property
    def span(self) -> Tensor:
        """The greatest minus the least value."""
        return self.high - self.low

    def perturbed(self, x: Tensor, delta: Tensor) -> Tensor:
        """Inputs moved by a perturbation and clamped to the range.

        Args:
            x: [.., B, ...].
            delta: what they are moved by, in units of the range; of a shape that is broadcast to that of x.

        Returns:
            [.., B, ...].
        """
        return (x + self.span * delta).clamp(self.low, self.high)
