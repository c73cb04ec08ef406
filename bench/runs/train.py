"""The trainings of a run: those by which its protocol chooses its data, and the one that is evaluated.

Test data go to evaluations alone: neither methods nor the trainings of protocols see them.
"""

import copy
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.data.rules import check_labels
from bench.data.split import Splits
from bench.errors import BenchError, DivergedError, NotApplicableError
from bench.protocol import Metrics, Prepared
from bench.records.run import DIVERGED, NOT_APPLICABLE, OK, OUT_OF_MEMORY, PLUGIN_ERROR
from bench.records.sections import Selected
from bench.runs.build import check_model_on, loaded_splits, new_evaluations, new_task
from bench.runs.evaluation import Evaluations
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
class Outcome:
    """Whether the trainings of a run went well: the status and, of a failure, its message."""

    status: str = OK
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.status == OK

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Takes the failures that a record tells of, and lets all others pass."""
        try:
            yield
        except DivergedError as error:
            self.status, self.error = DIVERGED, str(error)
        except NotApplicableError as error:
            self.status, self.error = NOT_APPLICABLE, str(error)
        except BenchError:
            raise
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
                self.status, self.error = OUT_OF_MEMORY, str(error).split("\n")[0]
            else:
                self.status, self.error = PLUGIN_ERROR, traceback.format_exc()


@dataclass(frozen=True)
class FinishedTraining:
    """All that is left of the trainings of a run, or of stacked runs."""

    outcome: Outcome
    prepared: Prepared
    task: Task
    meter: Meter
    evaluations: Evaluations
    stages: Stages
    peak_memory: int | None
    """Bytes on the GPU, while it trained."""
    further: dict[str, dict[str, Metrics]]
    """Rule -> metrics by test set, of the examined models."""

    def selected(self, run: int) -> dict[str, Selected]:
        """Rule -> what it selects, of one run."""
        results_by_rule = self.evaluations.selected(self.meter.history, run)
        for rule, metrics in self.further.items():
            results_by_rule[rule].metrics.update(metrics)
        return results_by_rule

    def arrays(self, run: int) -> "dict[str, np.ndarray[Any, Any]]":
        """What is kept beside the record."""
        chosen = {name: values.cpu().numpy() for name, values in self.prepared.arrays.items()}
        return self.evaluations.predictions(run) | self.meter.kept(run) | chosen


def train(
    experiment: Experiment,
    method: Method,
    streams: RandomStreams,
    device: torch.device,
    observer: Observer,
    checkpoint: Path,
    how: dict[str, Any],
) -> FinishedTraining:
    """The trainings by which the protocol chooses its data, and the one that is evaluated. `how`: fields of Task."""

    def task_on(splits: Splits) -> Task:
        return replace(new_task(experiment, splits, streams, device), **how)

    outcome = Outcome()
    stages = Stages(task_on, streams, checkpoint, observer, experiment.trains_on_val)
    prepared = Prepared(loaded_splits(experiment, streams, device), method)
    check_model_on(experiment, prepared.splits.train, streams, device)
    with outcome.catching():
        prepared = _prepare(experiment, prepared, stages)
    task, evaluations = task_on(prepared.splits), new_evaluations(experiment, prepared.splits)
    meter = Meter(evaluations, observer, checkpoint)
    if outcome.ok:
        if stages.done:
            observer.stage("final")
        with outcome.catching():
            stages.run(prepared.method, task, meter)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    further = {}
    if outcome.ok and experiment.protocol.examines and not meter.diverged[0]:
        meter.save()
        observer.note("the trained models are examined on further test data, which may take a while")
        with outcome.catching():
            further = _examined(experiment, prepared, evaluations, streams)
    return FinishedTraining(outcome, prepared, task, meter, evaluations, stages, peak, further)


def _prepare(experiment: Experiment, given: Prepared, stages: Stages) -> Prepared:
    """What the protocol chooses by trainings of its own, of which no test data are a part."""
    tests, probes = given.splits.tests, given.splits.probes
    blind = replace(given.splits, tests={}, probes={})
    made = experiment.protocol.prepare(blind, given.method, stages)
    chosen = {"train": made.splits.train, "val": made.splits.val, **made.left_out}
    for name, split in chosen.items():  # the inputs are some of those that were checked
        dataset = experiment.dataset
        check_labels(dataset.name, name, split, dataset.classes, experiment.protocol.groups(dataset))
    return replace(made, splits=replace(made.splits, tests=tests, probes=probes))


def _examined(
    experiment: Experiment, prepared: Prepared, evaluations: Evaluations, streams: RandomStreams
) -> dict[str, dict[str, Metrics]]:
    """Rule -> metrics by further test set, of the model of the rule; a model of two rules is examined once."""
    model, metrics_by_model = copy.deepcopy(prepared.method.model), {}
    for state in evaluations.model_states.values():
        if id(state) not in metrics_by_model:
            model.load_state_dict(state)
            evaluate = partial(evaluations.examined, model)
            metrics_by_model[id(state)] = experiment.protocol.examine(model, prepared.splits, streams, evaluate)
    return {rule: metrics_by_model[id(state)] for rule, state in evaluations.model_states.items()}
