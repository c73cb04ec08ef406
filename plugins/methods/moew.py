"""MOEW: Metric-Optimized Example Weights."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench import Batch, Checks, Method, Trials, hookimpl
from bench.metrics import require_direction
from bench.registry import installed
from bench.training.trials import validation_gain
from bench.training.weights import mean_one

POOL = 10_000  # points of the ball among which candidates are sought


def propose(alphas: Tensor, gains: Tensor, pool: Tensor, count: int, radius: float) -> list[int]:
    """Rows of `pool` to observe next, found by a Gaussian process.

    Args:
        alphas: points that are observed, [n, d].
        gains: values of the metric there, [n].
        pool: points to choose from, [M, d].
        count: number of points to choose.
        radius: of the ball; the initial length scale of the kernel.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels  # takes a while, and few need it

    x = alphas.cpu().numpy()
    y = gains.cpu().numpy()
    points = pool.cpu().numpy()
    y = (y - y.mean()) / (y.std() or 1.0)
    kernel = kernels.ConstantKernel(1.0, (1e-2, 1e2)) * kernels.RBF(radius, (1e-2 * radius, 1e2 * radius))
    process = GaussianProcessRegressor(kernel, alpha=1e-4)
    chosen: list[int] = []
    for _ in range(count):
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # a flat metric has no best kernel
            process.fit(x, y)
        mean, std = process.predict(points, return_std=True)
        chosen.append(best := int((mean + std).argmax()))
        x = np.vstack([x, points[best]])
        y = np.append(y, mean[best] - std[best])  # the lower bound stands for what is not observed yet
        process.set_params(kernel=process.kernel_, optimizer=None)
    return chosen


