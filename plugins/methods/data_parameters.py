"""Data parameters: a learned temperature for each class and each sample."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench import Batch, Checks, Method, hookimpl
from bench.training.losses import require_cross_entropy

LEVELS = ("class", "instance")


@dataclass
class DataParameters(Method):
    """Data parameters: the logits of a sample are divided by a temperature that is learned together with the model.

    The loss of a sample is the cross-entropy of its logits divided by sigma* = sigma_class + sigma_inst. Its gradient
    with respect to sigma* is (z_y - sum_j p_j z_j) / sigma*^2: while the logit of its class is below the mean, the
    temperature of a sample rises and its influence on the training falls. Both parts are kept as logarithms and learned
    by SGD from the training loss, in the same step as the model. There is no temperature in evaluation. The reported
    weights are 1, because the losses at temperature already say how much a sample counts.

    From 0.001, a sigma_inst moves a thousand times more slowly than from 1, so under `both` it is mostly the classes
    that learn. On a small problem where 20 % of the labels become class 0, the defaults raise the accuracy after 10
    epochs, but not after 50.

    Source: Saxena, Tuzel, DeCoste, Data Parameters: A New Family of Parameters for Learning a Differentiable
    Curriculum, 2019.

    Departures, and what the paper leaves open:

    - The weight decay of the logarithms, which draws temperatures to 1, is half its factor times their squares for the
      samples of the batch, in the batch's mean with their losses. So a temperature moves only when it is used. The
      authors' code adds the sum over the batch to the mean loss: its factor is the one here over the batch size.
    - After each step temperatures are kept above a `bound`-th of their initial values and below `bound`. The authors'
      code keeps all between 1/20 and 20, also those that begin at 0.001.
    - SGD has no momentum here. The authors' code has 0.9 for the temperatures of the batch, which moves them faster.
    - The learning rates stay constant for the whole training, as in the code. They and the decay have to be chosen for
      each data set. Runs that users of the code quote have, for `both`, class_lr 0.1 and instance_lr 0.8 with decays of
      1e-4 and 1e-8, and for `instance` with wrong labels instance_lr 0.2 without decay.

    Options:
        level: which temperatures are learned. `both` (the default): sigma_class begins at 1 and sigma_inst at 0.001, so
            that sigma* begins near 1. `class` or `instance`: sigma* is that part alone, which begins at 1.
        class_lr, instance_lr: learning rates, on the mean loss of the batch. None (the default): 0.1, as in the
            authors' code.
        class_weight_decay, instance_weight_decay: weight decay of the logarithms. None (the default): 1e-4, our choice;
            the code's default is 0.
        bound: largest temperature, above 1. Default: 20, as in the authors' code.

    Raises:
        NotApplicableError: for another loss than cross-entropy.
    """

    name = "data_parameters"
    stackable = True
    capturable = True

    level: Literal["both", "class", "instance"] = "both"
    class_lr: float | None = None
    instance_lr: float | None = None
    class_weight_decay: float | None = None
    instance_weight_decay: float | None = None
    bound: float = 20.0

    def __post_init__(self) -> None:
        check = Checks(self)
        for level in LEVELS:
            check.at_least(0, f"{level}_lr", f"{level}_weight_decay")
            if self.level not in ("both", level):
                check.unused(f"{level}_lr", "level")
                check.unused(f"{level}_weight_decay", "level")
        check.above(1, "bound")

    def setup(self) -> None:
        require_cross_entropy(self.name, self.task.recipe)
        lr = (self.class_lr, self.instance_lr)
        decay = (self.class_weight_decay, self.instance_weight_decay)
        self.lr = {level: 0.1 if value is None else value for level, value in zip(LEVELS, lr, strict=True)}
        self.decay = {level: 1e-4 if value is None else value for level, value in zip(LEVELS, decay, strict=True)}
        y = self.task.train.y
        sizes = {"class": len(self.task.classes), "instance": y.shape[-1]}
        levels = sizes if self.level == "both" else [self.level]
        self.initial = {"class": 0.0, "instance": math.log(0.001) if self.level == "both" else 0.0}
        self.log_sigma = nn.ParameterDict(
            {name: torch.full((*y.shape[:-1], sizes[name]), self.initial[name], device=y.device) for name in levels}
        )
        groups = [{"params": [table], "lr": self.lr[name]} for name, table in self.log_sigma.items()]
        self.sigma_optimizer = torch.optim.SGD(groups)

    def of_samples(self, batch: Batch) -> dict[str, Tensor]:
        """The logarithms [.., B] of a batch's temperatures, by level: of the samples' classes and of their own."""
        where = {"class": batch.y, "instance": batch.index}
        return {name: table.gather(-1, where[name]) for name, table in self.log_sigma.items()}

    def losses(self, batch: Batch) -> Tensor:
        sigma = torch.stack([log.exp() for log in self.of_samples(batch).values()]).sum(0)
        return self.task.loss(self.model(batch.x) / sigma.unsqueeze(-1), batch.y)

    def objective(self, batch: Batch, losses: Tensor, weights: Tensor) -> Tensor:
        penalties = [self.decay[name] / 2 * log.square() for name, log in self.of_samples(batch).items()]
        return (losses + torch.stack(penalties).sum(0)).mean(-1)

    def descend(self, objective: Tensor) -> None:
        self.sigma_optimizer.zero_grad()
        super().descend(objective)
        self.sigma_optimizer.step()
        width = math.log(self.bound)
        with torch.no_grad():
            for name, table in self.log_sigma.items():
                table.clamp_(self.initial[name] - width, width)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {DataParameters.name: DataParameters}
