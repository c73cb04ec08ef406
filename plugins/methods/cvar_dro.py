"""CVaR DRO: the mean loss of the worst fraction of the samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.training.weights import mean_one


def cvar_weights(losses: Tensor, alpha: float) -> Tensor:
    """[.., B] losses -> [.., B] weights of mean 1 and at most 1 / alpha with the largest mean of weights * losses.

    The worst alpha B samples weigh 1 / alpha, the one on the boundary the fraction of it that is left, all others 0.
    Of equal losses the first comes first.
    """
    rank = losses.argsort(dim=-1, descending=True, stable=True).argsort(-1).to(losses.dtype)
    return (alpha * losses.shape[-1] - rank).clamp(0, 1) / alpha


def chi_square_weights(losses: Tensor, rho: float) -> Tensor:
    """[.., B] losses -> [.., B] weights of mean 1 and mean((w - 1)^2) / 2 <= rho with the largest mean of
    weights * losses.

    They are proportional to max(l - eta, 0), where eta solves (1 + 2 rho) E[(l - eta)+]^2 = E[(l - eta)+^2]. With a
    loss in place of eta, the left side is the smaller one for those losses that are above eta, which gives their number
    k; with their mean m and variance v, eta = m - sqrt(v / ((1 + 2 rho) k / B - 1)). Where all the weight may lie on
    the largest loss, it does.
    """
    size, bound = losses.shape[-1], 1 + 2 * rho
    excess = losses.double() - losses.double().amax(-1, keepdim=True)  # so that equal largest ones have variance 0
    worst = excess.sort(dim=-1, descending=True).values
    k = torch.arange(1, size + 1, device=losses.device)
    first, second = worst.cumsum(-1), worst.square().cumsum(-1)
    above = (first - k * worst) / size, (second - 2 * worst * first + k * worst.square()) / size
    last = (bound * above[0].square() <= above[1]).sum(-1, keepdim=True) - 1
    mean, square = (sums.gather(-1, last) / (last + 1) for sums in (first, second))
    variance = (square - mean.square()).clamp_min(0)
    eta = mean - (variance / (bound * (last + 1) / size - 1).clamp_min(1e-12)).sqrt()
    return mean_one((excess - eta).clamp_min(0).where(variance > 0, (excess == 0).double())).to(losses.dtype)


@dataclass
class CVaRDRO(Method):
    """CVaR DRO: each batch is weighted as its worst distribution would weigh it; no groups are needed.

    Source: Levy, Carmon, Duchi, Sidford, Large-Scale Methods for Distributionally Robust Optimization, 2020, the
    mini-batch estimator (sections 1 and 3): the gradient of the robust loss of each batch, taken as if it were all the
    data, with the worst weights as constants. It is biased for that of the whole set, the less so the larger the batch.
    Its multi-level estimator (section 4) is not here.

    The worst samples are those of the worst group only where they are not merely the noisy ones: the tests have a case
    in which the tail of the losses gets lower and the worst group no better. Few samples make the steps of a batch
    large ones; a small alpha may need a lower learning rate than ERM.

    Options:
        uncertainty: `cvar` (equation 2): weights of at most 1 / alpha; `chi_square` (equation 3): weights within a
            chi-square divergence of rho, 1/2 mean((w - 1)^2) <= rho.
        alpha: under `cvar`, the fraction of the batch that is the worst; 1 is ERM. None: 0.2, our choice.
        rho: under `chi_square`, the radius. None: 1, our choice.
    """

    name = "cvar_dro"
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
        """[.., B], with mean 1."""
        if self.uncertainty == "cvar":
            return cvar_weights(losses.detach(), self.alpha or 0.2)
        return chi_square_weights(losses.detach(), self.rho or 1.0)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {CVaRDRO.name: CVaRDRO}