@dataclass
class MOEW(Trials):
    """MOEW: weights by a function of sample and label, whose parameters are searched by many trainings and validation.

    A sample weighs sigmoid(alpha . z(x, y)), divided by the mean over the batch, where z is the embedding of an
    autoencoder of (x, y). Each candidate alpha, a point of a ball, is a whole training, after which the metric is
    measured on the validation data. A Gaussian process proposes rounds of candidates, at its greatest upper confidence
    bound; within a round the lower bound stands for what is not observed yet. The last training repeats that of the
    best candidate. The record has the cost of all trainings.

    Source: Zhao, Fard, Narasimhan, Gupta, Metric-Optimized Example Weights, 2019. "The code" below is the authors'.

    Departures, and what is decided here:

    - The autoencoder has 10, `embedding` and 10 units, as in the code for Communities; the tanh between is ours. It
      learns from the batches of one training (10,000 steps on Communities, as in the code), by Adam at 1e-3, and its
      loss is the mean squared error of x plus the recipe's loss of y. The weights are computed from z of the samples
      without augmentation.
    - The first round is uniform in the ball, whose radius is ours. Later rounds are chosen among 10,000 such points, as
      in the code. A confidence bound is one standard deviation away, which is ours.
    - The process has the code's kernel, a constant times an RBF, fitted once a round by maximum likelihood, and the
      code's noise 1e-4, on the metric scaled to mean 0 and variance 1 (on MNIST the code takes log(1 + metric)).
    - The metric is that after a candidate's last epoch, without the averaging of parameters that a recipe may ask for.
    - The code also weights Communities by population; this does not.

    Options:
        rounds, per_round: number of rounds, and of candidates in a round. Defaults: 10 and 5, as the code has for
            Communities. For MNIST it has 10 rounds of 20; FORML has 20 rounds for CIFAR-10 and 50 for CIFAR-100.
        metric: what is optimised, by name. None (the default): the recipe's `select`.
        embedding: dimension of z. 0: z is the label alone, one-hot, as in the code for MNIST. Default: 4.
        radius: radius of the ball. Default: 10.
        selection: which value is the best. `corrected` (the default): the best value of the metric. `faithful`: the
            least, even where more is better, in proposals and choice, as the code does for Communities, where the
            metric is the accuracy.

    Raises:
        UnknownNameError: for a metric that is not installed.
    """

    name = "moew"
    uses_val = True

    rounds: int = 10
    per_round: int = 5
    metric: str | None = None
    embedding: int = 4
    radius: float = 10.0
    selection: Literal["corrected", "faithful"] = "corrected"

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(1, "rounds", "per_round")
        check.at_least(0, "embedding")
        check.above(0, "radius")
        if self.metric:
            require_direction("moew: metric", self.metric, installed().find("metrics", self.metric).value)

    def setup(self) -> None:
        train = self.task.train
        classes = len(self.task.classes)
        self.embeds = False  # whether the autoencoder is trained, not the model
        if self.embedding:
            inputs = train.x[0].numel() + classes
            with torch.random.fork_rng([]):
                torch.manual_seed(self.task.streams.seed("method"))
                pairs = [(nn.Linear(a, b), nn.Tanh()) for a, b in pairwise((inputs, 10, self.embedding, 10, inputs))]
            self.autoencoder = nn.Sequential(*[*chain(*pairs)][:-1]).to(train.device)  # the first four: the encoder
            self.autoencoder_optimizer = torch.optim.Adam(self.autoencoder.parameters(), 1e-3)
        self.z = self.embedded()
        self.alphas = self.ball(0)[: self.per_round]
        self.alpha = self.alphas[0].float()
        self.gains = torch.zeros(0, dtype=torch.float64, device=train.device)
        self.plan(bool(self.embedding) + self.rounds * self.per_round)

    def ball(self, tried: int) -> Tensor:
        """[POOL, d] float64: points drawn uniformly in the ball, other ones for each number of tried candidates."""
        d = self.embedding or len(self.task.classes)

        def draw(g: Generator) -> Tensor:
            direction = F.normalize(torch.randn(POOL, d, generator=g, dtype=torch.float64), dim=-1)
            return self.radius * direction * torch.rand(POOL, 1, generator=g, dtype=torch.float64) ** (1 / d)

        return self.task.streams.draw(draw, "method", tried).to(self.task.device)

    def joined(self, batch: Batch) -> Tensor:
        """[B, D + C]: the inputs of the autoencoder, features and one-hot label."""
        return torch.cat([batch.x.flatten(1), F.one_hot(batch.y, len(self.task.classes))], -1)

    @torch.no_grad()
    def embedded(self) -> Tensor:
        """[N, d]: z of the training samples."""
        train = self.task.train
        if not self.embedding:
            return F.one_hot(train.y, len(self.task.classes)).float()
        return torch.cat([self.autoencoder[:4](self.joined(batch)) for batch in train.in_order(500)])

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch; the first training is the autoencoder's."""
        self.embeds = bool(self.embedding) and self.trial(epoch) == 0
        return super().batches(epoch)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if not self.embeds:
            return super().update(batch)
        seen = self.joined(batch)
        x, y = self.autoencoder(seen).tensor_split([-len(self.task.classes)], -1)
        losses = (x - seen[:, : x.shape[-1]]).square().mean(-1) + self.task.loss(y, batch.y)
        self.autoencoder_optimizer.zero_grad()
        losses.mean().backward()
        self.autoencoder_optimizer.step()
        return losses.detach(), torch.ones_like(losses)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return mean_one((self.z[batch.index] @ self.alpha).sigmoid())

    def end_trial(self, trial: int) -> None:
        if self.embeds:
            self.z = self.embedded()
            return
        metric = self.metric or self.task.recipe.select
        reverse = self.selection == "faithful" and installed().find("metrics", metric).value.higher_is_better
        gain = validation_gain(self, metric) * (-1 if reverse else 1)
        self.gains = torch.cat([self.gains, self.gains.new_tensor([gain])])
        if len(self.gains) == len(self.alphas) < self.rounds * self.per_round:
            pool = self.ball(len(self.gains))
            chosen = propose(self.alphas, self.gains, pool, self.per_round, self.radius)
            self.alphas = torch.cat([self.alphas, pool[chosen]])
        self.alpha = self.alphas[self.candidate].float()

    @property
    def candidate(self) -> int:
        """Number of the candidate that is trained: each in turn, at last the best one, and of equal ones the first."""
        return len(self.gains) if len(self.gains) < len(self.alphas) else int(self.gains.argmax())


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {MOEW.name: MOEW}
