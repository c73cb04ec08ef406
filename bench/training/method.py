"""A method: what happens in a training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from bench.data.split import Batch, Split
from bench.meta import LookAhead
from bench.models.predict import predict
from bench.training.capture import Capture, Captured
from bench.training.task import Task
from bench.trees import instances

if TYPE_CHECKING:
    from bench.training.meter import Meter


@dataclass
class Method:
    """Empirical risk minimisation. A subclass changes the part that its paper changes; its fields are its options.

    One instance, one fit. The last dimension of `losses` and `weights` is the batch; leading dimensions, if any, are
    independent runs trained at once: a method written along the last dimension needs no other code.
    """

    name: ClassVar[str] = ""
    """What it is registered as; messages about its options and about data that it cannot use begin with it."""
    uses_val: ClassVar[bool] = False
    """Whether it learns from the validation data. Where False, training is blind to them (the contract tests check)."""
    uses_groups = False
    """Whether it reads the group of training samples; where that depends on its options, `__post_init__` sets it."""
    stackable: ClassVar[bool] = True
    """Whether stacked runs give what single runs give."""
    capturable: ClassVar[bool] = False
    """Whether `update` changes its state in place and depends on nothing that a capture of it would not see: no value
    of a tensor, no Python number that changes between updates (but the optimisers' settings). Validation batches come
    from `task.val_batches`, or from `BalancedBatches` in its attributes (in lists, tuples and dictionaries too).
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
                self.model.train(self.task.recipe.in_training_mode(self.recipe_epoch(epoch)))
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
        """The model at the run's initial weights, with an optimiser that has not stepped. A captured update would go on
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
