"""FairBatch: batch selection for model fairness."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import Batch, Checks, Method, NotApplicableError, hookimpl
from bench.training.groups import group_counts, group_means


@dataclass
class FairBatch(Method):
    """FairBatch: in each class, batches take more samples of the group whose loss is larger.

    FairBatch solves the outer problem of a bilevel formulation, min over lambda of the disparity of the model that
    training with lambda gives, by signed gradient steps. For two classes y and two groups z, lambda_y is the share of a
    batch that is of class y and group 0; group 1 of the class gets the rest of the class's share of the training data,
    m_y / m. lambda_y starts at m_{y,0} / m. After each epoch the mean losses L_{y,z} of the whole training set are
    computed, and lambda_y moves by alpha in the direction of sign(L_{y,0} - L_{y,1}), within [0, m_y / m]. What the
    disparity is depends on the option `fairness`:

    - `equal_opportunity`: the disparity is |L_{1,0} - L_{1,1}|, and lambda_1 alone moves.
    - `equalized_odds`: the disparity is the larger of |L_{y,0} - L_{y,1}|, and the lambda_y of that class alone moves
      (a signed subgradient step); of equal ones, lambda_0.
    - `demographic_parity`: the same with L'_{y,z}, the sum of the losses against class 1 in place of the true class,
      over the number of samples of group z, as in the authors' code. With the 0-1 loss, L'_{0,z} + L'_{1,z} is the rate
      at which group z is predicted negative, so that equal L' give equal rates. More negatives of group 0 in the
      batches raise L'_{0,0}, so lambda_0 moves in the opposite direction, as in the authors' code.

    Losses stand in for rates: where samples far from the boundary dominate the losses, lambda may move without the
    rate.

    Source: Roh, Lee, Whang, Suh, FairBatch: Batch Selection for Model Fairness, 2021.

    What the paper leaves open is decided here:

    - The losses are those of the model in evaluation mode, without augmentation.
    - A batch has lambda times its size of samples of each kind, rounded up or down by systematic sampling. So over many
      batches the shares are lambda, and no small share is always rounded to nothing.
    - The samples of each kind come in an order drawn for the epoch, and again in that order when they are used up. None
      is twice in a batch unless the batch asks for more than there are.
    - An epoch has as many batches as ERM's.

    Like this method, the authors' code (yuji-roh/fairbatch) takes the losses of the whole training set in evaluation
    mode, and moves one lambda an epoch by the sign. It differs in these points:

    - Its lambdas are shares of the class, in [0, 1], so that one alpha moves a rare class less.
    - Its lambdas are those of group 1 (for equal losses they move towards group 0).
    - Its lambdas move before the first epoch too.
    - It rounds the parts of a batch.
    - Its labels are in {-1, 1}.

    Options:
        fairness: `equal_opportunity` (the default), `equalized_odds` or `demographic_parity`; class 1 is the positive
            one.
        alpha: step size of lambda, as a share of the batch. Default: 0.005, which the authors' examples have as a share
            of the class.

    Raises:
        NotApplicableError: unless the task has two classes and two groups, with training samples of both classes in
            both groups.
    """

    name = "fair_batch"
    stackable = True
    capturable = True
    uses_groups = True

    fairness: Literal["equal_opportunity", "equalized_odds", "demographic_parity"] = "equal_opportunity"
    alpha: float = 0.005

    def __post_init__(self) -> None:
        Checks(self).above(0, "alpha")

    def setup(self) -> None:
        train = self.task.train
        classes = self.task.classes
        groups = self.task.groups
        if (len(classes), len(groups)) != (2, 2):
            raise NotApplicableError(
                f"fair_batch needs two classes and two groups, not {len(classes)} and {len(groups)}"
            )
        self.count = group_counts(self.kind, 4)
        if bool((self.count == 0).any()):
            raise NotApplicableError("fair_batch needs training samples of both classes in both groups")
        share = self.count.double().unflatten(-1, (2, 2)) / len(train)
        self.class_share = share.sum(-1)
        self.lambdas = share[..., 0]
        self.gap = torch.zeros_like(self.lambdas)

    @property
    def kind(self) -> Tensor:
        """[.., N]: class and group of each training sample as one number, 2 * class + group."""
        return 2 * self.task.train.y + self.task.train.group

    def batches(self, epoch: int) -> Iterator[Batch]:
        return self.task.batches(epoch, self.order(epoch))

    def order(self, epoch: int) -> Tensor:
        """[.., N]: positions of the samples of the epoch's batches, one after the other, on the CPU."""
        n = len(self.task.train)
        kind = self.kind.cpu()
        count = self.count.cpu()
        wanted = self.composition(epoch)
        shuffled = self.task.streams.draw(lambda g: torch.randperm(n, generator=g), "method", epoch)
        by_kind = shuffled.gather(-1, kind.gather(-1, shuffled).argsort(dim=-1, stable=True))
        earlier = F.one_hot(wanted, 4).cumsum(-2).gather(-1, wanted.unsqueeze(-1)).squeeze(-1) - 1
        first = count.cumsum(-1) - count
        return by_kind.gather(-1, first.gather(-1, wanted) + earlier % count.gather(-1, wanted))

    def composition(self, epoch: int) -> Tensor:
        """[.., N]: the kind of sample at each place of the epoch's batches, on the CPU.

        The places of a batch are at equal distances in [0, 1), from a random start. Each kind has an interval as long
        as its share, and the places that fall into it are of that kind.
        """
        n = len(self.task.train)
        size = self.task.recipe.batch_size
        batch = torch.arange(n) // size
        place = torch.arange(n) % size
        start = self.task.streams.draw(
            lambda g: torch.rand(-(-n // size), generator=g, dtype=torch.float64), "method", epoch, "composition"
        )
        at = (place + start[..., batch]) / (n - batch * size).clamp_max(size)
        share = torch.stack([self.lambdas, self.class_share - self.lambdas], -1).flatten(-2).cpu()
        return (at.unsqueeze(-1) >= share.cumsum(-1)[..., None, :-1]).sum(-1)

    def end_epoch(self, epoch: int) -> None:
        self.gap = self.gaps()
        moved = F.one_hot(self.gap.abs().argmax(-1), 2) * self.gap.sign()
        self.lambdas = (self.lambdas + self.alpha * moved).clamp_min(0).minimum(self.class_share)

    def gaps(self) -> Tensor:
        """[.., 2]: for each class the difference that lambda is to close; its sign is the direction of the move."""
        train = self.task.train
        parity = self.fairness == "demographic_parity"
        losses = self.task.loss(self.predict(train), torch.ones_like(train.y) if parity else train.y)
        mean, count = group_means(losses.double(), self.kind, 4)
        mean = mean.unflatten(-1, (2, 2))
        count = count.unflatten(-1, (2, 2))
        if parity:
            mean = mean * count / count.sum(-2, keepdim=True)
        sign = {"equal_opportunity": (0, 1), "equalized_odds": (1, 1), "demographic_parity": (-1, 1)}[self.fairness]
        gap: Tensor = mean[..., 0] - mean[..., 1]
        return gap * torch.tensor(sign, device=gap.device)

    def diagnostics(self) -> dict[str, Tensor]:
        return {
            "disparity": self.gap.abs().amax(-1),
            "lambda_negative": self.lambdas[..., 0],
            "lambda_positive": self.lambdas[..., 1],
        }


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {FairBatch.name: FairBatch}
