"""AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta, Dirichlet

from bench import Batch, Checks, Method, hookimpl
from bench.images.operations import (
    autocontrast,
    check_images,
    equalize,
    histogram,
    look_up,
    posterize,
    rotate,
    shear_x,
    shear_y,
    solarize,
    translate,
    warp,
)
from bench_plugins.methods.imbalance import require_cross_entropy

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*GEOMETRIC, "autocontrast", "equalize", "posterize", "solarize")


def operate(x: Tensor, kind: Tensor, strength: Tensor) -> Tensor:
    """One operation on each image of x [B, C, H, W].

    kind [B] int64: which of OPERATIONS. strength [B] in [-1, 1]: 1 turns by 30 degrees, shears by 0.3, moves by a third
    of the side, leaves 0 of 4 bits, inverts all levels; its sign counts for geometric operations alone, and
    autocontrast and equalize have no strength.
    """
    (_, channels, height, width), none, plain = x.shape, torch.zeros_like(strength), strength.abs()
    affine = torch.stack(
        [
            rotate(30 * strength, height, width),
            shear_x(0.3 * strength),
            shear_y(0.3 * strength),
            translate(width / 3 * strength, none),
            translate(none, height / 3 * strength),
        ],
    )
    counts = histogram(x)
    tables = autocontrast(counts), equalize(counts), posterize(4 - (4 * plain).long()), solarize(256 * (1 - plain))
    table = torch.stack([t.expand(-1, channels, -1) for t in tables])
    image, first = torch.arange(len(x), device=x.device), len(GEOMETRIC)
    warped = warp(x, affine[kind.clamp_max(first - 1), image])
    looked_up = look_up(x, table[(kind - first).clamp_min(0), image])
    return warped.where((kind < first).view(-1, 1, 1, 1), looked_up)


def jensen_shannon(logits: Tensor) -> Tensor:
    """[V, B, C] logits of V views -> [B]: the mean Kullback-Leibler divergence of a view from the mean of the views."""
    log_p = logits.log_softmax(-1)
    log_mean = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_mean)).sum(-1).mean(0)


@dataclass
class AugMix(Method):
    """AugMix: predictions are to agree on an image and on two mixtures of chains of image operations on it.

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, AugMix: A Simple Data Processing Method to Improve
    Robustness and Uncertainty, 2020, Algorithm 1. A mixture is m x + (1 - m) sum_i w_i chain_i(x): weights w from
    Dirichlet(alpha), m from Beta(alpha, alpha), and in each chain 1 to `depth` operations, all drawn for each image.
    The loss of a sample is the cross-entropy of the clean image plus `consistency` times the Jensen-Shannon divergence
    of the three posteriors. The operations are the paper's, without those that the corruptions of CIFAR-C have too.

    What the paper leaves open is decided here:

    - An operation at severity s has a strength uniform on 0 to s / 10 of its range, and a random sign. The ranges are
      those of the authors' code: 30 degrees, a shear of 0.3, a third of the side, 4 to 0 bits, a threshold of 256 to 0.
      Their code draws from 0.1 on, and cuts angles and translations to whole degrees and pixels; here they are real
      numbers, for on small images few translations would be left.
    - Geometric operations and autocontrast are not rounded to bytes. The mixtures are of images in [0, 1]; normalised
      ones, as the authors' code mixes, give the same.
    - The three views go through the model in one pass, as in the authors' code: BatchNorm's statistics are over all.
    - The operations come after the data set's augmentation.

    On 600 digits of 8x8 pixels it is more accurate than ERM under blur and shifts, and less under Gaussian noise, for
    each of 5 seeds; the paper has gains under noise too, on CIFAR-C.

    Random numbers come from torch's global generators, which are seeded for each epoch: runs are paired and resumable.
    Images of less than 256 pixels are never equalised, as in PIL. Raises NotApplicableError for inputs that are not
    images, and for another loss than cross-entropy, which has no posteriors.

    Options:
        severity: 0 to 10; the paper has 3 for CIFAR. 0 leaves autocontrast, equalize, and posterize to 4 bits.
        width: number of chains (k). depth: most operations of a chain. alpha: of both distributions.
        consistency: factor of the Jensen-Shannon divergence (lambda).
    """

    name = "augmix"
    stackable = False

    severity: float = 3.0
    width: int = 3
    depth: int = 3
    alpha: float = 1.0
    consistency: float = 12.0

    def __post_init__(self) -> None:
        check = Checks(self)
        check.within(0, 10, "severity")
        check.at_least(1, "width", "depth")
        check.above(0, "alpha")
        check.at_least(0, "consistency")

    def setup(self) -> None:
        check_images(self.task.train, self.name)
        require_cross_entropy(self.name, self.task)

    def losses(self, batch: Batch) -> Tensor:
        views = torch.cat([batch.x, self.mixtures(batch.x.repeat(2, 1, 1, 1))])
        logits = self.model(views).unflatten(0, (3, -1))
        return self.task.loss(logits[0], batch.y) + self.consistency * jensen_shannon(logits)

    @torch.no_grad()
    def mixtures(self, x: Tensor) -> Tensor:
        """A mixture of each image of x [B, C, H, W]."""
        alpha = torch.full((self.width,), self.alpha, device=x.device)
        w = Dirichlet(alpha, validate_args=False).sample((len(x),))
        m = Beta(alpha[0], alpha[0], validate_args=False).sample((len(x), 1, 1, 1))
        chains = self.chains(x.repeat(self.width, 1, 1, 1)).unflatten(0, (self.width, -1))
        mixed: Tensor = m * x + (1 - m) * (w.T[..., None, None, None] * chains).sum(0)
        return mixed

    def chains(self, x: Tensor) -> Tensor:
        """Each image of x [B, C, H, W] after a random number of random operations."""
        n, device = len(x), x.device
        links = torch.randint(1, self.depth + 1, (n, 1, 1, 1), device=device)
        for link in range(self.depth):
            kind = torch.randint(len(OPERATIONS), (n,), device=device)
            strength = self.severity / 10 * torch.rand(n, device=device)
            sign = 2 * torch.randint(2, (n,), device=device) - 1
            x = operate(x, kind, sign * strength).where(link < links, x)
        return x


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {AugMix.name: AugMix}
