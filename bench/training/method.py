"""A method and the task it is given."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from bench.data.split import Augment, Batch, Split, Stream
from bench.errors import OptionError
from bench.meta import LookAhead
from bench.models.predict import predict
from bench.recipe import Recipe
from bench.streams import Streams
from bench.training.capture import Capture, Captured
from bench.training.losses import LOSSES
from bench.trees import instances

if TYPE_CHECKING:
    from bench.training.meter import Meter


@dataclass(frozen=True)
class Task:
    """All that a method may know. There is no test data in it.

    train, val: splits on the device.
    target: inputs from where the test data are from, unlabelled (`Split.unlabelled`), where the protocol has them.
    classes, groups: their names (groups are the classes under `class_fairness`).
    new_model: builds the model with the run's initial weights, the same at every call.
    backend, check: how look-aheads find their derivatives, and whether they check themselves (`bench.meta`).
    capture: whether updates that can be are recorded and replayed (`bench.training.capture`). The runner sets it to
        False where the learning rate changes with each update, which is a number in what is recorded, or the model's
        mode changes.
    """

    train: Split
    val: Split
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    recipe: Recipe
    new_model: Callable[[], nn.Module]
    streams: Streams
    augment: Augment | None = None
    target: Split | None = None
    backend: str = "auto"
    check: bool = True
    capture: bool = False

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

    def val_batches(self, where: Tensor | None = None) -> Stream:
        """Endless validation batches with `recipe.min_per_group` samples of every group, in an order of the seed: two
        calls give the same. `where` [.., N] bool keeps only some of the validation samples.
        """
        r = self.recipe
        return Stream(self.val, r.val_batch_size, self.streams, self.groups, r.min_per_group, where)

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

    def trains_with_dropout(self, epoch: int) -> bool:
        """Whether the model is in training mode in this epoch of the recipe."""
        return self.recipe.dropout == "correct" or epoch <= 0

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The recipe's, of the parameters that are trained. Raises OptionError for values that it does not take."""
        r, parameters = self.recipe, [p for p in model.parameters() if p.requires_grad]
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


@dataclass
class Method:
    """Empirical risk minimisation. A subclass changes the part that its paper changes; its fields are its options.

    One instance, one fit. The last dimension of `losses` and `weights` is the batch; leading dimensions, if any, are
    independent runs trained at once: a method written along the last dimension needs no other code.
    """

    uses_val: ClassVar[bool] = False
    """Whether it learns from the validation data. Where False, training is blind to them (the contract tests check)."""
    uses_groups = False
    """Whether it reads the group of training samples; where that depends on its options, `__post_init__` sets it."""
    stackable: ClassVar[bool] = True
    """Whether stacked runs give what single runs give."""
    capturable: ClassVar[bool] = False
    """Whether `update` changes its state in place and depends on nothing that a recording of it would not see: no value
    of a tensor, no Python number that changes between updates (but the optimisers' settings).
    """
    baseline: ClassVar[bool] = False
    """Whether tables state other methods' costs and gains relative to it."""

    def fit(self, task: Task, meter: "Meter") -> nn.Module:
        """Train and return the model: all that the runner calls."""
        self.begin(task)
        replayed = Captured(self, meter.note) if task.capture and self.capturable else None
        update = replayed or self.update
        try:
            for epoch in meter.epochs(self):
                self.model.train(self.task.trains_with_dropout(self.recipe_epoch(epoch)))
                for batch in self.batches(epoch):
                    losses, weights = update(batch)
                    meter.step(batch, losses, weights)
                self.end_epoch(epoch)
        finally:  # the record of a failure tells it too
            self.capture = Capture.of(replayed, self.capturable)
        return self.model

    def begin(self, task: Task) -> None:
        """Everything before the first epoch."""
        self.task = task
        self.capture = Capture(eager_because="its own `fit` replays no updates")
        self.preparation_epochs, self.training_epochs = 0, task.epochs
        self.restart()
        self.setup()

    def restart(self) -> None:
        """The model at the run's initial weights, with an optimiser that has not stepped. A recorded update would go on
        with the old ones, so a method that calls this leaves `capturable` False.
        """
        self.model: nn.Module = self.task.new_model()
        self.optimizer = self.task.optimizer(self.model)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One update of the parameters; the losses and the weights that it used, [.., B] each, detached."""
        losses = self.losses(batch)
        weights = self.weights(batch, losses)
        self.descend(self.objective(batch, losses, weights))
        return losses.detach(), weights  # nothing keeps the graph into the next update

    def descend(self, objective: Tensor) -> None:
        """One step of the optimiser down an objective [..]."""
        self.optimizer.zero_grad()  # only now: what came before may have called backward
        objective.sum().backward()  # over stacked runs
        self.optimizer.step()

    def setup(self) -> None:
        """Before the first epoch; `task`, `model` and `optimizer` are there.

        A method that trains more than once sets `preparation_epochs`, which are part of its cost and are not evaluated;
        they are numbered from -preparation_epochs to -1. The `training_epochs`, those of the recipe, follow.
        Raises OptionError, and NotApplicableError with the reason why it cannot use this task.
        """

    def recipe_epoch(self, epoch: int) -> int:
        """Which epoch of the recipe an epoch is: its learning rate, its order of the data, its dropout."""
        return epoch

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The training batches of an epoch."""
        return self.task.batches(self.recipe_epoch(epoch))

    def losses(self, batch: Batch) -> Tensor:
        """[.., B], differentiable."""
        return self.task.loss(self.model(batch.x), batch.y)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """[.., B], detached; their mean is 1 where training should keep its step size. `losses` are attached."""
        return torch.ones_like(losses)

    def objective(self, batch: Batch, losses: Tensor, weights: Tensor) -> Tensor:
        """[..]: what the step descends."""
        return (weights * losses).mean(-1)

    def end_epoch(self, epoch: int) -> None:
        """After the last step of each epoch."""

    def engines(self) -> list[LookAhead]:
        """The look-aheads that it holds, also in lists, tuples and dictionaries; the record names their backends."""
        return list(instances(LookAhead, vars(self)))

    def predict(self, split: Split) -> Tensor:
        """Logits [.., N, C] of the model as it is, in evaluation mode; training goes on in the mode that it had."""
        training = self.model.training
        logits = predict(self.model, split, self.task.recipe.eval_batch_size)
        self.model.train(training)
        return logits

    def diagnostics(self) -> dict[str, Tensor]:
        """Further values [..] for the record at each evaluation."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Run state at an epoch boundary: every attribute that is a tensor or has a `state_dict`."""
        state = {}
        for name, value in vars(self).items():
            if hasattr(value, "state_dict"):
                state[name] = value.state_dict()
            elif isinstance(value, Tensor) and not value.grad_fn:
                state[name] = value
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            own = getattr(self, name, None)
            if not isinstance(value, Tensor):
                getattr(self, name).load_state_dict(value)
            elif isinstance(own, Tensor) and own.shape == value.shape:
                own.data.copy_(value)  # an optimiser may hold it
            else:
                setattr(self, name, value)
