"""Adversarial perturbations: the range of inputs, and a single perturbation of all images that misleads a model."""

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
    """A single perturbation that misleads a model on many images.

    It begins at 0. Stochastic gradient ascent over batches of the split increases the mean of min(loss, beta), and each
    step is projected onto the ball. The bound beta keeps a single sample from dominating (equation 3). The model is
    attacked in evaluation mode; its parameters, their gradients and its mode stay as they are.

    Source: Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein, Universal Adversarial Training, 2020, Algorithm 1. The
    first such perturbations are those of Moosavi-Dezfooli, Fawzi, Fawzi, Frossard, Universal Adversarial Perturbations,
    2017, who search sample by sample.

    Departures: a step is along the sign of the gradient, in the ball of the maximum norm, and its size shrinks linearly
    to 0. Perturbed images are clamped to [0, 1], and the gradient is taken at the clamped images as if there were no
    clamp.

    Args:
        model: the model that is attacked.
        split: images.
        eps: greatest absolute value of the perturbation, in units of [0, 1].
        steps: number of steps.
        generator: on the CPU; it shuffles the samples for each pass. Equal states give equal perturbations.
        step: size of the first step, as a fraction of eps.
        beta: bound of the loss of a sample.
        batch_size: samples of a batch.

    Returns:
        [C, H, W], on the device of the split.

    Raises:
        NotApplicableError: if the inputs of the split are not images.
        OptionError: for values out of their range.
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
    """Images with a perturbation added, clamped to [0, 1].

    Args:
        x: [B, C, H, W] in [0, 1].
        delta: [C, H, W], the same for all images.

    Returns:
        [B, C, H, W] in [0, 1].
    """
    return (x + delta).clamp(0, 1)


class InputRange(NamedTuple):
    """The least and the greatest value of inputs, so that a perturbation's size means the same for images and features.

    Attributes:
        low, high: for images, scalars 0 and 1; for features, the least and the greatest value of each feature in the
            training data, [.., 1, D].
    """

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, train: Split) -> Self:
        """The range of the inputs of a split.

        Args:
            train: the training data; of bytes, the range is 0 to 1, as batches have them.

        Returns:
            The range, on the device of the split.
        """
        if train.x.dtype == torch.uint8:
            return cls(torch.zeros((), device=train.device), torch.ones((), device=train.device))
        samples = train.y.dim() - 1
        return cls(train.x.amin(samples, keepdim=True), train.x.amax(samples, keepdim=True))

    @property
    def span(self) -> Tensor:
        """The greatest minus the least value, of the shape of both."""
        return self.high - self.low

    def perturbed(self, x: Tensor, delta: Tensor) -> Tensor:
        """Inputs with a perturbation added, clamped to the range.

        Args:
            x: [.., B, ...].
            delta: the perturbation in units of the range, of a shape that broadcasts to the shape of x.

        Returns:
            [.., B, ...].
        """
        return (x + self.span * delta).clamp(self.low, self.high)
