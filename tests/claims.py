"""Small tasks on which the right answer is known, for what papers claim: each method beside ERM, over paired seeds."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from bench import Method, RandomStreams, Recipe, Split, Task
from bench.models.predict import predict
from bench.streams import derive
from bench.testing import train
from bench_plugins.methods.erm import ERM

SEEDS = range(5)
RECIPE = Recipe(select="accuracy", optimizer="sgd", lr=0.1, momentum=0.9, epochs=10, batch_size=50, val_batch_size=50)
Sample = Callable[[int, Generator], Split]
"""(number of samples, generator) -> a split."""


def spurious(agree: float) -> Sample:
    """Two classes; x[0] tells the class with much noise, x[1] an attribute with little, which equals the class with
    probability `agree`. Groups: 2 * class + attribute.
    """

    def sample(n: int, g: Generator) -> Split:
        y = torch.rand(n, generator=g).lt(0.5).long()
        attribute = y.where(torch.rand(n, generator=g) < agree, 1 - y)
        signs = 2.0 * torch.stack([y, attribute], 1) - 1
        x = signs + torch.tensor([1.0, 0.3]) * torch.randn(n, 2, generator=g)
        return Split(x, y, 2 * y + attribute)

    return sample


def blobs(shares: tuple[float, ...], noise: float = 0.0) -> Sample:
    """Classes of these shares, normal around corners of a square of side 3, in their own groups. A fraction `noise` of
    all labels is changed to class 0.
    """

    def sample(n: int, g: Generator) -> Split:
        y = torch.multinomial(torch.tensor(shares, dtype=torch.float32), n, replacement=True, generator=g)
        corners = 3.0 * torch.tensor([[0, 0], [1, 1], [0, 1], [1, 0]])
        x = corners[y] + torch.randn(n, 2, generator=g)
        y = y.where(torch.rand(n, generator=g) >= noise, 0)
        return Split(x, y, y)

    return sample


def task(seed: int, kind: str, n: int = 600, **recipe: object) -> tuple[Task, Split]:
    """A task of one kind and its test data, which are balanced, as the validation data are, and clean.

    Kinds: `spurious` (95 % of the training samples have the attribute of their class), `noise` (20 % of the labels
    become class 0), `imbalance` (1:20).
    """
    train_sample, fair_sample = {
        "spurious": (spurious(0.95), spurious(0.5)),
        "noise": (blobs((1, 1, 1, 1), 0.2), blobs((1, 1, 1, 1))),
        "imbalance": (blobs((20, 1)), blobs((1, 1))),
    }[kind]
    streams = RandomStreams((seed,))
    sizes = (("train", train_sample, n), ("val", fair_sample, 200), ("test", fair_sample, 2000))
    parts = {name: sample(size, streams.generators(name)[0]) for name, sample, size in sizes}
    classes = 4 if kind == "noise" else 2

    def new_model() -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(derive(seed, "init"))
            return nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, classes))

    groups = 4 if kind == "spurious" else classes
    made = Task(
        train=parts["train"],
        val=parts["val"],
        classes=tuple(f"class {i}" for i in range(classes)),
        groups=tuple(f"group {i}" for i in range(groups)),
        recipe=replace(RECIPE, **recipe),  # type: ignore[arg-type]
        new_model=new_model,
        streams=streams,
    )
    return made, parts["test"]


def worst_group_accuracy(model: nn.Module, test: Split) -> float:
    """The least accuracy of a group; where groups are the classes, the least recall."""
    right = predict(model, test, 500).argmax(-1) == test.y
    return min(right[test.group == g].float().mean().item() for g in test.group.unique())


def accuracy(model: nn.Module, test: Split) -> float:
    return (predict(model, test, 500).argmax(-1) == test.y).float().mean().item()


Metric = Callable[[nn.Module, Split], float]


def gains(method: Callable[[], Method], kind: str, metric: Metric, **recipe: object) -> Tensor:
    """[5] differences of the metric to ERM's with the same seed."""
    found = []
    for seed in SEEDS:
        made, test = task(seed, kind, **recipe)
        found.append(metric(train(method(), made), test) - metric(train(ERM(), made), test))
    return torch.tensor(found)
