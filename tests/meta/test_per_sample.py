"""Derivatives by single samples: exact where samples are apart, refused where they may not be."""

import gc
import re
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import MetaStepError
from bench.meta import LookAhead, Parameters, RandomState, optimizer_step, passes
from bench.meta.per_sample import CoupledError, Layers
from bench.meta.trial import module_names
from tests.meta_gradients import Applied, Problem, by_backend, by_engine, error, made, relative, truth

B = 8


def between(function: Callable[..., Tensor], hidden: int = 6) -> nn.Module:
    """A function of hidden values [B, hidden] (and of the module) between two linear layers."""
    return Applied(lambda m, x: m.b(function(m.a(x), m)), a=nn.Linear(6, hidden), b=nn.Linear(hidden, 3))


def sequential(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules)


def conv(*more: nn.Module) -> nn.Module:
    return sequential(nn.Conv2d(2, 4, 3), *more, nn.Flatten(), nn.LazyLinear(3))


def built(build: Callable[[], nn.Module], problem: Problem) -> nn.Module:
    torch.manual_seed(0)
    model = build()
    with torch.no_grad():
        model(problem.x.float())  # lazy modules
    return model.double().train()


def frozen() -> nn.Module:
    model = conv(nn.ReLU(), nn.Conv2d(4, 4, 3, padding="same"), nn.ReLU())
    model[2].requires_grad_(False)
    return model


def shared() -> nn.Module:
    layer = nn.Linear(6, 6)
    return sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(6, 3))


def by_keyword(m: Any, x: Tensor) -> Tensor:
    return m.b(F.conv2d(input=x, weight=m.a.weight, bias=m.a.bias, padding=1, stride=2).flatten(1))


def side_by_side(m: Any, x: Tensor) -> Tensor:
    return m.b(torch.cat([m.a(x), m.a(x).tanh()], dim=1))


IMAGES = (2, 7, 7)
EXACT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda: sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)), (6,)),
    "rows for each sample": (
        lambda: sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.Flatten(), nn.Linear(16, 3)),
        (4, 6),
    ),
    "convolutions": (lambda: conv(nn.ReLU(True), nn.Conv2d(4, 4, (3, 2), 2, (1, 0), groups=2, bias=False)), IMAGES),
    "dilated convolution": (lambda: conv(nn.Conv2d(4, 4, 2, padding=1, dilation=(2, 1))), IMAGES),
    "reflected convolution": (lambda: sequential(nn.ReflectionPad2d(1), conv(nn.ReLU())), IMAGES),
    "arguments by keyword": (lambda: Applied(by_keyword, a=nn.Conv2d(2, 4, 3), b=nn.Linear(64, 3)), IMAGES),
    "norms": (lambda: conv(nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.LayerNorm(100), nn.ReLU()), IMAGES),
    "norms without parameters": (
        lambda: conv(nn.GroupNorm(2, 4, affine=False), nn.LayerNorm((5, 5), elementwise_affine=False)),
        IMAGES,
    ),
    "norm of rows without bias": (
        lambda: sequential(nn.Linear(6, 6), nn.LayerNorm((4, 6), bias=False), nn.Flatten(), nn.Linear(24, 3)),
        (4, 6),
    ),
    "dropout and pooling": (
        lambda: conv(nn.Dropout2d(0.3), nn.MaxPool2d(2), nn.Dropout(0.5, inplace=True), nn.AdaptiveAvgPool2d(2)),
        IMAGES,
    ),
    "a frozen layer": (frozen, IMAGES),
    "a layer used twice": (shared, (6,)),
    "an unused layer": (lambda: Applied(lambda m, x: m.a(x), a=nn.Linear(6, 3), b=nn.Linear(2, 2)), (6,)),
    "a residual": (lambda: between(lambda h, m: F.relu(h) + m.a(h) * 0.5), (6,)),
    "a residual in place": (lambda: between(lambda h, m: (h * 2).add_(m.a(h))), (6,)),
    "concatenation of features": (lambda: Applied(side_by_side, a=nn.Linear(6, 6), b=nn.Linear(12, 3)), (6,)),
    "constants from all samples": (lambda: between(lambda h, m: h * h.detach().mean(0) - h.detach().flip(0)), (6,)),
}


