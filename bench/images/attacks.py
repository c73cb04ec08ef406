"""A universal adversarial perturbation: one change of all images of a split that misleads a model."""

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
