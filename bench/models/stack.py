"""Stacks: several models of one architecture as one module, which trains them at about the cost of one small model.

The runs are independent, so the gradient of the sum of their losses holds the gradient of each run. With an optimiser
that works element by element, training the stack is training each of the models.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.models.normalize import Normalize

SAFE: frozenset[type[nn.Module]] = frozenset(
    {
        nn.Sequential,
        nn.Identity,
        nn.ReLU,
        nn.LeakyReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Softplus,
        nn.Sigmoid,
        nn.Tanh,
    }
)
"""Modules that treat all leading dimensions alike, so that they need no change in a stack."""


class StackedLinear(nn.Module):
    """R linear layers as one: x [R, B, in] -> [R, B, out].

    Args:
        weight: [R, out, in].
        bias: [R, out], or None.
    """

    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    @classmethod
    def of(cls, layers: "Sequence[nn.Linear]") -> Self:
        """The stack of these layers, with a copy of their parameters."""
        weight = torch.stack([layer.weight.detach() for layer in layers])
        bias = None if layers[0].bias is None else torch.stack([layer.bias.detach() for layer in layers])
        stacked = cls(weight, bias)
        for name, parameter in stacked.named_parameters():
            parameter.requires_grad_(layers[0].get_parameter(name).requires_grad)
        return stacked.train(layers[0].training)

    def layer(self, run: int) -> nn.Linear:
        """The layer of one run, with a copy of its parameters."""
        _, outputs, inputs = self.weight.shape
        layer = nn.Linear(inputs, outputs, self.bias is not None, device="meta")  # draws no initial weights
        for name, parameter in self.named_parameters():
            copied = parameter[run].detach().clone()
            setattr(layer, name, nn.Parameter(copied, requires_grad=parameter.requires_grad))
        return layer.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.bmm(x, self.weight.mT)
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """Stack models: one module with a leading run dimension R in every parameter. The models are not changed.

    `nn.Linear` becomes one batched product, and `nn.Flatten(1)` keeps the run dimension. `nn.Sequential` and
    element-wise activations stay as they are. So does any module whose class declares `stackable = True`. Such a class
    promises that it has no parameters of its own (its parts may have some), and that its `forward` means the same with
    one more leading dimension. Its buffers must be equal in all the models.

    Args:
        models: R models of one architecture.

    Returns:
        A module: x [R, B, ...] -> logits [R, B, C].

    Raises:
        BenchError: for no models, for models of different architectures, and for any other module, such as a
            convolution, a normalisation layer or dropout. Such models are trained one at a time.
    """
    _check(models)

    def stacked(path: str, module: nn.Module) -> nn.Module | None:
        if type(module) is nn.Linear:
            return StackedLinear.of([model.get_submodule(path) for model in models])  # type: ignore[misc]
        return nn.Flatten(module.start_dim + 1, module.end_dim) if type(module) is nn.Flatten else None

    return _rewritten(models[0], stacked)


def unstack(module: nn.Module) -> list[nn.Module]:
    """The models of a stack, in order, as new modules with copies of the parameters.

    Raises:
        BenchError: if `module` is not a result of `stack`.
    """
    runs = next((len(m.weight) for m in module.modules() if isinstance(m, StackedLinear)), 0)
    if not runs:
        raise BenchError(f"{type(module).__name__} is not a stack of models: only a result of `stack` can be unstacked")

    def single(run: int) -> Callable[[str, nn.Module], nn.Module | None]:
        def replacement(path: str, module: nn.Module) -> nn.Module | None:
            if isinstance(module, StackedLinear | Normalize):
                return module.layer(run)
            return nn.Flatten(module.start_dim - 1, module.end_dim) if type(module) is nn.Flatten else None

        return replacement

    return [_rewritten(module, single(run)) for run in range(runs)]


def _rewritten(model: nn.Module, replacement: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of a model in which those modules are replaced for which `replacement(path, module)` is not None."""
    root = nn.Sequential(copy.deepcopy(model))  # a parent, so that the model itself can be replaced too
    for path, module in model.named_modules(remove_duplicate=False):
        new = replacement(path, module)
        if new is not None:
            root.set_submodule(f"0.{path}" if path else "0", new)
    return root[0]


def _check(models: Sequence[nn.Module]) -> None:
    """Raise BenchError, with the reason, if these models cannot be stacked."""
    if not models:
        raise BenchError("there are no models to stack")
    first = models[0]
    if any(repr(model) != repr(first) for model in models):
        raise BenchError("only models of one architecture can be stacked, and these differ")
    for path, module in first.named_modules(remove_duplicate=False):
        if not _stackable(module):
            raise BenchError(
                f"a model with {type(module).__name__} ({path or 'the model itself'}) cannot be stacked: "
                f"train such models one at a time"
            )
    if len(list(first.parameters())) != len(list(first.named_parameters(remove_duplicate=False))):
        raise BenchError("a model that uses one parameter twice cannot be stacked: train such models one at a time")
    for name, buffer in first.named_buffers():
        if not all(torch.equal(buffer, model.get_buffer(name)) for model in models):
            raise BenchError(f"models whose buffer {name!r} differs cannot be stacked: train them one at a time")


def _stackable(module: nn.Module) -> bool:
    if type(module) is nn.Flatten:
        return module.start_dim > 0 > module.end_dim
    declared = type(module) in SAFE or getattr(type(module), "stackable", False)
    return type(module) is nn.Linear or (declared and not list(module.parameters(recurse=False)))
