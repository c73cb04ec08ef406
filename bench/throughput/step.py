"""One step of a method on synthetic data: what is timed and counted."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from bench.data.split import Split
from bench.errors import NotApplicableError
from bench.models.initial import initial_model
from bench.models.precision import in_precision
from bench.recipe import Recipe
from bench.registry import Registry
from bench.streams import RandomStreams
from bench.throughput.record import EAGER, ONE_BY_ONE
from bench.throughput.workload import Conditions, Workload
from bench.training.capture.update import CapturedUpdate
from bench.training.method import Method
from bench.training.task import Task

TRAIN_BATCHES, VAL_BATCHES = 8, 16  # in the data


class Step:
    """One training step of a method, on each of several tasks.

    A call makes one update on each task with its next batch, as a run does in its first evaluated epoch; epochs of
    preparation are left out. `eager` makes the same updates without capture.
    """

    def __init__(self, method: type[Method], tasks: Sequence[Task]) -> None:
        if method.fit is not Method.fit:
            raise NotApplicableError("it trains by a `fit` of its own, of which no single step can be timed")
        self.methods = [method() for _ in tasks]
        for begun, task in zip(self.methods, tasks, strict=True):
            begun.begin(task)
            begun.model.train()
        captures = tasks[0].capture and method.capturable
        self._updates = [CapturedUpdate(begun) if captures else begun.update for begun in self.methods]
        self._batches = [itertools.cycle(list(begun.batches(0))) for begun in self.methods]

    def __call__(self) -> None:
        for update, batches in zip(self._updates, self._batches, strict=True):
            update(next(batches))

    def eager(self) -> None:
        """Make the same step without captures."""
        for method, batches in zip(self.methods, self._batches, strict=True):
            getattr(method, "eager_update", method.update)(next(batches))  # a rival may replay by itself

    @property
    def captured(self) -> bool:
        """Whether the updates are replayed by now."""
        by_itself = any(getattr(method, "captured", False) for method in self.methods)
        return by_itself or any(isinstance(update, CapturedUpdate) and update.captured for update in self._updates)

    @property
    def eager_because(self) -> str:
        """Why the updates are not captured although the task asks for it; empty if it does not ask."""
        reasons = [update.eager_because for update in self._updates if isinstance(update, CapturedUpdate)]
        return next(filter(None, reasons), "")

    @property
    def backend(self) -> str | None:
        """The backend of the method's look-aheads; None if it made none."""
        used = dict.fromkeys(engine.choice.backend for engine in self.methods[0].engines() if engine.choice)
        return " + ".join(used) or None


def new_step(
    kind: str, method: type[Method], way: str, workload: Workload, conditions: Conditions, registry: Registry
) -> Step:
    """The step of a workload.

    Args:
        kind: `methods`, or `rivals`, which are timed as their users run them, never captured.
        method: the class of the method or rival.
        way: one of `record.WAYS`: all runs at once, the same never captured (EAGER), or ONE_BY_ONE.
        workload, conditions: what is timed, and how.
        registry: where the model is looked up.

    Returns:
        The step, set up and not yet called.
    """
    build = registry.find("models", workload.model).value
    if kind == "rivals" or way == EAGER:
        conditions = replace(conditions, eager=True)
    runs = range(workload.stack)
    together = [range(run, run + 1) for run in runs] if way == ONE_BY_ONE else [runs]
    return Step(method, [new_task(workload, conditions, build, seeds) for seeds in together])


def new_task(workload: Workload, conditions: Conditions, build: Callable[..., nn.Module], seeds: Sequence[int]) -> Task:
    """A task as the runner makes it, on random inputs and labels that lie on the device.

    The optimiser is plain SGD, the one that adds least to the passes through the model. Look-aheads do not check
    themselves.

    Args:
        workload, conditions: what is timed, and how.
        build: the model's function.
        seeds: one for each run; the task is stacked if there are several.

    Returns:
        The task.
    """
    device, streams = torch.device(conditions.device), RandomStreams(tuple(seeds), stacked=len(seeds) > 1)
    channels = workload.shape[0] if len(workload.shape) == 3 else 0

    def build_seeded() -> nn.Module:
        return build(workload.shape, workload.classes, **workload.model_options)

    def new_model() -> nn.Module:
        model = initial_model(build_seeded, (0.5,) * channels, (0.25,) * channels, streams, device)
        return in_precision(model, conditions.precision, conditions.channels_last)

    batch, val_batch = workload.batch_size, workload.val_size
    return Task(
        train=_split(workload, TRAIN_BATCHES * batch, "train", streams).to(device),
        val=_split(workload, VAL_BATCHES * val_batch, "val", streams).to(device),
        target=_split(workload, VAL_BATCHES * val_batch, "target", streams).unlabelled().to(device),
        classes=tuple(map(str, range(workload.classes))),
        groups=tuple(map(str, range(workload.group_count))),
        recipe=Recipe(optimizer="sgd", lr=1e-3, epochs=1, batch_size=batch, val_batch_size=val_batch),
        new_model=new_model,
        streams=streams,
        backend=conditions.backend,
        check=False,
        capture=not conditions.eager and (streams.stacked or device.type == "cuda"),
    )


def _split(workload: Workload, n: int, part: str, streams: RandomStreams) -> Split:
    """n samples with classes and groups of equal size, independent of the inputs."""

    def inputs(g: Generator) -> Tensor:
        if len(workload.shape) == 3:
            return torch.randint(0, 256, (n, *workload.shape), dtype=torch.uint8, generator=g)
        return torch.randn(n, *workload.shape, generator=g)

    label = streams.draw(lambda g: torch.randperm(n, generator=g), part, "label")
    y = label % workload.classes
    group = y if workload.groups is None else label // workload.classes % workload.groups  # every class in every group
    return Split(streams.draw(inputs, part, "inputs"), y, group)
