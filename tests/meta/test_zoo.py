"""Models that people use, in float64: against double backward, and against differences where there is none."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.compat import torchvision
from bench.meta import LookAhead, VirtualStep, gradient_step, optimizer_step
from bench.meta.functional import Parameters
from bench.meta.per_sample import CoupledError
from bench_plugins.models.byrd_cnn import byrd_cnn
from bench_plugins.models.mlp import mlp
from bench_plugins.models.resnet import resnet18
from tests.meta_gradients import SEED, Problem, by_backend, relative, truth, weighted

import timm  # isort: skip  # after bench.compat, which mends what timm imports
from timm.models.resnet import Bottleneck, ResNet  # isort: skip

CLASSES = 5


def from_timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=CLASSES, **options)


def normed_cnn() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 8), (8, 8), (8, 16)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(4, outputs), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, CLASSES))


def narrow_resnet50() -> nn.Module:
    return ResNet(Bottleneck, (3, 4, 6, 3), CLASSES, channels=(16, 32, 64, 128), drop_path_rate=0.1, drop_rate=0.1)


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "mlp": (lambda: mlp((1, 8, 8), CLASSES, hidden=(64, 32)), (1, 8, 8)),
    "byrd_cnn": (lambda: byrd_cnn((3, 20, 20), CLASSES, dropout=0.5), (3, 20, 20)),
    "group norm cnn": (normed_cnn, (3, 12, 12)),
    "squeezenet1_1": (lambda: torchvision.models.squeezenet1_1(num_classes=CLASSES), (3, 48, 48)),
    "resnet18": (lambda: resnet18((3, 16, 16), CLASSES, width=16), (3, 16, 16)),
    "resnet50": (from_timm("resnet50", drop_path_rate=0.1, drop_rate=0.1), (3, 32, 32)),
    "narrow resnet50": (narrow_resnet50, (3, 32, 32)),
    "convnext_atto": (from_timm("convnext_atto", drop_path_rate=0.3), (3, 32, 32)),
    "efficientnet_b0": (from_timm("efficientnet_b0", drop_rate=0.2, drop_path_rate=0.2), (3, 48, 48)),
    "vit_tiny": (
        from_timm("vit_tiny_patch16_224", img_size=32, drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1),
        (3, 32, 32),
    ),
}
APART = ("mlp", "byrd_cnn", "group norm cnn", "squeezenet1_1")
TAKEN = [(name, backend) for name in ZOO for backend in ("per_sample", "replay", "dual", "reverse")]
TAKEN = [pair for pair in TAKEN if pair[1] != "per_sample" or pair[0] in APART]
SLOW = {"resnet50": pytest.mark.slow}


@functools.cache
def posed(name: str) -> tuple[nn.Module, Problem]:
    torch.manual_seed(0)
    build, shape = ZOO[name]
    return build().double().train(), Problem(shape, CLASSES, samples=6, val_samples=5)


@functools.cache
def wanted(name: str, loss: str) -> tuple[dict[str, Any], Tensor, list[Tensor]]:
    """A meta loss and a virtual step, their meta-gradient, and the buffers after a training pass."""
    model, problem = posed(name)
    parts = {"val": getattr(problem, loss), "step": gradient_step(0.1) if loss == "mean" else momentum_step(model)}
    after = copy.deepcopy(model)
    torch.manual_seed(SEED)
    with torch.no_grad():
        after(problem.x)
    return parts, truth(model, problem, **parts), list(after.buffers())


def momentum_step(model: nn.Module) -> VirtualStep:
    """Of SGD with weight decay and a velocity."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=0.01)
    for p in model.parameters():
        optimizer.state[p]["momentum_buffer"] = 1e-2 * p.detach().sin()
    return optimizer_step(optimizer)


@pytest.mark.parametrize("loss", ["mean", "gap"])
@pytest.mark.parametrize(("name", "backend"), [pytest.param(*pair, marks=SLOW.get(pair[0], ())) for pair in TAKEN])
def test_backends_equal_double_backward_and_move_buffers_as_one_pass_does(name, backend, loss):
    (model, problem), (parts, expected, buffers) = posed(name), wanted(name, loss)
    model = copy.deepcopy(model)
    assert relative(by_backend(model, backend, problem, **parts), expected) < 1e-10
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))


@pytest.mark.parametrize("name", [name for name in ZOO if name not in APART and name not in SLOW])
def test_models_whose_samples_are_coupled_or_may_be_are_refused(name):
    model, problem = posed(name)
    with pytest.raises(CoupledError, match="is not known to keep the samples of a batch apart"):
        by_backend(copy.deepcopy(model), "per_sample", problem)


@pytest.mark.parametrize(
    ("name", "backend"),
    [("mlp", "reverse"), *((name, "per_sample") for name in APART[1:]), ("resnet18", "replay"), ("vit_tiny", "replay")],
)
def test_what_is_chosen_and_its_error(name, backend):
    model, problem = posed(name)
    engine = LookAhead(copy.deepcopy(model))
    engine.outputs(problem.x, problem.losses)
    assert engine.choice is not None and engine.choice.backend == backend
    assert engine.choice.error is not None and engine.choice.error < 1e-12


@functools.cache
def mobilenet() -> tuple[nn.Module, Problem]:
    torch.manual_seed(0)
    model = from_timm("mobilenetv3_small_100")().double().train()
    return model, Problem((3, 32, 32), CLASSES, samples=6, val_samples=5)


def test_mobilenet_has_no_double_backward():
    model, problem = mobilenet()
    with pytest.raises(RuntimeError, match="hardsigmoid_backward is not implemented"):
        truth(model, problem)
    engine = LookAhead(copy.deepcopy(model))
    engine.outputs(problem.x, problem.losses)
    assert engine.choice is not None and (engine.choice.backend, engine.choice.against) == ("replay", "dual numbers")


@pytest.mark.parametrize("backend", ["replay", "dual"])
def test_mobilenet_equals_central_differences(backend):
    """Of the validation loss as a function of the weights, along random directions.

    The function has kinks (ReLU, hard swish, hard sigmoid), and those within the interval shift a difference by what
    one unit among 10^5 contributes. h is as small as rounding allows: 1e-16 / h is 1e-9, of derivatives of 0.1 to 10.
    Most directions then meet no kink that counts; those that do are still close.
    """
    model, problem = mobilenet()
    parameters, w, h, lr = Parameters(model), problem.w.detach(), 1e-7, 0.01
    gradient = by_backend(copy.deepcopy(model), backend, problem, step=gradient_step(lr))

    def moved(w: Tensor) -> float:
        with parameters.buffers_spared():
            loss = weighted(problem.losses(model(problem.x)), [w])
            delta = torch.autograd.grad(loss, parameters.tensors)
            with torch.no_grad():
                at = [p - lr * d for p, d in zip(parameters.tensors, delta, strict=True)]
                return problem.mean(parameters.at(at)).item()

    directions = torch.randn(5, len(w), generator=torch.Generator().manual_seed(0), dtype=w.dtype)
    found = torch.tensor([(moved(w + h * d) - moved(w - h * d)) / (2 * h) for d in directions], dtype=w.dtype)
    errors = (found / (directions @ gradient) - 1).abs()
    assert errors.median() < 1e-6 and errors.max() < 1e-3
