"""The trainings of a run: those by which its protocol chooses its data, and the one that is evaluated.

Test data go to evaluations alone. Neither methods nor the trainings of protocols see them.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bench.data.rules import check_labels
from bench.data.split import Split, Splits
from bench.errors import NotApplicableError, PluginError
from bench.guards.outcome import Outcome
from bench.guards.tensors import Watched, tensors_of
from bench.protocol import Metrics, Prepared, Protocol
from bench.records.selections import Selected
from bench.runs.build import check_model_on, guarded_metrics, loaded_splits, new_evaluations, new_task
from bench.runs.evaluation import Evaluations, Undisturbed
from bench.runs.experiment import Experiment
from bench.streams import RandomStreams
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.stages import Stages
from bench.training.task import Task

if TYPE_CHECKING:
    import numpy as np


@dataclass
class FinishedTraining:
    """All that is left of the trainings of one run, or of stacked runs. What was not reached before a failure is None
    or empty.

    Attributes:
        outcome: how the run ended.
        method: the method of the experiment.
        prepared: the method that is evaluated and its data, as the protocol has chosen them.
        meter: the history, the steps and the seconds of the evaluated training.
        evaluations: its metrics and predictions.
        stages: the trainings before it.
    """

    outcome: Outcome
    method: Method | None = None
    prepared: Prepared | None = None
    meter: Meter | None = None
    evaluations: Evaluations | None = None
    stages: Stages | None = None
    peak_memory: int | None = None
    """Bytes on the GPU, while it trained."""
    rescored: dict[int, dict[str, dict[str, Metrics]]] = field(default_factory=dict)
    """Run -> rule -> metrics by test set and probe, of the predictions that are stored."""
    further: dict[str, dict[str, Metrics]] = field(default_factory=dict)
    """Rule -> metrics by test set, of the examined models."""
    left_behind: list[str] = field(default_factory=list)
    """What the run had set in the process, in words."""
    wrote_to: Watched | None = None
    """The data set's tensors, if the run has written to them."""

    @property
    def has_begun(self) -> bool:
        """Whether an update was made, in whichever training."""
        return bool((self.meter and self.meter.steps) or (self.stages and self.stages.done))

    def divergence(self, run: int) -> str:
        """How one of stacked runs has diverged.

        Args:
            run: its position in the stack; 0 for a single run.

        Returns:
            The reason in words; empty where the run has not diverged.
        """
        if self.evaluations and self.evaluations.failures[run]:
            return self.evaluations.failures[run]
        diverged = self.meter is not None and self.meter.diverged[run : run + 1] == [True]
        return "the training loss, a weight or a parameter is not finite" if diverged else ""

    def selected(self, run: int) -> dict[str, Selected]:
        """What each selection rule selects, of one of stacked runs. To be called of finished trainings alone.

        Args:
            run: its position in the stack; 0 for a single run.

        Returns:
            Rule -> the selected epoch and its metrics.
        """
        assert self.meter and self.evaluations
        results_by_rule = self.evaluations.selected(self.meter.history, run)
        for metrics_by_rule in (self.rescored[run], self.further):
            for rule, metrics in metrics_by_rule.items():
                results_by_rule[rule].metrics.update(metrics)
        return results_by_rule

    def arrays(self, run: int) -> "dict[str, np.ndarray[Any, Any]]":
        """What is stored beside the record of one of stacked runs. To be called of finished trainings alone.

        Args:
            run: its position in the stack; 0 for a single run.

        Returns:
            Name -> array: predictions, what the meter kept, with the columns of the given training data where it kept
            weights, and what the protocol stores.
        """
        assert self.prepared and self.meter and self.evaluations
        of_meter = self.meter.arrays(run)
        train = self.prepared.splits.train
        stacked = train.y.dim() == 2
        given = {f"given/{name}": values[run] if stacked else values for name, values in train.columns.items()}
        tensors = (given if of_meter else {}) | dict(self.prepared.arrays)
        chosen = {name: values.cpu().numpy() for name, values in tensors.items()}
        return self.evaluations.predictions(run) | of_meter | chosen


