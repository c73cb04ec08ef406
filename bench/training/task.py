"""What a method is given: data, a model, a recipe and random streams, and no test data."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bench.data.batches import BalancedBatches, Draws
from bench.data.split import Augment, Batch, Split
from bench.errors import OptionError
from bench.meta import LookAhead
from bench.recipe import Recipe
from bench.streams import RandomStreams
from bench.training.losses import LOSSES


@dataclass(frozen=True)
class Task:
    """All that a method may know. There is no test data in it.

    train, val: splits on the device.
    target: inputs from where the test data are from, unlabelled (`Split.unlabelled`), where the protocol has them.
    classes, groups: their names (groups are the classes under `class_fairness`).
    new_model: builds the model with the run's initial weights, the same at every call.
    backend, check: how look-aheads find their derivatives, and whether they check themselves (`bench.meta`).
    capture: whether updates that can be are captured and replayed (`bench.training.capture`). The runner sets it to
        False where the learning rate changes with each update, which is a number in what is captured, or the model's
        mode changes.
    draws: how the batches of `val_batches` are drawn; a capture of an update stands in between.
    """

    train: Split
    val: Split
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    recipe: Recipe
    new_model: Callable[[], nn.Module]
    streams: RandomStreams
    augment: Augment | None = None
    target: Split | None = None
    backend: str = "auto"
    check: bool = True
    capture: bool = False
    draws: Draws = field(default_factory=Draws, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        return self.train.device

    @property
    def steps(self) -> int:
        """Parameter updates in the whole training."""
        per_epoch = self.train.steps(self.recipe.batch_size)
        return self.recipe.steps or per_epoch * (self.recipe.epochs or 1)

    @property
    def epochs(self) -> int:
        return -(-self.steps // self.train.steps(self.recipe.batch_size))

    def batches(self, epoch: int, order: Tensor | None = None) -> Iterator[Batch]:
        """The training batches of one epoch, paired over methods by the seed: all samples, or those at `order` [.., n].

        A budget in steps cuts the last epoch short.
        """
        batches = self.train.epoch(self.recipe.batch_size, self.streams, epoch, self.augment, order)
        whole = self.train.steps(self.recipe.batch_size)
        return itertools.islice(batches, self.steps - epoch * whole if epoch == self.epochs - 1 else None)

    def val_batches(self, where: Tensor | None = None) -> BalancedBatches:
        """Endless validation batches with `recipe.min_per_group` samples of every group, in an order of the seed: two
        calls give the same. `where` [.., N] bool keeps only some of the validation samples.
        """
        r = self.recipe
        return BalancedBatches(
            self.val, r.val_batch_size, self.streams, self.groups, r.min_per_group, where, self.draws
        )

    def look_ahead(self, model: nn.Module) -> LookAhead:
        """The engine of the meta-step for this model, with the run's backend."""
        return LookAhead(model, self.backend, self.streams.stacked, self.check)

    def labels(self, by: str) -> tuple[Tensor, tuple[str, ...]]:
        """Class or group (`by`) of each training sample, [.., N], and the names of the classes or groups."""
        return (self.train.y, self.classes) if by == "class" else (self.train.group, self.groups)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The recipe's per-sample loss, [.., B, C] and [.., B] -> [.., B]."""
        return LOSSES[self.recipe.loss](logits, y)

    def lr(self, epoch: int, step: int = 0) -> float:
        """Learning rate of an update, the first of an epoch being step 0; before the first epoch, as in the first."""
        r, epoch = self.recipe, max(epoch, 0)
        if r.average_from is not None and r.average_lr is not None and epoch / self.epochs >= r.average_from:
            return r.average_lr
        if r.schedule == "cyclical":
            assert r.max_lr is not None, "recipes are checked when they are resolved"
            whole = self.train.steps(r.batch_size)
            cycles = (epoch * whole + step) / (r.cycle * whole)
            return r.lr + (r.max_lr - r.lr) * (1 - abs(2 * (cycles % 1) - 1))
        return r.lr * r.gamma ** sum(epoch / self.epochs >= fraction for fraction in r.milestones)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The recipe's, of the parameters that are trained. Raises OptionError for values that it does not take."""
        r = self.recipe
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            raise OptionError(f"the model {type(model).__name__} has no parameter that is trained (requires_grad)")
        try:
            if r.optimizer == "sgd":
                return torch.optim.SGD(
                    parameters, r.lr, r.momentum, weight_decay=r.weight_decay, nesterov=r.nesterov, fused=True
                )
            kind = torch.optim.Adam if r.optimizer == "adam" else torch.optim.AdamW
            return kind(parameters, r.lr, weight_decay=r.weight_decay, fused=True)
        except ValueError as error:
            raise OptionError(f"recipe: {error}") from error
