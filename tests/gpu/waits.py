"""Where the host waits for the device: at the ends of epochs, and nowhere within one."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bench import Batch, Method, RandomStreams, Recipe, Task
from bench.meta import BACKENDS
from bench.metrics import evaluate
from bench.models.normalize import normalized
from bench.predictions import Predictions
from bench.testing import train
from bench_plugins.datasets.cifar import flip_and_translate
from bench_plugins.models.resnet import resnet18
from tests.experiments import FEW
from tests.gpu import each
from tests.gpu.common import CLASSES, apart, batch, images, is_gpu, tiny, unwaiting
from tests.gpu.methods import METHODS, TASKS


@each(METHODS)
def check_an_epoch_waits_for_nothing(device: torch.device, name: str) -> None:
    """Neither the drawing and augmenting of batches, nor updates, replayed ones and others (the last, small batch's),
    nor the meter. In the first epoch kernels are loaded, and look-aheads choose. A method that draws batches of its own
    may look at its state before the first one.
    """
    watched(device, METHODS[name], FEW.get(name, {}), task(device, 2 if TASKS.get(name) == "group_fairness" else 10))


@each(BACKENDS[1:])
def check_an_epoch_of_forml_waits_for_nothing(device: torch.device, backend: str) -> None:
    """By each backend, on a model without BatchNorm."""
    watched(device, METHODS["forml"], {}, replace(task(device, 10, apart), backend=backend))


def watched(device: torch.device, kind: type[Method], options: dict[str, Any], given: Task) -> None:
    looks = kind.batches is not Method.batches

    class Strict(kind):  # type: ignore[misc, valid-type]
        epochs = 0

        def batches(self, epoch: int) -> Iterator[Batch]:
            self.epochs += 1
            batches = super().batches(epoch)
            if looks:
                yield next(batches)
            with unwaiting(device) if self.epochs > 1 else nullcontext():
                yield from batches

    method: Method = Strict(**options)
    train(method, given)
    assert method.capture.captured == (device.type == "cuda" and kind.capturable), method.capture


def task(device: torch.device, classes: int, build: Callable[..., nn.Module] | None = None) -> Task:
    """Two epochs of five batches and a small one."""
    size, side = batch(device), 32 if is_gpu(device) else 8
    split = images(5 * size + size // 2, 0, side, classes).to(device)
    recipe = Recipe(
        select="accuracy", optimizer="sgd", lr=0.01, momentum=0.9, epochs=2, batch_size=size, val_batch_size=20
    )

    def new_model() -> nn.Module:
        model = (build or (resnet18 if is_gpu(device) else tiny))((3, side, side), classes)
        return normalized(model, (0.5,) * 3, (0.25,) * 3).to(device)

    names, groups = CLASSES[:classes], ("a", "b") if classes == 2 else CLASSES
    split = split if classes == 2 else replace(split, group=split.y)
    target, streams = split.unlabelled(), RandomStreams((0,))
    return Task(split, split, names, groups, recipe, new_model, streams, flip_and_translate, target, capture=True)


@each(["attribute", "class"])
def check_metrics_wait_for_nothing_and_are_those_of_a_cpu(device: torch.device, kind: str) -> None:
    """Of three stacked runs."""
    generator = torch.Generator().manual_seed(0)
    classes = 2 if kind == "attribute" else 5
    logits = 2 * torch.randn(3, 1000, classes, generator=generator)
    y, group = (torch.randint(n, (3, 1000), generator=generator) for n in (classes, 3))
    here: dict[str, Any] = {"logits": logits, "y": y, "group": group if kind == "attribute" else y}
    there = {name: value.to(device) for name, value in here.items()}
    sizes = {"groups": 3 if kind == "attribute" else classes, "group_is_class": kind == "class"}
    evaluate(Predictions(**there, **sizes))
    with unwaiting(device):
        found = evaluate(Predictions(**there, **sizes))
    for name, value in evaluate(Predictions(**here, **sizes)).items():
        assert found[name].tolist() == pytest.approx(value.tolist(), abs=1e-12), name
