"""CVaR DRO: the mean loss of the worst fraction of the samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.training.weights import mean_one


def cvar_weights(losses: Tensor, alpha: float) -> Tensor:
    """Weights of mean 1 and at most 1 / alpha that make the mean of weights * losses largest.

    The worst alpha B samples weigh 1 / alpha, the sample on the boundary weighs the fraction of it that is left, and
    all others weigh 0. Of equal losses the first comes first.

    Args:
        losses: [.., B].
        alpha: fraction of the batch that is the worst, in (0, 1].

    Returns:
        [.., B].
    """
    rank = losses.argsort(dim=-1, descending=True, stable=True).argsort(-1).to(losses.dtype)
    return (alpha * losses.shape[-1] - rank).clamp(0, 1) / alpha


def chi_square_weights(losses: Tensor, rho: float) -> Tensor:
    """Weights of mean 1 with mean((w - 1)^2) / 2 <= rho that make the mean of weights * losses largest.

    They are proportional to max(l - eta, 0), where eta solves (1 + 2 rho) E[(l - eta)+]^2 = E[(l - eta)+^2]. If a loss
    stands in for eta, the left side is the smaller one exactly for those losses that are above eta. That gives their
    number k; with their mean m and variance v, eta = m - sqrt(v / ((1 + 2 rho) k / B - 1)). Where the bound allows all
    the weight to lie on the largest loss, it does.

    Args:
        losses: [.., B].
        rho: radius of the chi-square ball, above 0.

    Returns:
        [.., B].
    """
    size = losses.shape[-1]
    bound = 1 + 2 * rho
    excess = losses.double() - losses.double().amax(-1, keepdim=True)  # so that equal largest ones have variance 0
    worst = excess.sort(dim=-1, descending=True).values
    k = torch.arange(1, size + 1, device=losses.device)
    first = worst.cumsum(-1)
    second = worst.square().cumsum(-1)
    mean_above = (first - k * worst) / size  # E[(l - eta)+] with each loss as eta
    square_above = (second - 2 * worst * first + k * worst.square()) / size
    last = (bound * mean_above.square() <= square_above).sum(-1, keepdim=True) - 1
    mean = first.gather(-1, last) / (last + 1)
    square = second.gather(-1, last) / (last + 1)
    variance = (square - mean.square()).clamp_min(0)
    eta = mean - (variance / (bound * (last + 1) / size - 1).clamp_min(1e-12)).sqrt()
    return mean_one((excess - eta).clamp_min(0).where(variance > 0, (excess == 0).double())).to(losses.dtype)


@dataclass
class CVaRDRO(Method):
    """CVaR DRO: each batch is weighted by the worst distribution of its samples near the uniform one; no groups needed.

    For each batch the weights that make its weighted loss largest are computed, as if the batch were all the data, and
    are then treated as constants in the gradient. The estimator is biased for the gradient of the whole set, the less
    so the larger the batch.

    The worst samples are those of the worst group only where they are not merely the noisy ones: the tests have a case
    in which the tail of the losses gets lower and the worst group no better. Where few samples carry the weight, the
    steps of a batch are large; a small alpha may need a lower learning rate than ERM.

    Source: Levy, Carmon, Duchi, Sidford, Large-Scale Methods for Distributionally Robust Optimization, 2020, the
    mini-batch estimator (sections 1 and 3).

    Departures: the paper's multi-level estimator (section 4) is not offered.

    Options:
        uncertainty: which distributions are near. `cvar` (the default, equation 2): weights of at most 1 / alpha.
            `chi_square` (equation 3): weights within a chi-square divergence of rho, 1/2 mean((w - 1)^2) <= rho.
        alpha: under `cvar`, the fraction of the batch that is the worst; 1 is ERM. None (the default): 0.2, our choice.
        rho: under `chi_square`, the radius. None (the default): 1, our choice.
    """

    name = "cvar_dro"
    stackable = True
    capturable = True

    uncertainty: Literal["cvar", "chi_square"] = "cvar"
    alpha: float | None = None
    rho: float | None = None

    def __post_init__(self) -> None:
        check = Checks(self)
        check.within(0, 1, "alpha", closed="right")
        check.above(0, "rho")
        check.unused("rho" if self.uncertainty == "cvar" else "alpha", "uncertainty")

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """The weights of the batch, [.., B] with mean 1."""
        if self.uncertainty == "cvar":
            return cvar_weights(losses.detach(), self.alpha or 0.2)
        return chi_square_weights(losses.detach(), self.rho or 1.0)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {CVaRDRO.name: CVaRDRO}
