"""What the harness costs: its epoch beside a bare hand-written loop with the same model, data and optimiser.

Run with `pytest -n 0 -m throughput`. The two take turns in one process; the ratio of each turn and its quartiles go
into pytest-benchmark's output (`--benchmark-json FILE`).
"""

import statistics
import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from bench.data.split import Split
from bench.models.normalize import normalized
from bench.recipe import Recipe
from bench.streams import RandomStreams
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.task import Task
from bench_plugins.datasets.cifar import flip_and_translate
from bench_plugins.models.mlp import mlp
from bench_plugins.models.resnet import resnet18
from tests.experiments import CPU_AND_GPU

pytestmark = pytest.mark.throughput

CASES = {
    "MNIST-MLP": (
        (1, 28, 28),
        lambda: mlp((1, 28, 28), 10, hidden=(50,), activation="sigmoid"),
        None,
        Recipe(lr=1e-3, epochs=2, batch_size=100),
    ),
    "CIFAR-ResNet-18": (
        (3, 32, 32),
        lambda: normalized(resnet18((3, 32, 32), 10), (0.5,) * 3, (0.25,) * 3),
        flip_and_translate,
        Recipe(optimizer="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, epochs=1, batch_size=128),
    ),
}
SAMPLES = {("MNIST-MLP", "cpu"): 11_000, ("CIFAR-ResNet-18", "cpu"): 256}


def bare_loop(task: Task) -> None:
    """What one would write by hand: no weights, no evaluation, no bookkeeping but the loss."""
    r, data = task.recipe, task.train
    model = task.new_model().train()
    optimizer = task.optimizer(model)
    generator = torch.Generator(data.device).manual_seed(0)
    for _ in range(task.epochs):
        order = torch.randperm(len(data), device=data.device)
        total = torch.zeros((), device=data.device)
        for start in range(0, len(data), r.batch_size):
            index = order[start : start + r.batch_size]
            x = data.x[index].float() / 255
            if task.augment:
                x = task.augment(x, generator)
            loss = F.cross_entropy(model(x), data.y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()


def harness(task: Task) -> None:
    Method().fit(task, Meter(NoEvaluations()))


def seconds(run: Callable[[Task], None], task: Task) -> float:
    start = time.perf_counter()
    run(task)
    if task.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@pytest.mark.parametrize("device", CPU_AND_GPU)
@pytest.mark.parametrize("case", CASES)
def test_epoch_beside_a_bare_loop(case, device, benchmark):
    shape, build, augment, recipe = CASES[case]
    n = SAMPLES.get((case, device), 50_000)
    y = torch.arange(n) % 10
    split = Split(torch.randint(0, 256, (n, *shape), dtype=torch.uint8), y, y).to(torch.device(device))
    names = tuple("0123456789")
    task = Task(split, split, names, names, recipe, lambda: build().to(device), RandomStreams((0,)), augment)
    ratios = []

    def turn() -> None:
        bare, ours = seconds(bare_loop, task), seconds(harness, task)
        ratios.append(ours / bare)

    benchmark.pedantic(turn, rounds=15, warmup_rounds=2)
    low, median, high = statistics.quantiles(ratios[2:], n=4)
    benchmark.extra_info.update(ratio=median, quartiles=[low, high], samples=n, threads=torch.get_num_threads())
    print(f"\n{case} on {device}: harness / bare loop = {median:.3f} [{low:.3f}, {high:.3f}]")
