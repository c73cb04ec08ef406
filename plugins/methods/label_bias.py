"""Label bias: Identifying and Correcting Label Bias in Machine Learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, NotApplicableError, OptionError, Trials, hookimpl
from bench.training.weights import mean_one


@dataclass
class LabelBias(Trials):
    """Label bias: closed-form weights from multipliers that correct how each group is predicted on the training data.

    The steps are: train; for each group g, measure by how much its rate of positive predictions falls short of the
    overall rate; add eta times that to its multiplier m_g; weight the positive samples of the group by sigmoid(2 m_g)
    and its negative samples by sigmoid(-2 m_g); train again. The predictions are those on the training data, without
    augmentation.

    Where groups are the classes (the group of every training sample is its class), each sample is a positive one of its
    own group and weighs sigmoid(2 m_y). Demographic parity then is as in the paper's section 8, where 10 % of MNIST are
    to be predicted as a 2: the predictions of one class are held at a target rate, and only its multiplier moves.

    Source: Jiang and Nachum, Identifying and Correcting Label Bias in Machine Learning, 2020, Algorithm 1.

    Departures, and what is decided here:

    - The factor 2 in the weights is that of the authors' code. The paper has none, which is half the eta.
    - The weights are scaled to mean 1 over the training set, so that multipliers of 0 train exactly as ERM does. On
      MNIST the authors draw batches with probability in proportion to the weights, which is the same in expectation.
    - A group that has no sample to measure a rate on has no violation.
    - FORML does not say which class is the "worst performing". Here it is the class with the least recall on the
      training data, determined anew at each update. The multipliers of classes that were the worst before stay.
    - The equal opportunity of classes, sum of hits over all samples against recall of the class, is our generalisation.
    - The authors return the model before the last update. Here one more is trained, with the last weights.

    Options:
        constraint: `equal_opportunity`: rates among the samples of class 1. `demographic_parity`: rates among all. None
            (the default): as in FORML (section 4.1), the former for a sensitive attribute, the latter where groups are
            the classes.
        procedure: what a training is. `epoch` (the default): one epoch, from where the model is, as FORML has it.
            `refit`: the whole recipe from scratch, as the paper has it, `iterations` times and once more with the last
            weights.
        iterations: number of trainings under `refit`. None (the default): 100, as in the authors' code.
        eta: step size of the multipliers. Default: 1, as in the authors' code and in FORML's Tables 3 and 4; FORML's
            Table 2 has 1e-5.
        positive: under demographic parity of classes, the number of the class that is held at `rate`. None (the
            default): the worst class.
        rate: the rate that this class is held at. None (the default): uniform, 1 / number of classes.

    Raises:
        NotApplicableError: for a sensitive attribute on a task that has not two classes.
        OptionError: for `positive` or `rate` where the groups are not the classes, and for a `positive` that is no
            class.
    """

    name = "label_bias"
    stackable = True
    uses_groups = True

    constraint: Literal["equal_opportunity", "demographic_parity"] | None = None
    procedure: Literal["epoch", "refit"] = "epoch"
    iterations: int | None = None
    eta: float = 1.0
    positive: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(0, "eta", "positive")
        check.at_least(1, "iterations")
        check.within(0, 1, "rate")
        if self.procedure == "epoch":
            check.unused("iterations", "procedure")
        if self.constraint == "equal_opportunity":
            check.unused("positive", "constraint")
            check.unused("rate", "constraint")

    def setup(self) -> None:
        train = self.task.train
        groups = len(self.task.groups)
        self.by_class = torch.equal(train.group, train.y)
        usual = "demographic_parity" if self.by_class else "equal_opportunity"
        self.parity = (self.constraint or usual) == "demographic_parity"
        self.check_task()
        self.multipliers = torch.zeros(*train.y.shape[:-1], groups, dtype=torch.float64, device=train.device)
        self.w = torch.ones(train.y.shape, device=train.device)
        self.plan((self.iterations or 100) if self.procedure == "refit" else 0)

    def check_task(self) -> None:
        classes = len(self.task.classes)
        if not self.by_class and classes != 2:
            raise NotApplicableError(f"label_bias with a sensitive attribute needs two classes, not {classes}")
        for name in ("positive", "rate"):
            if getattr(self, name) is not None and not self.by_class:
                raise OptionError(f"label_bias: {name} has no effect where the groups are not the classes")
        if self.positive is not None and self.positive >= classes:
            raise OptionError(f"label_bias: positive must be a class from 0 to {classes - 1}, not {self.positive}")

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return self.w.gather(-1, batch.index)

    def end_epoch(self, epoch: int) -> None:
        if self.procedure == "epoch":
            self.correct()
        super().end_epoch(epoch)

    def end_trial(self, trial: int) -> None:
        self.correct()

    def correct(self) -> None:
        """Update the multipliers, and the weights of all training samples, from the model's predictions."""
        train = self.task.train
        self.multipliers += self.eta * self.violations(self.predict(train).argmax(-1))
        sign = 1 if self.by_class else 2 * train.y - 1
        self.w.copy_(mean_one((2 * sign * self.multipliers.gather(-1, train.group)).sigmoid()))

    def violations(self, predicted: Tensor) -> Tensor:
        """[.., G]: by how much each group falls short of the constraint.

        Args:
            predicted: the predicted classes [.., N] of the training samples.
        """
        y = self.task.train.y
        counted = torch.ones_like(y, dtype=torch.bool) if self.parity or self.by_class else y == 1
        hits = counted & (predicted == (y if self.by_class else 1))
        group_hits = self.count(self.task.train.group, hits)
        members = self.count(self.task.train.group, counted)
        rates = group_hits / members.clamp_min(1)
        if not (self.by_class and self.parity):
            return (group_hits.sum(-1, keepdim=True) / members.sum(-1, keepdim=True) - rates).where(members > 0, 0.0)
        target = 1 / len(self.task.classes) if self.rate is None else self.rate
        worst = rates.where(members > 0, torch.inf).argmin(-1, keepdim=True)
        held = worst if self.positive is None else torch.full_like(worst, self.positive)
        short = target - self.count(predicted, counted) / y.shape[-1]
        return torch.zeros_like(short).scatter(-1, held, short.gather(-1, held))

    def count(self, label: Tensor, counted: Tensor) -> Tensor:
        """[.., G] float64: for each group, how many of the samples that are counted have it as their label.

        Args:
            label: labels [.., N].
            counted: which samples are counted, [.., N] bool.
        """
        return torch.zeros_like(self.multipliers).scatter_add_(-1, label, counted.double())

    def diagnostics(self) -> dict[str, Tensor]:
        return {"largest_abs_multiplier": self.multipliers.abs().amax(-1)}


@hookimpl
def bench_methods() -> Mapping[str, type[LabelBias]]:
    return {LabelBias.name: LabelBias}