@pytest.mark.parametrize("val", ["mean", "gap"])
@pytest.mark.parametrize("name", EXACT)
def test_equals_double_backward(name, val):
    build, shape = EXACT[name]
    problem = Problem(shape)
    assert error(built(build, problem), "per_sample", problem, val=getattr(problem, val)) < 1e-12


@pytest.mark.parametrize("name", EXACT)
def test_backward_gives_the_gradients_of_the_parameters(name):
    build, shape = EXACT[name]
    problem = Problem(shape)
    model = built(build, problem)
    losses = made(model, "per_sample", problem.x, problem.losses).value
    found = torch.autograd.grad((problem.w.detach() * losses).sum(), trained(model))
    expected = made(model, "reverse", problem.x, problem.losses).transposed(problem.w.detach())
    assert losses.requires_grad
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("name", ["dense", "norms", "a layer used twice"])
def test_through_the_step_of_an_optimiser(name, kind):
    build, shape = EXACT[name]
    problem = Problem(shape)
    model = built(build, problem)
    optimizer = kind(model.parameters(), 0.01, weight_decay=0.1)
    problem.losses(model(problem.x)).mean().backward()
    optimizer.step()
    assert error(model, "per_sample", problem, step=optimizer_step(optimizer)) < 1e-10


def trained(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def test_second_derivatives_of_its_losses_are_an_error():
    model, problem = between(lambda h, m: h.tanh()).double(), Problem((6,))
    losses = made(model, "per_sample", problem.x, problem.losses).value
    with pytest.raises(MetaStepError, match="no second derivatives: take another backend"):
        torch.autograd.grad(losses.sum(), list(model.parameters()), create_graph=True)


# The products of samples, in place of a dense layer's gradient on the validation batch.


def wide(kind: str) -> nn.Module:
    a, b = nn.Linear(40, 40, kind != "no bias"), nn.Linear(40, 40, "bias" in kind and kind != "no bias")
    if kind in ("tied weight with another bias", "tied weight without bias"):
        b.weight = a.weight
    if kind == "tied bias":
        b.bias = a.bias
    if kind == "layer used twice":
        b = a
    return sequential(nn.Linear(6, 40), a, nn.Tanh(), b, nn.Tanh(), nn.Linear(40, 3))


WIDE = ["bias", "no bias", "tied weight with another bias", "tied weight without bias", "tied bias", "layer used twice"]


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("kind", WIDE)
def test_products_of_samples_equal_double_backward_as_the_direct_way_does(monkeypatch, kind, small):
    of, counts = passes._small_pairs, []

    def spied(*args: Any) -> Any:
        pairs = of(*args) if small else []
        counts.append(len(pairs))
        return pairs

    monkeypatch.setattr(passes, "_small_pairs", spied)
    problem = Problem((6,))
    assert error(built(lambda: wide(kind), problem), "per_sample", problem) < 1e-12
    assert counts == [0 if not small else 5 if kind == "layer used twice" or "tied weight" in kind else 3]


def test_products_of_samples_beside_convolutions_and_norms():
    problem = Problem(IMAGES)
    model = built(lambda: conv(nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(100, 90), nn.LayerNorm(90)), problem)
    assert error(model, "per_sample", problem) < 1e-12


def test_products_of_samples_where_the_validation_loss_uses_a_part():
    """A layer whose second output nobody uses, and a loss of two passes of which one counts for nothing."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        m.b(m.b(h).tanh())
        return m.c(m.b(h).tanh())

    def val(net: Callable[[Tensor], Tensor]) -> Tensor:
        net(problem.val_x.flip(0))
        with torch.no_grad():
            scale = net(problem.val_x).norm()
        return problem.mean(net) / scale

    problem = Problem((6,))
    model = built(lambda: Applied(forward, a=nn.Linear(6, 40), b=nn.Linear(40, 40), c=nn.Linear(40, 3)), problem)
    assert error(model, "per_sample", problem, val=val) < 1e-12


# What mixes samples is refused. The functions are such that shapes alone do not show it.


class Centered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x - x.mean(0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient - gradient.mean(0)


@torch.jit.script
def centered(x: Tensor) -> Tensor:
    return x - x.mean(0)


def attended(m: Any, x: Tensor) -> Tensor:
    return m.out(m.attend(x, x, x)[0])


def recurrent(m: Any, x: Tensor) -> Tensor:
    return m.out(m.cell(x)[0])


def features_first(m: Any, x: Tensor) -> Tensor:
    """The samples are the channels of one image."""
    return m.b(m.conv(m.a(x).view(B, 2, 3)).flatten(1))


def as_features(m: Any, x: Tensor) -> Tensor:
    """The samples are the features of one sample."""
    return m.b(m.over(m.a(x).view(B)).view(B, 1))


def projected(m: Any, x: Tensor) -> Tensor:
    return m.b(F.linear(x, m.a.weight * 2))


def mirrored(m: Any, x: Tensor) -> Tensor:
    """The trained weight is the input, and the hidden values are the weight."""
    return m.b(F.linear(m.a.weight, m.a(x)[:, :6]))


UNKNOWN = "is not known to keep the samples of a batch apart"
ELSEWHERE = "has a tensor whose first dimension is not the batch"
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch norm": (lambda: sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)), f"batch_norm {UNKNOWN}"),
    "mean": (lambda: between(lambda h, m: h * h.mean(0)), f"torch.Tensor.mean {UNKNOWN}"),
    "softmax": (lambda: between(lambda h, m: h.softmax(0)), f"torch.Tensor.softmax {UNKNOWN}"),
    "flip": (lambda: between(lambda h, m: h + h.flip(0)), f"torch.Tensor.flip {UNKNOWN}"),
    "transposed": (lambda: between(lambda h, m: h + h.mT, hidden=B), f"torch.Tensor.mT.__get__ {UNKNOWN}"),
    "sort": (lambda: between(lambda h, m: h.sort(0)[0].tanh()), f"torch.Tensor.sort {UNKNOWN}"),
    "topk": (lambda: between(lambda h, m: h.topk(B, 0)[0].tanh()), f"torch.Tensor.topk {UNKNOWN}"),
    "cummax": (lambda: between(lambda h, m: h.cummax(0)[0] + h), f"torch.Tensor.cummax {UNKNOWN}"),
    "indexing": (lambda: between(lambda h, m: h[torch.arange(B - 1, -1, -1)]), f"torch.Tensor.__getitem__ {UNKNOWN}"),
    "attention over samples": (
        lambda: Applied(attended, attend=nn.MultiheadAttention(6, 2), out=nn.Linear(6, 3)),
        UNKNOWN,
    ),
    "recurrent cell": (lambda: Applied(recurrent, cell=nn.LSTMCell(6, 5), out=nn.Linear(5, 3)), UNKNOWN),
    "view": (lambda: between(lambda h, m: h.view(2, -1).tanh().view(B, 6)), f"torch.Tensor.view {ELSEWHERE}"),
    "flatten": (lambda: between(lambda h, m: h.flatten().view(B, 6)), f"torch.Tensor.flatten {ELSEWHERE}"),
    "cat": (lambda: between(lambda h, m: torch.cat([h, h])[:B]), f"torch.cat {ELSEWHERE}"),
    "comparison of all with all": (
        lambda: Applied(lambda m, x: m.b(m.a(x).view(B) - m.a(x)), a=nn.Linear(6, 1), b=nn.Linear(B, 3)),
        "torch.Tensor.sub broadcasts over samples",
    ),
    "product of all with all": (
        lambda: Applied(lambda m, x: m.b(m.a(x) * m.a(x).view(B)), a=nn.Linear(6, 1), b=nn.Linear(B, 3)),
        "torch.Tensor.mul broadcasts over samples",
    ),
    "similarities": (
        lambda: Applied(lambda m, x: m.b(F.linear(m.a(x), m.a(x))), a=nn.Linear(6, 6), b=nn.Linear(B, 3)),
        "torch.nn.functional.linear multiplies with what is no parameter",
    ),
    "a computed weight": (lambda: Applied(projected, a=nn.Linear(6, 6), b=nn.Linear(6, 3)), "uses a parameter"),
    "the input for a weight": (lambda: Applied(mirrored, a=nn.Linear(6, B), b=nn.Linear(B, 3)), UNKNOWN),
    "layer norm over everything": (
        lambda: between(lambda h, m: F.layer_norm(h, h.shape)),
        "torch.nn.functional.layer_norm takes the batch for a dimension of features",
    ),
    "samples as channels": (
        lambda: Applied(features_first, a=nn.Linear(6, 6), conv=nn.Conv2d(B, B, 1), b=nn.Linear(6, 3)),
        "torch.nn.functional.conv2d takes the batch for a dimension of features",
    ),
    "samples as features": (
        lambda: Applied(as_features, a=nn.Linear(6, 1), over=nn.Linear(B, B), b=nn.Linear(1, 3)),
        "torch.nn.functional.linear takes the batch for a dimension of features",
    ),
    "a custom function": (lambda: between(lambda h, m: Centered.apply(h)), "linear comes from no torch function"),
    "a scripted function": (lambda: between(lambda h, m: centered(h)), "linear comes from no torch function"),
    "a custom function at the end": (
        lambda: Applied(lambda m, x: Centered.apply(m.a(x)), a=nn.Linear(6, 3)),
        "the logits come from no torch function",
    ),
    "a parameter by itself": (
        lambda: Applied(lambda m, x: m.a(x) + m.scale, a=nn.Linear(6, 3), scale=nn.Parameter(torch.ones(3))),
        "torch.Tensor.add uses a parameter",
    ),
    "a trained bias alone": (
        lambda: Applied(lambda m, x: m.a(x), a=half_frozen(nn.Linear(6, 3))),
        "a layer is frozen in part",
    ),
}


def half_frozen(layer: nn.Linear) -> nn.Linear:
    layer.weight.requires_grad_(False)
    return layer


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_mix_samples_is_refused_and_taken_by_another_backend(name):
    build, why = REFUSED[name]
    problem = Problem((6,), samples=B, val_samples=B)
    model = built(build, problem)
    with pytest.raises(CoupledError, match=re.escape(why)):
        by_backend(model, "per_sample", problem)
    engine = LookAhead(model)
    expected = truth(model, problem)
    assert relative(by_engine(engine, problem), expected) < 1e-12
    assert engine.choice is not None and engine.choice.backend != "per_sample"


def test_a_refusal_names_function_reason_and_module():
    model = sequential(nn.Linear(6, 6), sequential(nn.Tanh(), nn.BatchNorm1d(6)), nn.Linear(6, 3))
    message = r"^torch.nn.functional.batch_norm is not known to .* apart \(module 1\.1\)$"
    with module_names(model) as where, Layers(list(model.parameters()), B, where), pytest.raises(CoupledError) as found:
        model(torch.rand(B, 6))
    assert re.match(message, str(found.value))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_as_a_word_is_refused_with_the_way_out(padding):
    problem = Problem(IMAGES)
    model = built(lambda: conv(nn.Conv2d(4, 4, 3, padding=padding)), problem)
    with pytest.raises(CoupledError, match="padding as a word has no per-sample rule: give the number"):
        by_backend(model, "per_sample", problem)


@pytest.mark.parametrize(
    "head", [lambda logits: logits, lambda logits: logits.square().sum(), lambda logits: logits[1:].sum(-1)]
)
def test_outputs_that_are_not_one_loss_for_each_sample_are_refused(head):
    problem = Problem((6,))
    with pytest.raises(CoupledError, match="the outputs are not one loss for each sample"):
        made(nn.Linear(6, 3).double(), "per_sample", problem.x, head)


@pytest.mark.parametrize("backend", passes.PASSES)
def test_a_pass_is_freed_without_the_garbage_collector(backend):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.rand(5, 3)
    gc.disable()
    try:
        one = passes.PASSES[backend](Parameters(model), x, lambda logits: logits.sum(-1), RandomState(x.device))
        one.transposed(torch.ones(5))
        one.derivative([torch.ones_like(p) for p in model.parameters()])
        one.value.sum().backward()
        gone = weakref.ref(one)
        del one
        assert gone() is None
    finally:
        gc.enable()