def train(
    experiment: Experiment,
    trained: FinishedTraining,
    streams: RandomStreams,
    device: torch.device,
    observer: Observer,
    checkpoint: Path,
    how: dict[str, Any],
    undisturbed: Undisturbed,
) -> None:
    """Make the trainings by which the protocol chooses its data, and the one that is evaluated.

    Args:
        experiment: what to train: a copy for this run (`Experiment.private`), as plugins may change it.
        trained: is filled with what is made, as soon as it is made, so that a failure leaves what there is.
        streams: the random streams of the run, or of all stacked runs.
        device: where it is computed.
        observer: is told of progress.
        checkpoint: the file of the checkpoint, from which the training goes on where it exists.
        how: further fields of the Task, on how it is computed.
        undisturbed: gives the context in which each evaluation is made.

    Raises:
        PluginError: if the data of the run were written to.
        Exception: whatever the plugins raise.
    """

    def task_on(splits: Splits) -> Task:
        return replace(new_task(experiment, splits, streams, device), **how)

    trained.method = method = experiment.new_method()
    if experiment.protocol.needs_gradient and not method.differentiable:
        raise NotApplicableError(
            f"the protocol {experiment.protocol.name} takes the gradient of the trained model, and that of "
            f"{experiment.method_name} has none"
        )
    given = loaded_splits(experiment, streams, device)
    trained.prepared = prepared = Prepared(given, method)
    trained.stages = stages = Stages(
        task_on, streams, checkpoint, observer, experiment.trains_on_val, experiment.running
    )
    check_model_on(experiment, given.train, streams, device)
    with unchanged(given, undisturbed) as watched:
        trained.prepared = prepared = _prepare(experiment, prepared, stages)
        watched.add(tensors_of(prepared.splits))
        task = task_on(prepared.splits)
        trained.evaluations = evaluations = new_evaluations(experiment, prepared.splits, undisturbed)
        trained.meter = meter = Meter(evaluations, observer, checkpoint)
        if stages.done:
            observer.stage("final")
        stages.run(prepared.method, task, meter)
        if streams.stacked:
            meter.save()  # its records are written one after the other, and an interrupt may come in between
        with undisturbed():
            trained.rescored = _rescored(experiment, trained, evaluations)
        if experiment.protocol.examines and meter.evaluated and not meter.diverged[0]:
            meter.save()
            protocol = experiment.protocol.name
            observer.note(
                f"protocol {protocol} examines the trained models on test sets of its own: it may take a while"
            )
            with undisturbed(), experiment.running("protocol"):
                trained.further = _examined(experiment, prepared, meter.evaluated, evaluations, streams)


@contextmanager
def unchanged(splits: Splits, undisturbed: Undisturbed) -> Iterator[Watched]:
    """Within this context nothing may write to the data of the run, or to what is added to them.

    Args:
        splits: the data.
        undisturbed: gives the context in which they are compared.

    Raises:
        PluginError: at the end, if any of them was written to.
    """
    watched = Watched(tensors_of(splits))
    yield watched
    with undisturbed():
        changed = watched.changed()
    if changed:
        raise PluginError(f"wrote to data that it may only read: {', '.join(changed)}")


def _prepare(experiment: Experiment, given: Prepared, stages: Stages) -> Prepared:
    """What the protocol chooses by trainings of its own, of which no test data are a part."""
    tests, probes = given.splits.tests, given.splits.probes
    blind = replace(given.splits, tests={}, probes={})
    own = type(experiment.protocol).prepare is not Protocol.prepare
    with experiment.running("protocol") if own else nullcontext():
        made = experiment.protocol.prepare(blind, given.method, stages)
    chosen = {"train": made.splits.train, "val": made.splits.val, **made.left_out}
    for name, split in chosen.items():  # the inputs are some of those that were checked
        dataset = experiment.dataset
        check_labels(dataset.name, name, split, dataset.classes, experiment.protocol.groups(dataset))
    return replace(made, splits=replace(made.splits, tests=tests, probes=probes))


def _rescored(
    experiment: Experiment, trained: FinishedTraining, evaluations: Evaluations
) -> dict[int, dict[str, dict[str, Metrics]]]:
    """What the records say of the stored predictions of each run that has not diverged."""
    finished = [run for run in range(len(evaluations.failures)) if not trained.divergence(run)]
    metrics = guarded_metrics(experiment)
    return {run: evaluations.rescored(run, metrics) for run in finished}


def _examined(
    experiment: Experiment,
    prepared: Prepared,
    evaluated: nn.Module,
    evaluations: Evaluations,
    streams: RandomStreams,
) -> dict[str, dict[str, Metrics]]:
    """Rule -> metrics by further test set, of the model of the rule; a model of two rules is examined once."""
    model, metrics_by_model = copy.deepcopy(evaluated), {}
    protocol, known_sets = experiment.protocol, {"val", *prepared.splits.tests, *prepared.splits.probes}
    for state in evaluations.model_states.values():
        if id(state) not in metrics_by_model:
            model.load_state_dict(state)
            evaluate = _Examination(protocol.name, evaluations, model)
            further = protocol.examine(model, prepared.splits, streams, evaluate)
            if taken := sorted(known_sets & further.keys()):
                raise PluginError(
                    f"protocol {protocol.name}: its examine names a test set {taken[0]}, which is the name of a set "
                    f"that is evaluated during training: choose another name"
                )
            metrics_by_model[id(state)] = further
    return {rule: metrics_by_model[id(state)] for rule, state in evaluations.model_states.items()}


@dataclass
class _Examination:
    """Evaluates the model of a rule on the test sets that a protocol examines, each under its name or its number."""

    protocol: str
    evaluations: Evaluations
    model: nn.Module
    count: int = 0

    def __call__(self, split: Split, name: str = "") -> Metrics:
        self.count += 1
        what = f"test set {name or self.count} that the protocol {self.protocol} examines"
        return self.evaluations.examined(self.model, split, what)
