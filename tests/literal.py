"""Small tasks and models written out literally, in float64: the slow truth that whole methods are tested against."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench import Batch, Method, RandomStreams, Recipe, Split, Task
from bench.testing import train

Parameters = Sequence[Tensor]
Logits = Callable[[Parameters, Tensor], Tensor]


class Double(nn.Module):
    """Splits hold float32."""

    stackable = True

    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def new_mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Double(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def mlp(theta: Parameters, x: Tensor) -> Tensor:
    """Sample by sample."""
    w1, b1, w2, b2 = theta
    return torch.stack([w2 @ torch.tanh(w1 @ row + b1) + b2 for row in x.double()])


def new_conv() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [Double(), nn.Unflatten(1, (1, 4, 4))]
    for channels in (1, 4):
        layers += [nn.Conv2d(channels, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3)).double()


def conv(theta: Parameters, x: Tensor) -> Tensor:
    """BatchNorm with the statistics of the batch."""
    x = x.double().view(-1, 1, 4, 4)
    for kernel, scale, shift in (theta[:3], theta[3:6]):
        x = torch.conv2d(x, kernel, padding=1)
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
        x = (x - mean) / (variance + 1e-5).sqrt() * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
        x = x.clamp_min(0)
    return x.flatten(1) @ theta[6].T + theta[7]


MODELS: dict[str, tuple[Callable[[], nn.Module], Logits]] = {"mlp": (new_mlp, mlp), "conv": (new_conv, conv)}


def task(new_model: Callable[[], nn.Module] = new_mlp, **recipe: Any) -> Task:
    """Three classes, two epochs of batches of 8, 8 and 6; the learning rate falls between them."""

    def split(n: int, seed: int) -> Split:
        y = torch.arange(n) % 3
        return Split(torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)).float() + y.unsqueeze(1), y, y)

    settings: dict[str, Any] = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    settings |= {"epochs": 2, "milestones": (0.5,), "batch_size": 8, "val_batch_size": 12, "min_per_group": 3}
    names = ("a", "b", "c")
    return Task(
        split(22, 0),
        split(40, 1),
        names,
        names,
        Recipe(**{"select": "accuracy"} | settings | recipe),
        new_model,
        RandomStreams((0,)),
    )


def cross_entropy(z: Tensor, y: Tensor) -> list[Tensor]:
    return [zi.exp().sum().log() - zi[yi] for zi, yi in zip(z, y, strict=True)]


def optimizer_of(task: Task, theta: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The recipe's, in its plainest implementation."""
    r = task.recipe
    if r.optimizer == "adam":
        return torch.optim.Adam(theta, r.lr, weight_decay=r.weight_decay, foreach=False)
    return torch.optim.SGD(theta, r.lr, r.momentum, 0, r.weight_decay, r.nesterov, foreach=False)


def descend(optimizer: torch.optim.Optimizer, theta: Sequence[Tensor], gradient: Sequence[Tensor]) -> None:
    for parameter, g in zip(theta, gradient, strict=True):
        parameter.grad = g
    optimizer.step()


def trained(method: Method, task: Task) -> tuple[nn.Module, list[Tensor]]:
    """The model, and the weights of each step."""
    seen: list[Tensor] = []
    update = method.update

    def recorded(batch: Batch) -> tuple[Tensor, Tensor]:
        losses, weights = update(batch)
        seen.append(weights)
        return losses, weights

    method.update = recorded  # type: ignore[method-assign]
    return train(method, task), seen


def distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Relative, of all the tensors together."""
    difference, size = (
        torch.cat([t.detach().flatten() for t in tensors])
        for tensors in ([a - b for a, b in zip(found, expected, strict=True)], expected)
    )
    return float(difference.norm() / size.norm())


class NothingRead(TorchDispatchMode):
    """Fails where a tensor's value is read or decides on a shape: which waits for a GPU and breaks CUDA graphs."""

    READS = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in self.READS, f"{func} reads a value"
        return func(*args, **(kwargs or {}))
