"""The base of all methods: what happens in a training."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from bench.data.rules import check_made
from bench.data.split import ORIGIN, Batch, Split
from bench.data.step import Step
from bench.meta import LookAhead
from bench.models.heads import with_features
from bench.models.predict import predict
from bench.recipe import changes
from bench.streams import seed_global_generators
from bench.training.capture.update import CapturedUpdate, CaptureOutcome
from bench.training.state import restore, stored
from bench.training.task import Task, described
from bench.trees import instances

if TYPE_CHECKING:
    from bench.training.meter import Meter


@dataclass
class Method:
    """Empirical risk minimisation, and the base of all methods.

    A subclass overrides the part that its paper changes. Its fields are its options. An instance is trained once. The
    last dimension of `losses` and `weights` is the batch. Leading dimensions, if any, are independent runs that are
    trained at once: a method that is written along the last dimension needs no other code for them.

    Attributes (from `begin` on):
        task: what the method is given.
        model: the model that is trained.
        optimizer: of the model's parameters.
        preparation_epochs: number of epochs before those of the recipe, which are not evaluated.
        training_epochs: number of epochs of the recipe.
        capture: whether updates were replayed.
        begun_task: the task as it was when `setup` was called.
        began_with: the optimisers of its own that were there after `setup`, in words.
        began_at: when `setup` was called, in seconds as `task.now` gives them.
    """

    name: ClassVar[str] = ""
    """The name that it is registered as. Messages about its options and about data that it cannot use begin with it."""
    uses_val: ClassVar[bool] = False
    """Whether it learns from the validation data. If not, they do not change its training (a contract test checks)."""
    uses_groups = False
    """Whether it reads the groups of training samples. If that depends on its options, `__post_init__` sets it."""
    uses_features: ClassVar[bool] = False
    """Whether it reads the features of a step (`Step.features`); the model then needs a head (`bench.models.heads`)."""
    stackable: ClassVar[bool] = False
    """Whether stacked runs give the results of single runs (`bench.testing.find_out` tells)."""
    capturable: ClassVar[bool] = False
    """Whether `update` can be captured and replayed.

    It can if it changes its state in place and depends on nothing that a capture would not see: on no value of a
    tensor, not on the number of the epoch or of the step, and on nothing in Python that changes within an epoch, except
    for the settings of optimisers. What changes between epochs is captured anew. Validation batches must come from
    `task.val_batches`, or from `BalancedBatches` in its attributes (also in lists, tuples and dictionaries).
    """
    differentiable: ClassVar[bool] = True
    """Whether what is evaluated has a gradient. If not, protocols that attack it are not applicable."""
    baseline: ClassVar[bool] = False
    """Whether tables state other methods' costs and gains relative to it."""

    RESERVED: ClassVar[tuple[str, ...]] = (
        "task",
        "optimizer",
        "preparation_epochs",
        "training_epochs",
        "capture",
        "begun_task",
        "began_with",
        "began_at",
    )
    """Attributes that the training sets, so that no option can have their names; nor those of this class."""

    def fit(self, task: Task, meter: "Meter") -> nn.Module:
        """Train the model: all of a training goes through this function.

        Args:
            task: data, recipe and random streams.
            meter: leads through the epochs, and has to be told of each step.

        Returns:
            The trained model: `self.evaluated()` after the last epoch.

        Raises:
            NotApplicableError: if the method cannot use the task.
            DivergedError: if the training reaches a loss or a parameter that is not finite.
        """
        self.begin(task)
        replayed = CapturedUpdate(self, meter.note) if task.capture and self.capturable else None
        update = replayed or self.update
        try:
            for epoch in meter.epochs(self):
                self.begin_epoch(epoch)
                self.model.train(self.task.recipe.in_training_mode(self.recipe_epoch(epoch)))
                for number, batch in enumerate(self.batches(epoch)):
                    losses, weights = update(Step.of(batch, self._outputs, epoch, number))
                    meter.step(batch, losses, weights)
                self.end_epoch(epoch)
        finally:  # because the record of a failure says it too
            self.capture = CaptureOutcome.of(replayed, self.capturable)
        return self.evaluated()

    def begin(self, task: Task) -> None:
        """Do everything that comes before the first epoch."""
        seed_global_generators(task.streams.seed("begin"))  # for layers that are made here, and for libraries
        self.task = task
        self.capture = CaptureOutcome(eager_because="its own `fit` replays no updates")
        self.preparation_epochs = 0
        self.training_epochs = task.epochs
        self.restart()
        self.began_at = task.now()
        self.task = replace(task, train=check_made(self.training_data(task), task.train, task.classes, task.groups))
        self.begun_task = self.task
        if self.training_epochs == task.epochs:
            self.training_epochs = self.task.epochs  # as many steps with other data may be other epochs
        self.setup()
        self.began_with = self._own_optimizers()

    def restart(self) -> None:
        """Make a new model with the run's initial weights, and a new optimiser.

        A captured update would go on with the old ones, so a method that calls this must leave `capturable` False. A
        method whose model has no parameters, such as one that fits the estimator of a library, overrides this: it sets
        `model` and makes no optimiser.
        """
        self.model: nn.Module = self.task.new_model()
        self.optimizer = self.task.optimizer(self.model)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Make one update of the parameters.

        Args:
            batch: the `Step`; any other batch counts as the first step (`as_step`).

        Returns:
            The losses and the weights that it used, [.., B] each, detached.
        """
        step = self.as_step(batch)
        losses = self.losses(step)
        weights = self.weights(step, losses)
        self.descend(self.objective(step, losses, weights))
        return losses.detach(), weights  # detached, so that the graph is freed before the next update

    def as_step(self, batch: Batch) -> Step:
        """The batch, if it is a step; or the first step of the first epoch on it."""
        return batch if isinstance(batch, Step) else Step.of(batch, self._outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The forward pass of an update: inputs [.., B, ...] -> logits [.., B, C], with their graph."""
        outputs: Tensor = self.model(x)
        return outputs

    def descend(self, objective: Tensor) -> None:
        """Make one step of the optimiser down an objective [..]."""
        self.optimizer.zero_grad()  # only now, because computing the objective may have called backward
        objective.sum().backward()  # the sum is over stacked runs
        self.optimizer.step()

    def setup(self) -> None:
        """Prepare the training. Called before the first epoch, when `task`, `model` and `optimizer` are set.

        A method that trains more than once sets `preparation_epochs` to a number of epochs. They run first, numbered
        from -preparation_epochs to -1, and are not evaluated; their cost is recorded. The epochs of the recipe follow.

        Raises:
            OptionError: for options that do not fit the task.
            NotApplicableError: with the reason, if the method cannot use the task.
        """

    def recipe_epoch(self, epoch: int) -> int:
        """The epoch of the recipe whose learning rate, order of the samples and random numbers an epoch uses."""
        return epoch

    def training_data(self, task: Task) -> Split:
        """The training data that the method trains on, by default those that it is given.

        Methods that resample, synthesise or prune override it. It is called once, before `setup`, and its time counts
        as a cost of the method. Positions of samples (`Batch.index`) are those in the split that it returns.

        Args:
            task: as it is given. Afterwards `self.task` is the same with the training data that are returned.

        Returns:
            A split whose samples say where they come from (`Split.with_origin`).
        """
        return task.train

    def about(self) -> dict[str, str]:
        """What was really used, where the recipe does not say it: name -> words. Called after the training.

        What a method returns is added to what is told of every method, or replaces it. That is, where these are not the
        recipe's: the optimiser of the model, the schedule, the number of training samples, the numbers of epochs, and
        changed fields of the recipe. It stands in the record and on the page.
        """
        used = {}
        if own := self.began_with or self._own_optimizers():
            used["optimizer"] = own
        elif not self.task.rates.stepped:
            used["optimizer"] = "none of the recipe's"
        if type(self).learning_rate is not Method.learning_rate:
            used["schedule"] = "the method's own"
        if ORIGIN in self.task.train.columns:
            used["training samples"] = _counted(self.task.train.columns[ORIGIN])
        if self.preparation_epochs:
            used["preparation epochs"] = f"{self.preparation_epochs:,}"
        if self.training_epochs != self.task.epochs:
            used["epochs"] = f"{self.training_epochs:,}"
        return used | changes(self.begun_task.recipe, self.task.recipe)

    def _own_optimizers(self) -> str:
        """Those of the model that `task.optimizer` has not made, in words."""
        own = self.task.rates.others(instances(torch.optim.Optimizer, vars(self)), self.model)
        return ", ".join(map(described, own))

    def learning_rate(self, epoch: int, step: int) -> float | None:
        """The learning rate of an update, for every optimiser that `task.optimizer` has made, and for no other.

        It is asked before each epoch; before each update too where the recipe's rate is cyclical, or where a method has
        a rate of its own.

        Args:
            epoch: of the training; below 0 for preparation epochs.
            step: of the epoch; the first one is 0.

        Returns:
            The rate, by default the recipe's; None if the method sets the rates of all its optimisers itself.
        """
        return self.task.lr(self.recipe_epoch(epoch), step)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The training batches of an epoch."""
        return self.task.batches(self.recipe_epoch(epoch))

    def _outputs(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits of a step, and the features where the method asks for them."""
        if self.uses_features:
            return with_features(self.model, self.task.train, self.forward, x)
        return self.forward(x), None

    def losses(self, batch: Step) -> Tensor:
        """The loss of each sample, [.., B], differentiable.

        Args:
            batch: the training batch, with its logits.
        """
        return self.task.loss(self.as_step(batch).logits, batch.y)

    def weights(self, batch: Step, losses: Tensor) -> Tensor:
        """The weight of each sample.

        Args:
            batch: the training batch, with its logits.
            losses: [.., B], with their graph.

        Returns:
            [.., B], detached. With a mean of 1 the training keeps its step size.
        """
        return torch.ones_like(losses)

    def objective(self, batch: Step, losses: Tensor, weights: Tensor) -> Tensor:
        """The objective that the update descends, [..]."""
        return (weights * losses).mean(-1)

    def evaluated(self) -> nn.Module:
        """What is evaluated, examined and averaged at an epoch's end, by default `model`: a module that gives logits
        [.., B, C] for inputs, and whose `state_dict` holds all that these depend on.

        Moving averages and estimators of libraries are examples. Evaluations put it into evaluation mode.
        """
        return self.model

    def begin_epoch(self, epoch: int) -> None:
        """Called before the first step of each epoch."""

    def end_epoch(self, epoch: int) -> None:
        """Called after the last step of each epoch."""

    def engines(self) -> list[LookAhead]:
        """All look-aheads in its attributes (also in lists, tuples and dictionaries), whose backends are recorded."""
        return list(instances(LookAhead, vars(self)))

    def predict(self, split: Split) -> Tensor:
        """The logits [.., N, C] of the present model in evaluation mode. Afterwards it is in its former mode again."""
        training = self.model.training
        logits = predict(self.model, split, self.task.recipe.eval_batch_size)
        self.model.train(training)
        return logits

    def diagnostics(self) -> dict[str, Tensor]:
        """Further values for the record at each evaluation: name -> [..]."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint at an epoch's end: every attribute that can be stored (`bench.training.state`)."""
        return stored(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` gave."""
        restore(self, state)


def _counted(origin: Tensor) -> str:
    """How many training samples a method has made, in words: of stacked runs, the least and the most.

    Args:
        origin: [.., N], of each sample, below 0 where it was made.
    """
    made = (origin < 0).sum(-1)
    least, most = f"{int(made.min()):,}", f"{int(made.max()):,}"
    text = f"{origin.shape[-1]:,}"
    return text if most == "0" else f"{text}, of which {least if least == most else f'{least} to {most}'} were made"
