"""Data and trainings of the checks: small on a pretended device and on a CPU, of the usual size on a GPU."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.data.dataset import Dataset
from bench.data.files import Files
from bench.data.split import Split
from bench.recipe import Recipe
from bench.records.run import RunResult
from bench.runs.experiment import Experiment, Request
from bench.runs.resolve import resolve
from bench.runs.runner import run
from bench.store.results import ResultStore
from bench.throughput.counts import sync_debug_mode
from bench_plugins.datasets.cifar import flip_and_translate
from tests.pretended.device import NAME

CPU = torch.device("cpu")
CLASSES = tuple("0123456789")
RECIPE = Recipe(
    select="accuracy",
    model="resnet18",
    optimizer="sgd",
    lr=0.01,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    val_batch_size=30,
    augment=False,  # it draws on the device: other numbers than on a CPU
)


def is_gpu(device: torch.device) -> bool:
    """Whether it is a real one."""
    return device.type == "cuda" and torch.cuda.get_device_name(device) != NAME


def width(device: torch.device) -> int:
    """Of ResNet-18."""
    return 64 if is_gpu(device) else 4


def batch(device: torch.device) -> int:
    return 128 if is_gpu(device) else 16


def images(n: int, seed: int, side: int, classes: int = 10) -> Split:
    """Noise whose brightness goes with the class, and two groups in every class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = torch.randint(0, 176, (n, 3, side, side), generator=generator) + (80 * y // classes).view(-1, 1, 1, 1)
    return Split(x.to(torch.uint8), y, torch.arange(n) // classes % 2)


def dataset(device: torch.device, samples: int, classes: int = 10) -> Dataset:
    """So many training samples of images, with validation and test data of their own."""
    side = 32 if is_gpu(device) else 8
    return Dataset(
        name="cifar10",
        train=images(samples, 0, side, classes),
        val=images(200, 1, side, classes),
        test=images(300, 2, side, classes),
        classes=CLASSES[:classes],
        groups=("a", "b") if classes == 2 else (),
        recipe=replace(RECIPE, model_options={"width": width(device)}, batch_size=batch(device)),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        augment=flip_and_translate,
    )


def experiment(data: Dataset, method: str = "erm", protocol: str | None = None, **options: Any) -> Experiment:
    """`recipe__lr` stands for the option recipe.lr."""
    given = {name.replace("__", "."): value for name, value in options.items()}
    request = Request("cifar10", method, protocol=protocol, options=given)
    return resolve(request, Files(Path("nowhere"), download=False), loaded=data)


def small(given: Experiment, device: torch.device) -> Experiment:
    """With a model that a CPU trains as well: a narrow ResNet-18, and for a pretended device even less."""
    if is_gpu(device):
        return replace(given, model_options={"width": 8})
    return replace(given, model=tiny, model_options={})


def tiny(shape: tuple[int, ...], classes: int) -> nn.Module:
    """With BatchNorm, and of few operations."""
    layers = [nn.Conv2d(shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, classes))


def apart(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Without BatchNorm: its samples do not see each other, and every backend takes it."""
    layers = [nn.Conv2d(shape[0], 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, classes))


def trained(
    made: Experiment, device: torch.device, seeds: Sequence[int] = (0,), folder: Path | None = None, **how: Any
) -> tuple[RunResult, Mapping[str, np.ndarray[Any, Any]]]:
    """The record of the first seed, of a training that must go well, and what is kept beside it."""
    with store(folder) as records:
        result = run(made, seeds, records, device, **how)[0]
        assert result.ok, f"{result.status}: {result.error}"
        return result, records.sidecar(replace(result, beside=None)).arrays


@contextmanager
def store(folder: Path | None = None) -> Iterator[ResultStore]:
    """Of records."""
    with tempfile.TemporaryDirectory() as scratch:
        records = ResultStore((folder or Path(scratch)) / "results")
        records.check_writable()
        yield records


def compare(one: RunResult, other: RunResult, tolerance: float) -> str:
    """The losses, and how unequal the weights are, of all evaluated epochs. Raises AssertionError where they differ by
    more than the tolerance, relative to their size.
    """
    far = 0.0
    for name in ("train/loss", "train/effective_sample_size"):
        a, b = (torch.tensor(result.history[name]).double() for result in (one, other))
        far = max(far, float(((a - b) / b).abs().max()))
        assert far <= tolerance, f"{name} differs by {far:.1e} of its size, more than {tolerance:.0e}"
    return f"up to {far:.1e}" if far else "bit for bit"


def unwaiting(device: torch.device) -> AbstractContextManager[None]:
    """Within, a call that waits for the device is an error."""
    return sync_debug_mode("error") if device.type == "cuda" else nullcontext()


@contextmanager
def exact() -> Iterator[None]:
    """cuDNN in full precision, with algorithms that repeat themselves."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.allow_tf32
    try:
        cudnn.deterministic, cudnn.allow_tf32 = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.allow_tf32 = before
