"""The task of a method: data, a model, a recipe and random streams, but no test data."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from bench.data.batches import BalancedBatches, Draws, training_batches
from bench.data.split import Augment, Batch, Split
from bench.errors import OptionError, PluginError
from bench.meta import LookAhead
from bench.recipe import Recipe
from bench.streams import RandomStreams
from bench.training.losses import LOSSES

FIRST_RATE = "first_lr"
"""The entry of a group of parameters with the learning rate that it began with. It is part of a checkpoint."""


class Rates:
    """The learning rates of the optimisers that a task has made, as long as these exist.

    Attributes:
        stepped: whether one of them has made a step.
    """

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[torch.optim.Optimizer, list[float]] = WeakKeyDictionary()
        self._rate: float | None = None  # that was set last
        self._base = 0.0
        self._left_to_method = False
        self.stepped = False

    def __iter__(self) -> Iterator[torch.optim.Optimizer]:
        """The optimisers."""
        return iter(self._last)

    def add(self, optimizer: torch.optim.Optimizer) -> None:
        """From now on set the rates of this optimiser too; at once, if a rate was set before."""

        def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
            self.stepped = True
            hook.remove()  # so that later steps do not call it

        hook = optimizer.register_step_post_hook(note)
        self._last[optimizer] = []
        if self._rate is not None:
            self._note_first(optimizer, math.nan)
            self._apply(optimizer, self._rate)

    def set(self, rate: float | None, base: float) -> None:
        """Give every optimiser the rate of the next update.

        Args:
            rate: of a group that began with the base rate. One that began with another has as many times the rate. None
                leaves all rates to the method.
            base: the recipe's learning rate.

        Raises:
            PluginError: for a rate that is none; and where something else has changed a rate, which would be lost.
        """
        if rate is None:
            for optimizer in self._last:
                self._note_first(optimizer, self._rate)
            self._left_to_method, self._rate = True, None
            return
        if not (isinstance(rate, Real) and math.isfinite(rate) and rate >= 0):
            raise PluginError(f"`learning_rate` must return a finite number of at least 0, or None, not {rate!r}")
        self.check()
        for optimizer in self._last:
            self._note_first(optimizer, self._rate)
        self._left_to_method, self._rate, self._base = False, float(rate), base
        for optimizer in self._last:
            self._apply(optimizer, self._rate)

    def _note_first(self, optimizer: torch.optim.Optimizer, rate: float | None) -> None:
        """Note what each group has begun with. One that was added has had its rate at the rate that was set last."""
        ratio = self._base / rate if rate and rate > 0 else 1.0
        for group in optimizer.param_groups:
            group.setdefault(FIRST_RATE, group.get("initial_lr", group["lr"]) * ratio)  # as a schedule of torch has it

    def _apply(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            first = group[FIRST_RATE]
            group["lr"] = rate * (first / self._base) if self._base else first
        optimizer.defaults["lr"] = rate  # of groups that are added
        self._last[optimizer] = _rates_of(optimizer)

    def check(self) -> None:
        """Raises PluginError where something else has changed a rate, unless the method sets all of them."""
        for optimizer, last in self._last.items() if not self._left_to_method else ():
            for rate, before in zip(_rates_of(optimizer), last, strict=False):  # groups may have been added
                if rate != before:
                    raise PluginError(
                        f"the learning rate {rate:g} that the method has set would be replaced by the recipe's: let "
                        f"`learning_rate` return the rate, or None if the method sets all rates itself"
                    )

    def check_schedules(self, schedules: Iterable[LRScheduler]) -> None:
        """Raises PluginError for a schedule of these optimisers, unless the method sets all rates."""
        for schedule in schedules:
            if schedule.optimizer in self._last and not self._left_to_method:
                raise PluginError(
                    f"the learning rates that {type(schedule).__name__} sets would be replaced by the recipe's: let "
                    f"`learning_rate` return None"
                )

    def adopt(self) -> None:
        """Take the present rates for those that were set last, as a checkpoint has put them back."""
        for optimizer in self._last:
            self._last[optimizer] = _rates_of(optimizer)

    def others(self, optimizers: Iterable[torch.optim.Optimizer], model: nn.Module) -> list[torch.optim.Optimizer]:
        """Those optimisers of parameters of a model that are none of these."""
        trained = {id(parameter) for parameter in model.parameters()}
        return [
            optimizer
            for optimizer in optimizers
            if optimizer not in self._last
            and any(id(parameter) in trained for group in optimizer.param_groups for parameter in group["params"])
        ]


def _rates_of(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


@dataclass(frozen=True)
class Task:
    """Everything that a method may know. It holds no test data.

    Attributes:
        train, val: training and validation data, on the device.
        classes, groups: names of the classes and of the groups; they are the same if the group is the class.
        recipe: how the data set is trained on.
        new_model: builds the model with the run's initial weights, the same ones at every call.
        streams: the run's random streams.
        augment: random augmentation of training batches; None: there is none.
        target: unlabelled inputs (`Split.unlabelled`) from the distribution of the test data; None: the protocol has
            none.
        backend: of look-aheads (`bench.meta.BACKENDS`).
        check: whether look-aheads verify their backend once.
        capture: whether updates are captured and replayed (`bench.training.capture`) if the method can be captured. The
            runner sets it to False if the learning rate changes with each update, because a capture holds it as a
            constant, or if the mode of the model changes.
        draws: how the batches of `val_batches` are drawn; a capture of an update replaces it for a while.
        rates: sets the learning rates of what `optimizer` has made.
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
    rates: Rates = field(default_factory=Rates, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the data and the model are."""
        return self.train.device

    def now(self) -> float:
        """The time in seconds when the device is done with its work. Only differences mean something."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @property
    def steps(self) -> int:
        """The number of parameter updates in the whole training."""
        per_epoch = self.train.steps(self.recipe.batch_size)
        return self.recipe.steps or per_epoch * (self.recipe.epochs or 1)

    @property
    def epochs(self) -> int:
        """The number of epochs, of which a budget in steps may cut the last one short."""
        return math.ceil(self.steps / self.train.steps(self.recipe.batch_size))

    def steps_of(self, epoch: int) -> int:
        """The number of parameter updates in an epoch of the recipe: a budget in steps may cut the last one short."""
        per_epoch = self.train.steps(self.recipe.batch_size)
        return min(per_epoch, self.steps - max(epoch, 0) * per_epoch)

    def batches(self, epoch: int, order: Tensor | None = None) -> Iterator[Batch]:
        """The training batches of one epoch, which are the same for all methods with the same seed.

        A budget in steps may cut the last epoch short.

        Args:
            epoch: number of the epoch.
            order: [.., n], positions of the samples; None: all samples, in the order of the seed.
        """
        batches = training_batches(self.train, self.recipe.batch_size, self.streams, epoch, self.augment, order)
        return itertools.islice(batches, self.steps_of(epoch)) if epoch == self.epochs - 1 else batches

    def val_batches(self, where: Tensor | None = None) -> BalancedBatches:
        """Endless validation batches, each with at least `recipe.min_per_group` samples of every group.

        Their order depends on the seed: two calls give the same batches.

        Args:
            where: [.., N] bool, False for validation samples that are left out; None: all are used.
        """
        r = self.recipe
        return BalancedBatches(
            self.val, r.val_batch_size, self.streams, self.groups, r.min_per_group, where, self.draws
        )

    def look_ahead(self, model: nn.Module) -> LookAhead:
        """The engine of the meta-step for this model, with the run's backend."""
        return LookAhead(model, self.backend, self.streams.stacked, self.check)

    def labels(self, by: str) -> tuple[Tensor, tuple[str, ...]]:
        """The class (`by` is `class`) or else the group of each training sample, [.., N], and the names of these."""
        if by == "class":
            return self.train.y, self.classes
        return self.train.group, self.groups

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The recipe's loss of each sample: logits [.., B, C] and classes y [.., B] -> [.., B]."""
        return LOSSES[self.recipe.loss](logits, y)

    def lr(self, epoch: int, step: int = 0) -> float:
        """The learning rate of an update.

        Args:
            epoch: of the recipe; below 0 as in the first epoch.
            step: of the epoch; the first one is 0.
        """
        r = self.recipe
        epoch = max(epoch, 0)
        if r.average_from is not None and r.average_lr is not None and epoch / self.epochs >= r.average_from:
            return r.average_lr
        if r.schedule == "cyclical":
            assert r.max_lr is not None, "recipes are checked when they are resolved"
            whole = self.train.steps(r.batch_size)
            cycles = (epoch * whole + step) / (r.cycle * whole)
            return r.lr + (r.max_lr - r.lr) * (1 - abs(2 * (cycles % 1) - 1))
        return r.lr * r.gamma ** sum(epoch / self.epochs >= fraction for fraction in r.milestones)

    def optimizer(self, parameters: nn.Module | Iterable[Tensor] | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make an optimiser of the recipe's kind.

        Its learning rate follows `Method.learning_rate`. Groups with other rates keep their ratio to it.

        Args:
            parameters: a model, of which those that are trained are taken; or parameters, or groups of parameters, as
                torch's optimisers take them.

        Raises:
            OptionError: for values that the optimiser does not take, and for a model without trained parameters.
        """
        if isinstance(parameters, nn.Module):
            model = type(parameters).__name__
            parameters = [p for p in parameters.parameters() if p.requires_grad]
            if not parameters:
                raise OptionError(f"the model {model} has no parameter that is trained (requires_grad)")
        try:
            optimizer = self._optimizer(list(parameters))
        except ValueError as error:
            raise OptionError(f"recipe: {error}") from error
        self.rates.add(optimizer)
        return optimizer

    def _optimizer(self, parameters: list[Any]) -> torch.optim.Optimizer:
        r = self.recipe
        if r.optimizer == "sgd":
            sgd = torch.optim.SGD(
                parameters, r.lr, r.momentum, weight_decay=r.weight_decay, nesterov=r.nesterov, fused=True
            )
            if r.momentum:  # torch's fused descent fails where a parameter gets its first gradient after others
                for parameter in itertools.chain(*(group["params"] for group in sgd.param_groups)):
                    sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            return sgd
        kind = torch.optim.Adam if r.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, r.lr, weight_decay=r.weight_decay, fused=True)


def described(optimizer: torch.optim.Optimizer) -> str:
    """The name of an optimiser with the numbers of its first group: `SGD (lr 0.1, momentum 0.9)`."""
    group = optimizer.param_groups[0]
    numbers = {name: group[name] for name in ("lr", "momentum", "betas", "weight_decay") if group.get(name)}
    return f"{type(optimizer).__name__} ({', '.join(f'{name} {value}' for name, value in numbers.items())})"
