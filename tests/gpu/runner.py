"""The real runner over ResNet-18, which has BatchNorm: captured updates, precision, stacks, interrupts, values."""

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from bench.data.split import Batch
from bench.models.predict import predict
from bench.recipe import Recipe
from bench.records.run import RunResult
from bench.runs.build import loaded_splits, model_builder, new_evaluations
from bench.runs.experiment import Experiment
from bench.runs.runner import run
from bench.streams import RandomStreams
from bench.training.capture.update import FAILED
from bench.training.checkpoints import Checkpoints
from bench.training.method import Method
from bench.training.observer import Observer
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import toy_experiment
from tests.gpu.common import CPU, batch, compare, dataset, exact, experiment, is_gpu, small, store, trained

EPOCHS = 5


def made(device: torch.device, method: str = "erm", **options: object) -> Experiment:
    """Two batches and a small one an epoch; after the second and the fourth of five epochs the learning rate falls."""
    data = dataset(device, 2 * batch(device) + batch(device) // 2)
    schedule = {"recipe__epochs": EPOCHS, "recipe__milestones": (0.4, 0.8), "recipe__evaluate_every": 3}
    return experiment(data, method, **schedule | options)


def recorded_and_not(given: Experiment, device: torch.device, tolerance: float) -> tuple[RunResult, str]:
    """A training with captured updates, and how far it is from the one without."""
    with exact():
        replayed, _ = trained(given, device, check=False)
        plain, _ = trained(given, device, check=False, eager=True)
    assert replayed.costs.captured == (device.type == "cuda"), replayed.costs.eager_because
    assert not plain.costs.captured
    return replayed, compare(replayed, plain, tolerance)


def check_recorded_updates_train_as_plain_ones(device: torch.device) -> str:
    result, far = recorded_and_not(made(device), device, 1e-3)
    assert result.costs.train_seconds > 0 and result.costs.steps == 3 * EPOCHS
    if device.type == "cuda":
        assert result.costs.peak_memory_bytes > 4 * result.costs.parameters
        assert result.environment.device == torch.cuda.get_device_name(device)
    return far


def check_recorded_updates_of_forml_in_bf16_and_channels_last_train_as_plain_ones(device: torch.device) -> str:
    given = made(device, "forml", weight_lr=1.0, recipe__precision="bf16")
    return recorded_and_not(given if is_gpu(device) else small(given, device), device, 2e-2)[1]


def check_recorded_updates_with_adam_train_as_plain_ones(device: torch.device) -> str:
    given = {"recipe__optimizer": "adam", "recipe__lr": 1e-3, "recipe__momentum": 0.0, "recipe__nesterov": False}
    return recorded_and_not(small(made(device, **given), device), device, 1e-2)[1]


def check_bf16_trains_nearly_as_fp32(device: torch.device) -> str:
    half, full = (trained(made(device, recipe__precision=name), device)[0] for name in ("bf16", "fp32"))
    assert half.history["train/loss"] != full.history["train/loss"]
    return compare(half, full, 0.1)


def check_without_exact_algorithms_a_training_is_repeated_nearly(device: torch.device) -> str:
    one, other = (trained(small(made(device), device), device)[0] for _ in range(2))
    return compare(one, other, 1e-2)


def check_trains_as_a_cpu_does(device: torch.device) -> str:
    given = made(device, recipe__epochs=2, recipe__milestones=(), model__width=4)
    with exact():
        return compare(trained(given, device)[0], trained(given, CPU)[0], 1e-2)


def check_dropout_is_drawn_anew_in_every_update_and_repeated_with_the_seed(device: torch.device) -> str:
    """What is captured would draw other numbers, so it is not captured."""
    given = {"model__dropout": 0.5, "recipe__augment": True}
    with exact():
        one, _ = trained(made(device, **given), device)
        torch.rand(3, device=device)  # what was drawn before does not matter
        other, _ = trained(made(device, **given), device)
    assert not one.costs.captured and not one.costs.eager_because.startswith(FAILED)
    return compare(one, other, 1e-3)


def check_an_interrupted_training_goes_on_and_ends_as_the_whole_one(device: torch.device) -> str:
    """By the device's random numbers too: of the augmentation."""
    given = made(device, recipe__augment=True)
    with tempfile.TemporaryDirectory() as folder, exact(), patch.object(Checkpoints, "SECONDS", 0.0):
        with pytest.raises(KeyboardInterrupt), store(Path(folder)) as records:
            run(given, [0], records, device, _Interrupt(3))
        begun = _Interrupt()
        resumed, kept = trained(given, device, folder=Path(folder), observer=begun)
        whole, expected = trained(given, device)
    assert begun.began == 2, "it did not go on after the second epoch"
    assert kept.keys() == expected.keys()
    assert np.allclose(kept["test/last"], expected["test/last"], rtol=1e-2, atol=1e-2)
    return compare(resumed, whole, 1e-3)


class _Interrupt(Observer):
    """At the evaluation after an epoch. began: the epoch that the training began at."""

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch, self.began = epoch, -1

    def begin(self, method: Method, epoch: int) -> None:
        self.began = epoch

    def evaluating(self, epoch: int) -> None:
        if epoch == self.epoch:
            raise KeyboardInterrupt


def check_averaged_parameters_are_those_of_a_cpu(device: torch.device) -> str:
    """Stochastic weight averaging, whose BatchNorm statistics are made anew from the training data."""
    few = {"recipe__epochs": 3, "recipe__milestones": (), "recipe__average_from": 0.3}
    given = small(made(device, **few), device)
    with exact():
        there, logits = trained(given, device)
        here, expected = trained(given, CPU)
    assert np.allclose(logits["test/last"], expected["test/last"], rtol=5e-2, atol=5e-2)
    return compare(there, here, 1e-2)


def check_stacked_runs_train_as_single_ones(device: torch.device) -> str:
    recipe = Recipe(protocol="group_fairness", lr=0.05, epochs=4, batch_size=16, val_size=40, test_size=60)
    given = toy_experiment(recipe, GroupFairness(), _Capturable, "shared", {}, {}, ("a", "b"))
    with store() as records:
        stacked = run(given, [0, 1, 2], records, device, stacked=True)
    far = []
    for seed, result in enumerate(stacked):
        assert result.costs.captured, "the update of the stack was not captured"
        far.append(compare(result, trained(given, device, [seed])[0], 1e-3))
    return ", ".join(far)


class _Capturable(Method):
    capturable = True
    stackable = True


def check_evaluations_are_those_of_a_cpu(device: torch.device) -> str:
    """Of the same model, on all sets: logits nearly, metrics up to one sample of a class."""
    given, streams = made(device), RandomStreams((0,))
    train = loaded_splits(given, streams, device).train
    model = model_builder(given, train, streams, device)()
    _moved_by_training(model, train.in_order(batch(device)))
    values, logits = [], []
    with exact():
        for place in (device, CPU):
            splits, here = loaded_splits(given, streams, place), copy.deepcopy(model).to(place)
            values.append(new_evaluations(given, splits)(here, 1))
            logits.append(predict(here, splits.tests["test"], given.recipe.eval_batch_size).cpu().numpy())
    far = float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[1]).max())
    assert far < 1e-3, f"logits differ by {far:.1e} of the largest"
    for name, expected in values[1].items():
        found = {metric: value for metric, (value,) in values[0][name].items()}
        assert found == pytest.approx({m: v for m, (v,) in expected.items()}, abs=0.06, nan_ok=True), name
    return f"logits {'bit for bit' if far == 0 else f'up to {far:.1e}'}"


def _moved_by_training(model: torch.nn.Module, batches: Iterator[Batch]) -> None:
    """Statistics of BatchNorm and parameters are no longer the initial ones."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for each in batches:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(each.x), each.y).backward()
        optimizer.step()


def check_a_training_that_diverges_is_a_failure_and_no_result(device: torch.device) -> None:
    given = small(made(device, recipe__lr=1e30), device)
    with store() as records:
        (result,) = run(given, [0], records, device)
    assert result.status == "diverged", result.status
