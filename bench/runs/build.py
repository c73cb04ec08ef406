"""What a run is made of, from its experiment: data, model, task, evaluations."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import nn

from bench.data.split import Split, Splits
from bench.models.initial import initial_model
from bench.models.precision import in_precision
from bench.protocol import Protocol
from bench.runs.evaluation import Evaluations, Undisturbed
from bench.runs.experiment import Experiment
from bench.streams import RandomStreams
from bench.training.method import Method
from bench.training.task import Task

LARGE = 256_000_000
"""Bytes."""


def new_model(experiment: Experiment, streams: RandomStreams, device: torch.device) -> nn.Module:
    """The model of an experiment at the initial weights of its streams, on a device."""
    dataset = experiment.dataset

    def build() -> nn.Module:
        return experiment.model(dataset.shape, len(dataset.classes), **experiment.model_options)

    model, precision = initial_model(build, dataset.mean, dataset.std, streams, device), experiment.recipe.precision
    return in_precision(model, precision, channels_last=precision == "bf16")


def splits_of(experiment: Experiment, seed: int) -> Splits:
    """The data of the run with this seed, as they were loaded."""
    splits = experiment.protocol.splits(experiment.dataset, experiment.recipe, RandomStreams((seed,)))
    if experiment.trains_on_val:
        splits = replace(splits, train=Split.cat([splits.train, splits.val]))
    return splits


def loaded_splits(experiment: Experiment, streams: RandomStreams, device: torch.device) -> Splits:
    """The data of the run, or of all stacked runs, on the device."""
    splits_by_seed = [splits_of(experiment, seed) for seed in streams.seeds]

    def join(splits: Sequence[Split]) -> Split:
        return (Split.stack(splits) if streams.stacked else splits[0]).to(device)

    tests = {name: join([s.tests[name] for s in splits_by_seed]) for name in splits_by_seed[0].tests}
    probes = {name: join([s.probes[name] for s in splits_by_seed]) for name in splits_by_seed[0].probes}
    targets = [s.target for s in splits_by_seed if s.target]
    target = join(targets) if targets else None
    return Splits(join([s.train for s in splits_by_seed]), join([s.val for s in splits_by_seed]), tests, probes, target)


def new_task(experiment: Experiment, splits: Splits, streams: RandomStreams, device: torch.device) -> Task:
    """What the method of an experiment gets."""
    return Task(
        train=splits.train,
        val=splits.val,
        target=splits.target,
        classes=experiment.dataset.classes,
        groups=experiment.protocol.groups(experiment.dataset),
        recipe=experiment.recipe,
        new_model=lambda: new_model(experiment, streams, device),
        streams=streams,
        augment=experiment.dataset.augment if experiment.recipe.augment else None,
    )


def new_evaluations(experiment: Experiment, splits: Splits, undisturbed: Undisturbed = nullcontext) -> Evaluations:
    """What evaluates the trainings of an experiment, in the contexts that `undisturbed` gives."""
    return Evaluations(
        splits,
        groups=len(experiment.protocol.groups(experiment.dataset)),
        group_is_class=experiment.protocol.group_is_class,
        batch_size=experiment.recipe.eval_batch_size,
        select=None if experiment.trains_on_val else experiment.recipe.select,
        keep_at=experiment.recipe.evaluate_at,
        keep_models=experiment.protocol.examines,
        metrics=experiment.known_metrics,
        undisturbed=undisturbed,
    )


def begin(experiment: Experiment, seeds: Sequence[int], device: torch.device, stacked: bool) -> None:
    """Do what runs do before their first update: draw the data of every seed, and let the method of the first begin.

    Of data larger than LARGE, which splits copy, only those of the first seed are drawn. A method with a `fit` of its
    own, and one whose data a protocol chooses by trainings, begin in their runs alone.

    Raises:
        Exception: whatever the data set, the protocol, the model or the method raise.
    """
    if not stacked and experiment.dataset.train.x.nbytes <= LARGE:
        for seed in seeds[1:]:
            splits_of(experiment, seed)
    streams = RandomStreams(tuple(seeds if stacked else seeds[:1]), stacked)
    splits = loaded_splits(experiment, streams, device)
    method = experiment.new_method()
    if type(method).fit is Method.fit and type(experiment.protocol).prepare is Protocol.prepare:
        method.begin(new_task(experiment, splits, streams, device))
