"""For authors of methods: the base of methods that want the same prediction for an image and for mixtures of it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta, Dirichlet

from bench.checks import Checks
from bench.data.step import Step
from bench.images.operations import OPERATIONS, check_images, operate
from bench.training.losses import jensen_shannon, require_cross_entropy
from bench.training.method import Method


@dataclass
class Mixtures(Method):
    """The base of methods that want the same prediction for an image and for mixtures of chains of operations on it.

    A mixture of an image x is m x + (1 - m) sum_i w_i chain_i(x). For each image, the weights w are drawn from
    Dirichlet(alpha), m is drawn from Beta(alpha, alpha), and each chain has 1 to `depth` random operations
    (`bench.images.operations.operate`). The loss of a sample is the cross-entropy of the image, plus `consistency`
    times the Jensen-Shannon divergence of the predictions for the image and for two mixtures of it. All three go
    through the model in one pass.

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, AugMix: A Simple Data Processing Method to Improve
    Robustness and Uncertainty, 2020, Algorithm 1.

    Random numbers come from torch's global generators, which are seeded for each epoch.

    Options:
        severity: 0 to 10. The strength of an operation is uniform on 0 to severity / 10 of its range, with a random
            sign.
        width: number of chains.
        depth: greatest number of operations in a chain.
        alpha: parameter of both distributions.
        consistency: factor of the Jensen-Shannon divergence.

    Raises:
        NotApplicableError: in `setup`, for inputs that are not images and for another loss than the cross-entropy.
    """

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
        require_cross_entropy(self.name, self.task.recipe)

    def losses(self, batch: Step) -> Tensor:
        """The cross-entropy of each image, plus the divergence of the predictions for it and for two mixtures of it.

        Args:
            batch: of the training data; x [B, C, H, W] in [0, 1].

        Returns:
            [B], differentiable.
        """
        views = torch.cat([batch.x, self.mixtures(batch.x.repeat(2, 1, 1, 1))])
        logits = self.model(views).unflatten(0, (3, -1))
        return self.task.loss(logits[0], batch.y) + self.consistency * jensen_shannon(logits)

    @torch.no_grad()
    def mixtures(self, x: Tensor) -> Tensor:
        """A random mixture of each image and chains of operations on it.

        Args:
            x: [B, C, H, W] in [0, 1].

        Returns:
            [B, C, H, W] in [0, 1], without a gradient.
        """
        alpha = torch.full((self.width,), self.alpha, device=x.device)
        w = Dirichlet(alpha, validate_args=False).sample((len(x),))
        m = Beta(alpha[0], alpha[0], validate_args=False).sample((len(x), 1, 1, 1))
        chains = self.chains(x.repeat(self.width, 1, 1, 1)).unflatten(0, (self.width, -1))
        mixed: Tensor = m * x + (1 - m) * (w.T[..., None, None, None] * chains).sum(0)
        return mixed

    def chains(self, x: Tensor) -> Tensor:
        """Each image after 1 to `depth` random operations.

        Args:
            x: [B, C, H, W] in [0, 1].

        Returns:
            [B, C, H, W] in [0, 1].
        """
        n, device = len(x), x.device
        links = torch.randint(1, self.depth + 1, (n, 1, 1, 1), device=device)
        for link in range(self.depth):
            kind = torch.randint(len(OPERATIONS), (n,), device=device)
            strength = self.severity / 10 * torch.rand(n, device=device)
            sign = 2 * torch.randint(2, (n,), device=device) - 1
            x = operate(x, kind, sign * strength).where(link < links, x)
        return x
