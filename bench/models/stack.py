"""Several models of one architecture as one module, so that small models train together at the cost of about one.

The runs are independent, so the gradient of a sum of their losses is each run's gradient; with optimisers that work
element by element a training of the stack is the training of each model.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from bench.errors import BenchError

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
"""Modules that treat every leading dimension alike."""


class StackedLinear(nn.Module):
    """R linear layers at once: x [R, B, in] -> [R, B, out].

    weight: [R, out, in]; bias: [R, out] or None.
    """

    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    @classmethod
    def of(cls, layers: "Sequence[nn.Linear]") -> Self:
        weight = torch.stack([layer.weight.detach() for layer in layers])
        bias = None if layers[0].bias is None else torch.stack([layer.bias.detach() for layer in layers])
        stacked = cls(weight, bias)
        for name, parameter in stacked.named_parameters():
            parameter.requires_grad_(layers[0].get_parameter(name).requires_grad)
        return stacked.train(layers[0].training)

    def layer(self, run: int) -> nn.Linear:
        """The layer of one run, with its own copy of the parameters."""
        _, outputs, inputs = self.weight.shape
        layer = nn.Linear(inputs, outputs, self.bias is not None, device="meta")  # draws no initial weights
        for name, parameter in self.named_parameters():
            own = parameter[run].detach().clone()
            setattr(layer, name, nn.Parameter(own, requires_grad=parameter.requires_grad))
        return layer.train(self.training)

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.bmm(x, self.weight.mT)
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


def stack(models: Sequence[nn.Module]) -> nn.Module:
    """The models as one, with a leading run dimension R in every parameter: x [R, B, ...] -> logits [R, B, C].

    `nn.Linear` becomes one batched product and `nn.Flatten(1)` keeps the run dimension; `nn.Sequential` and
    element-wise activations are taken as they are. So is any module whose class declares `stackable = True`: it
    promises that it has no parameters of its own (its parts may) and that its forward means the same with one more
    leading dimension, and its buffers must be equal in all the models. The models themselves are not touched.

    Raises BenchError for no models, models that differ in architecture, and any other module (convolutions,
    normalisation layers and dropout among them): such models are trained one at a time.
    """
    _check(models)

    def stacked(path: str, module: nn.Module) -> nn.Module | None:
        if type(module) is nn.Linear:
            return StackedLinear.of([model.get_submodule(path) for model in models])  # type: ignore[misc]
        return nn.Flatten(module.start_dim + 1, module.end_dim) if type(module) is nn.Flatten else None

    return _rewritten(models[0], stacked)


def unstack(module: nn.Module) -> list[nn.Module]:
    """The models of a stack, in order, as new modules with their own copies of the parameters.

    Raises BenchError if `module` is not a result of `stack`.
    """
    runs = next((len(m.weight) for m in module.modules() if isinstance(m, StackedLinear)), 0)
    if not runs:
        raise BenchError(f"{type(module).__name__} is not a stack of models: only what `stack` returned is unstacked")

    def single(run: int) -> Callable[[str, nn.Module], nn.Module | None]:
        def replacement(path: str, module: nn.Module) -> nn.Module | None:
            if isinstance(module, StackedLinear):
                return module.layer(run)
            return nn.Flatten(module.start_dim - 1, module.end_dim) if type(module) is nn.Flatten else None

        return replacement

    return [_rewritten(module, single(run)) for run in range(runs)]


def _rewritten(model: nn.Module, replacement: Callable[[str, nn.Module], nn.Module | None]) -> nn.Module:
    """A copy of the model in which the modules for which there is a replacement are replaced."""
    root = nn.Sequential(copy.deepcopy(model))  # so that the model itself has a place to be replaced at
    for path, module in model.named_modules(remove_duplicate=False):
        if (new := replacement(path, module)) is not None:
            root.set_submodule(f"0.{path}" if path else "0", new)
    return root[0]


def _check(models: Sequence[nn.Module]) -> None:
    if not models:
        raise BenchError("there are no models to stack")
    first = models[0]
    if any(repr(model) != repr(first) for model in models):
        raise BenchError("only models of one architecture can be stacked, and these differ")
    for path, module in first.named_modules(remove_duplicate=False):
        if not _stackable(module):
            raise BenchError(
                f"a model with {type(module).__name__} ({path or 'the model itself'}) cannot be stacked: "
                f"such models are trained one at a time"
            )
    if len(list(first.parameters())) != len(list(first.named_parameters(remove_duplicate=False))):
        raise BenchError(
            "a model that uses one parameter twice cannot be stacked: such models are trained one at a time"
        )
    for name, buffer in first.named_buffers():
        if not all(torch.equal(buffer, model.get_buffer(name)) for model in models):
            raise BenchError(f"models whose buffer {name!r} differs cannot be stacked: they are trained one at a time")


def _stackable(module: nn.Module) -> bool:
    if type(module) is nn.Flatten:
        return module.start_dim > 0 > module.end_dim
    declared = type(module) in SAFE or getattr(type(module), "stackable", False)
    return type(module) is nn.Linear or (declared and not list(module.parameters(recurse=False)))
