"""ERM with tuned hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench import Checks, Method, Recipe, Trials, hookimpl
from bench.training.trials import validation_gain


@dataclass
class TunedERM(Trials):
    """Tuned ERM: plain training with the learning rate and weight decay that are best on the validation data.

    This is the control for methods that train many times and choose by the validation data: it shows how far ERM comes
    with as many trainings. The search is random; the first training is the recipe itself. The last training repeats the
    best one, by the recipe's `select` metric on the validation data at its last epoch; ties go to the earliest. What is
    drawn depends on the seed and on `trials` alone.

    Source: the protocol of Gulrajani and Lopez-Paz, In Search of Lost Domain Generalization, 2021, section 4: 20 random
    trials for every method.

    Departures:

    - They draw the learning rate in a range for the kind of model. Here the recipe's is the middle of the range, and
      all its learning rates are multiplied by one factor.
    - They also draw batch size and dropout, which are the recipe's here.
    - Where the recipe averages parameters, candidates are compared without that.

    Options:
        trials: number of trainings before the one that repeats the best, 2 or more: as many as the method under test
            has. Default: 20.
        lr_factor: learning rates are drawn log-uniformly from the recipe's divided by this to the recipe's times this.
            Default: 10.
        weight_decays: values that weight decays are drawn from. Default: empty, log-uniformly from 1e-6 to 1e-2, as in
            the source.
    """

    name = "tuned_erm"
    uses_val = True

    trials: int = 20
    lr_factor: float = 10.0
    weight_decays: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(2, "trials")
        check.at_least(1, "lr_factor")
        check.at_least(0, "weight_decays")
        check.distinct("weight_decays")

    def setup(self) -> None:
        numbers = self.task.streams.draw(lambda g: torch.rand(self.trials, 2, generator=g), "method")
        self.candidates = [self.task.recipe]
        for lr, weight_decay in numbers[1:].tolist():  # the first training is the recipe itself
            self.candidates.append(self.drawn(lr, weight_decay))
        self.gains = torch.zeros(0, dtype=torch.float64, device=self.task.device)
        self.plan(self.trials)

    def drawn(self, lr: float, weight_decay: float) -> Recipe:
        """The recipe with the learning rates and the weight decay that belong to two numbers in [0, 1)."""
        recipe = self.task.recipe
        listed = self.weight_decays
        factor = self.lr_factor ** (2 * lr - 1)
        return replace(
            recipe,
            lr=factor * recipe.lr,
            max_lr=recipe.max_lr and factor * recipe.max_lr,
            average_lr=recipe.average_lr and factor * recipe.average_lr,
            weight_decay=listed[int(weight_decay * len(listed))] if listed else 10 ** (4 * weight_decay - 6),
        )

    def end_trial(self, trial: int) -> None:
        gain = validation_gain(self, self.task.recipe.select)
        self.gains = torch.cat([self.gains, self.gains.new_tensor([gain])])
        self.take()

    def take(self) -> None:
        """Use the next candidate's recipe, at last that of the best: the next restart and learning rate follow it."""
        tried = len(self.gains)
        recipe = self.candidates[tried if tried < self.trials else int(self.gains.argmax())]
        self.task = replace(self.task, recipe=recipe)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.take()

    def diagnostics(self) -> dict[str, Tensor]:
        recipe = self.task.recipe
        return {name: torch.tensor(getattr(recipe, name), dtype=torch.float64) for name in ("lr", "weight_decay")}


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {TunedERM.name: TunedERM}
