"""The tape and its rules, function by function: exact, or an error that says why; never a wrong value."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from bench.errors import MetaStepError
from bench.meta import LookAhead
from bench.meta.rules import RULES, Value
from bench.meta.tape import Tape, UnseenError
from tests.meta_gradients import SEED, Applied, Problem, by_backend, error, made, relative, truth

PROBLEM = Problem((6,))
BACKENDS = ("replay", "dual", "reverse")


class Between(nn.Module):
    """A function of hidden values [B, 6] (and of the module) between two linear layers, which notice a wrong one."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.tensor(0.3))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("var", torch.ones(6))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.function(self.a(x), self))


def between(function: Callable[..., Tensor]) -> nn.Module:
    return Between(function).double().train()


def then(*functions: Callable[[Tensor], Any]) -> Callable[[Tensor, nn.Module], Tensor]:
    """Changes a copy of the hidden values in place, step by step, and gives the copy."""

    def function(h: Tensor, m: nn.Module) -> Tensor:
        z = h.clone()
        for f in functions:
            f(z)
        return z

    return function


def no_grad(f: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    with torch.no_grad():
        return f(h)


def moving_mean(h: Tensor, m: nn.Module) -> Tensor:
    with torch.no_grad():
        m.mean.mul_(0.9).add_(h.mean(0), alpha=0.1)
    return (h - m.mean).tanh()


def filled(h: Tensor, m: nn.Module) -> Tensor:
    z = torch.zeros_like(h)
    return z.index_add_(1, torch.tensor([0, 2, 2, 1, 5, 4]), h)


def added_in_place(h: Tensor, m: nn.Module) -> Tensor:
    z = h * 2
    z += h
    return z


EXACT: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "relu_": lambda h, m: torch.relu_(h * 1),
    "relu module in place": lambda h, m: nn.ReLU(inplace=True)(h * 1),
    "silu in place": lambda h, m: F.silu(h * 1, inplace=True),
    "elu in place": lambda h, m: nn.ELU(inplace=True)(h * 1),
    "hardswish in place": lambda h, m: nn.Hardswish(inplace=True)(h * 4),
    "leaky relu in place": lambda h, m: nn.LeakyReLU(inplace=True)(h * 1),
    "relu6 in place": lambda h, m: nn.ReLU6(inplace=True)(h * 9),
    "+=": added_in_place,
    "add_ with alpha": lambda h, m: (h * 2).add_(h, alpha=0.5),
    "add_ into a constant": lambda h, m: torch.ones_like(h).add_(h, alpha=0.5).tanh(),
    "mul_ of a sum": lambda h, m: (lambda z: z.mul_(2) + h.tanh() * h)(h + 1.0),
    "mul_ of a sum by itself": lambda h, m: (lambda z: z.mul_(h) + h)(h + 1.0),
    "mul_ of a difference": lambda h, m: (lambda z: z.mul_(2) + h * h)(h - 1.0),
    "mul_ of a clone": lambda h, m: (lambda z: z.mul_(2) + h * h)(h.clone()),
    "addcmul_": lambda h, m: h.clone().addcmul_(h, h, value=0.3),
    "masked_fill_": lambda h, m: h.clone().masked_fill_(torch.arange(6) < 2, 0.3),
    "copy_": lambda h, m: torch.empty_like(h).copy_(h).tanh(),
    "zero_": lambda h, m: h + h.clone().zero_(),
    "index_add_ into a constant": filled,
    "detach": lambda h, m: h * h.detach(),
    "detach_": lambda h, m: h + h.tanh().detach_() * h,
    "data": lambda h, m: h * h.data,
    "item": lambda h, m: h * float(h.detach().mean()),
    "no_grad": lambda h, m: h * no_grad(torch.exp, h),
    "no_grad over samples": lambda h, m: h - no_grad(lambda h: h.mean(0), h),
    "a buffer that moves before it is read": moving_mean,
    "chunk": lambda h, m: torch.cat([h.chunk(2, 1)[0] * h.chunk(2, 1)[1], h[:, 3:]], dim=1),
    "split": lambda h, m: torch.cat(h.split([1, 5], 1)[::-1], 1),
    "unbind": lambda h, m: torch.stack(h.unbind(1)[::-1], 1).tanh(),
    "max with indices": lambda h, m: h * h.max(1, keepdim=True)[0] + h.max(1, keepdim=True).values,
    "sort over samples": lambda h, m: h.sort(0)[0].tanh(),
    "indexing": lambda h, m: h * h[..., :1] + h[..., 0].unsqueeze(1),
    "where": lambda h, m: torch.where(h > 0, h, h * 0.1),
    "einsum": lambda h, m: torch.einsum("bi,bj->bij", h, h).sum(2),
    "softmax by keyword": lambda h, m: F.softmax(input=h, dim=1),
    "add by keyword": lambda h, m: torch.add(input=h, other=h.tanh(), alpha=0.3),
    "relu by keyword": lambda h, m: torch.relu(input=h),
    "linear by keyword": lambda h, m: F.linear(input=h, weight=m.a.weight, bias=m.a.bias),
    "conv by keyword": lambda h, m: F.conv2d(
        h.view(-1, 1, 2, 3), weight=m.a.weight[:2, :4].view(2, 1, 2, 2), padding=(1, 0), stride=1
    ).flatten(1)[:, :6],
    "linear with one part used twice": lambda h, m: F.linear(h.tanh(), m.a.weight),
    "scalar parameter": lambda h, m: h * m.scale + m.scale.exp(),
    "parameter added to a constant": lambda h, m: (torch.zeros_like(h) + m.scale).mul_(2) + h,
    "dropout": lambda h, m: F.dropout(h, 0.5),
    "dropout by keyword": lambda h, m: F.dropout(input=h, p=0.3),
    "dropout in place": lambda h, m: nn.Dropout(0.5, inplace=True)(h * 1),
    "dropout without training": lambda h, m: F.dropout(h.tanh(), 0.5, training=False),
    "dropout of everything": lambda h, m: h + F.dropout(h, 1.0),
    "torch.dropout": lambda h, m: torch.dropout(h, 0.5, True),
    "torch.dropout_": lambda h, m: torch.dropout_(h * 1, 0.5, True),
    "native_dropout": lambda h, m: torch.native_dropout(h, 0.5, True)[0],
    "torch.alpha_dropout": lambda h, m: torch.alpha_dropout(h, 0.5, True),
    "alpha dropout in place": lambda h, m: F.alpha_dropout(h * 1, 0.5, True, True),
    "feature alpha dropout": lambda h, m: F.feature_alpha_dropout(h, 0.5, True),
    "dropout1d": lambda h, m: F.dropout1d(h.unsqueeze(0), 0.5, True).squeeze(0),
    "rrelu": lambda h, m: F.rrelu(h, training=True),
    "gumbel softmax": lambda h, m: F.gumbel_softmax(h),
    "random numbers": lambda h, m: h * torch.rand_like(h) + torch.bernoulli(h.sigmoid()),
    "batch norm": lambda h, m: F.batch_norm(h, m.mean, m.var, m.a.bias, None, training=True),
    "batch norm with fixed statistics": lambda h, m: F.batch_norm(h, m.mean, m.var, m.a.bias),
    "normalize": lambda h, m: F.normalize(h, dim=1),
    "no tangent at all": lambda h, m: h * 0 + torch.ones_like(h),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", EXACT)
def test_functions_are_exact(name, backend):
    assert error(between(EXACT[name]), backend, PROBLEM) < 1e-12


class Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh() ** 2)


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return x.tanh() * x


def view_changed(h: Tensor, m: nn.Module) -> Tensor:
    z = h.clone()
    z.view(-1).mul_(2)
    return z


def base_changed(h: Tensor, m: nn.Module) -> Tensor:
    z = h.clone()
    view = z.view(-1)
    z.mul_(2)
    return view.view(z.shape)


def assigned(h: Tensor, m: nn.Module) -> Tensor:
    z = torch.zeros_like(h)
    z[:, 1] = h[:, 0]
    return z


def reentrant(h: Tensor, m: nn.Module) -> Tensor:
    return checkpoint(torch.tanh, h, use_reentrant=True)


UNSEEN: dict[str, tuple[Callable[[Tensor, Any], Tensor], str]] = {
    "custom function": (
        lambda h, m: Tanh.apply(h),
        "an input of torch.nn.functional.linear comes from no torch function",
    ),
    "scripted function": (lambda h, m: scripted(h), "comes from no torch function"),
    "vmap": (lambda h, m: torch.func.vmap(torch.tanh)(h), "comes from no torch function"),
    "reentrant checkpoint": (reentrant, "comes from no torch function"),
    "a changed view": (view_changed, "an input of torch.nn.functional.linear was changed through a view"),
    "a view of what changes": (base_changed, "was changed through a view"),
    "a slice set to zero": (then(lambda z: z[:, 0].zero_()), "was changed through a view"),
    "assignment to a slice": (assigned, "torch.Tensor.__setitem__ changes a tensor in place"),
    "a part changed under no_grad": (lambda h, m: no_grad(lambda z: z.mul_(2), h.clone()).tanh(), "through a view"),
    "contiguous, then changed": (then(lambda z: z.contiguous().mul_(2)), "was changed in place before"),
    "moving statistics of instance norm": (
        lambda h, m: F.instance_norm(h.view(-1, 2, 3), m.mean[:2], m.var[:2]).flatten(1),
        "torch.nn.functional.instance_norm changes a tensor in place",
    ),
    "moving statistics that nobody tells": (
        lambda h, m: torch.batch_norm(h, None, None, m.mean, m.var, True, 0.1, 1e-5, False),
        "torch.batch_norm changes a tensor in place",
    ),
    "no forward-mode derivative": (
        lambda h, m: F.embedding_bag(torch.arange(len(h)).view(-1, 1), h, mode="max") + h,
        "torch.nn.functional.embedding_bag has no forward-mode derivative in torch",
    ),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_the_tape_cannot_follow_is_an_error(name):
    function, message = UNSEEN[name]
    with pytest.raises(MetaStepError, match=message):
        by_backend(between(function), "replay", PROBLEM)


@pytest.mark.parametrize("backend", ["dual", "reverse"])
@pytest.mark.parametrize("name", [name for name in UNSEEN if name != "reentrant checkpoint"])
def test_other_backends_are_exact_there_or_refuse(name, backend):
    model = between(UNSEEN[name][0])
    if name == "no forward-mode derivative" or (name, backend) == ("custom function", "dual"):
        with pytest.raises(NotImplementedError, match=r"forward AD|forward mode|derivative"):
            by_backend(model, backend, PROBLEM)
    else:
        assert error(model, backend, PROBLEM) < 1e-12


def test_a_model_that_ends_in_a_custom_function_is_an_error():
    class Ends(nn.Linear):
        def forward(self, x):
            return Tanh.apply(super().forward(x))

    with pytest.raises(UnseenError, match="an input of the model comes from no torch function"):
        by_backend(Ends(6, 3).double(), "replay", PROBLEM)


def test_a_custom_function_away_from_the_parameters_is_no_matter():
    class Starts(nn.Linear):
        def forward(self, x):
            return super().forward(Tanh.apply(x))

    assert error(Starts(6, 3).double(), "replay", PROBLEM) < 1e-12


def test_a_value_that_changes_before_the_derivative_is_taken_is_an_error():
    model = between(lambda h, m: h.exp() * h)
    value = made(model, "replay", PROBLEM.x, PROBLEM.losses)
    with torch.no_grad():
        model.a.weight.add_(1.0)
    with pytest.raises(UnseenError, match="was changed in place before the derivative was taken"):
        value.derivative([torch.ones_like(p) for p in model.parameters()])


def test_what_has_no_derivative_has_none():
    tape = Tape([torch.ones(2, requires_grad=True)])
    with tape:
        constant = torch.ones(3).exp()
    assert tape.place(constant) is None and tape.derivative([torch.ones(2)], None) is None


# Modules.


def sequential(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(*modules)


class FrozenNorm(nn.BatchNorm2d):
    """In evaluation mode whatever the model is in, and not trained."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.requires_grad_(False)
        self.running_var.fill_(0.3)

    def train(self, mode: bool = True) -> "FrozenNorm":
        return super().train(False)


def tied() -> nn.Module:
    a, b = nn.Linear(6, 6), nn.Linear(6, 6)
    b.weight = a.weight
    return sequential(a, nn.Tanh(), b, nn.Linear(6, 3))


def frozen() -> nn.Module:
    model = sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    model[0].weight.requires_grad_(False)
    model[2].requires_grad_(False)
    model[4].bias.requires_grad_(False)
    return model


def norm1d(**options: Any) -> nn.Module:
    return sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, **options), nn.ReLU(), nn.Linear(6, 3))


def normed(norm: nn.Module) -> nn.Module:
    return sequential(nn.Linear(6, 6), norm, nn.Linear(6, 3))


def attention(need_weights: bool) -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(m.attend(*[m.embed(x)] * 3, need_weights=need_weights)[0].mean(1))

    parts = {"attend": nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)}
    return Applied(forward, **parts, embed=nn.Linear(4, 4), out=nn.Linear(4, 3))


def recurrent(rnn: nn.Module) -> nn.Module:
    return Applied(lambda m, x: m.out(m.rnn(x)[0][:, -1]), rnn=rnn, out=nn.Linear(5, 3))


def checkpointed() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(checkpoint(lambda h: m.inner(h).tanh(), m.first(x), use_reentrant=False))

    return Applied(forward, first=nn.Linear(6, 6), inner=nn.Linear(6, 6), out=nn.Linear(6, 3))


def without_checkpoint() -> nn.Module:
    """The same function. The truth by double backward cannot be had of the other: a checkpoint is computed again with
    the parameters that the module has then, and not with those that it was called with.
    """

    def forward(m: Any, x: Tensor) -> Tensor:
        return m.out(m.inner(m.first(x)).tanh())

    return Applied(forward, first=nn.Linear(6, 6), inner=nn.Linear(6, 6), out=nn.Linear(6, 3))


def conv(*more: nn.Module) -> nn.Module:
    return sequential(nn.Conv2d(2, 4, 3), *more, nn.Flatten(), nn.LazyLinear(3))


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tied weights": (tied, (6,)),
    "partly frozen": (frozen, (6,)),
    "an unused parameter": (lambda: Applied(lambda m, x: m.a(x), a=nn.Linear(6, 3), b=nn.Linear(2, 2)), (6,)),
    "a used module with unused output": (
        lambda: Applied(lambda m, x: (m.b(m.a(x)), m.a(x).tanh())[1], a=nn.Linear(6, 3), b=nn.Linear(3, 2)),
        (6,),
    ),
    "frozen batch norm": (lambda: conv(FrozenNorm(4), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4)), (2, 5, 5)),
    "BatchNorm1d": (norm1d, (6,)),
    "batch norm without affine": (lambda: norm1d(affine=False), (6,)),
    "batch norm with cumulative average": (lambda: norm1d(momentum=None), (6,)),
    "batch norm without statistics": (lambda: norm1d(track_running_stats=False), (6,)),
    "batch norm of the input": (lambda: sequential(nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)), (6,)),
    "layer norm": (lambda: normed(nn.LayerNorm(6)), (6,)),
    "layer norm without bias": (lambda: normed(nn.LayerNorm(6, bias=False)), (6,)),
    "layer norm without affine": (lambda: normed(nn.LayerNorm(6, elementwise_affine=False)), (6,)),
    "layer norm of the input": (lambda: sequential(nn.LayerNorm(6), nn.Linear(6, 3)), (6,)),
    "layer norm over two": (
        lambda: sequential(nn.Linear(6, 6), nn.LayerNorm((4, 6)), nn.Flatten(), nn.Linear(24, 3)),
        (4, 6),
    ),
    "group norm": (lambda: normed(nn.GroupNorm(2, 6)), (6,)),
    "group norm without affine": (lambda: conv(nn.GroupNorm(2, 4, affine=False)), (2, 5, 5)),
    "instance norm": (lambda: conv(nn.InstanceNorm2d(4, affine=True)), (2, 5, 5)),
    "RMSNorm": (lambda: normed(nn.RMSNorm(6)), (6,)),
    "grouped convolution": (lambda: conv(nn.Conv2d(4, 4, (3, 2), 2, (1, 0), groups=2, bias=False)), (2, 7, 7)),
    "reflected convolution": (lambda: conv(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), (2, 5, 5)),
    "same convolution": (lambda: conv(nn.Conv2d(4, 4, 3, padding="same")), (2, 5, 5)),
    "transposed convolution": (lambda: conv(nn.ConvTranspose2d(4, 2, 3)), (2, 5, 5)),
    "pooling": (lambda: conv(nn.ReLU(True), nn.MaxPool2d(2), nn.Dropout2d(0.3), nn.AvgPool2d(2)), (2, 8, 8)),
    "random pooling": (lambda: conv(nn.FractionalMaxPool2d(2, output_ratio=0.6)), (2, 9, 9)),
    "PReLU": (lambda: normed(nn.PReLU()), (6,)),
    "bilinear": (lambda: Applied(lambda m, x: m.b(x, x), b=nn.Bilinear(6, 6, 3)), (6,)),
    "attention with dropout": (lambda: attention(False), (5, 4)),
    "attention with dropout and weights": (lambda: attention(True), (5, 4)),
    "transformer layer": (
        lambda: sequential(
            nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8, 0.2, batch_first=True), nn.Flatten(), nn.Linear(20, 3)
        ),
        (5, 4),
    ),
    "RNN": (lambda: recurrent(nn.RNN(3, 5, batch_first=True)), (4, 3)),
    "GRU": (lambda: recurrent(nn.GRU(3, 5, 2, dropout=0.5, batch_first=True)), (4, 3)),
    "LSTM": (lambda: recurrent(nn.LSTM(3, 5, 2, dropout=0.5, batch_first=True)), (4, 3)),
    "LSTMCell": (lambda: Applied(lambda m, x: m.out(m.cell(x)[0]), cell=nn.LSTMCell(6, 5), out=nn.Linear(5, 3)), (6,)),
    "spectral norm": (lambda: normed(parametrizations.spectral_norm(nn.Linear(6, 6))), (6,)),
    "orthogonal weight": (lambda: normed(parametrizations.orthogonal(nn.Linear(6, 6))), (6,)),
    "checkpoint": (checkpointed, (6,)),
    "a view of the logits": (lambda: Applied(lambda m, x: m.a(x).view(-1, 2, 3)[:, 0], a=nn.Linear(6, 6)), (6,)),
}


def checkpoints_have_forward_mode() -> bool:
    """Of torch itself: those of 2.11 and 2.12 have reverse mode alone."""
    with forward_ad.dual_level():
        try:
            checkpoint(torch.tanh, forward_ad.make_dual(torch.zeros(1), torch.ones(1)), use_reentrant=False)
        except NotImplementedError:
            return False
    return True


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODULES)
def test_modules_are_exact(name, backend):
    build, shape = MODULES[name]
    problem = Problem(shape)
    torch.manual_seed(0)
    model = build()
    model(problem.x.float())  # lazy modules
    if name == "checkpoint" and backend != "reverse" and not checkpoints_have_forward_mode():
        with pytest.raises((MetaStepError, NotImplementedError), match=r"jvp|comes from no torch function"):
            by_backend(model.double().train(), backend, problem)
        return
    if name == "checkpoint":
        plain = without_checkpoint()
        plain.load_state_dict(model.state_dict())
        expected = truth(plain.double().train(), problem)
        assert relative(by_backend(model.double().train(), backend, problem), expected) < 1e-12
        return
    assert error(model.double().train(), backend, problem) < 1e-12


def test_a_model_with_a_checkpoint_has_a_backend_with_every_torch():
    torch.manual_seed(0)
    found = LookAhead(model := checkpointed().double().train())
    found.outputs(PROBLEM.x, lambda logits: F.cross_entropy(logits, PROBLEM.y, reduction="none"))
    assert found.choice.error < 1e-12 and model.training


@pytest.mark.parametrize("backend", BACKENDS)
def test_weight_norm_works_backwards_only(backend):
    torch.manual_seed(0)
    model = normed(parametrizations.weight_norm(nn.Linear(6, 6))).double()
    if backend == "reverse":
        assert error(model, backend, PROBLEM) < 1e-12
        return
    with pytest.raises((MetaStepError, NotImplementedError), match="_weight_norm"):
        by_backend(model, backend, PROBLEM)


def test_dropout_inside_a_checkpoint_is_an_error_under_the_tape_and_exact_otherwise():
    model = between(lambda h, m: checkpoint(lambda z: F.dropout(z.tanh(), 0.5) * z, h, use_reentrant=False))
    for backend in ("dual", "reverse") if checkpoints_have_forward_mode() else ("reverse",):
        assert error(model, backend, PROBLEM) < 1e-12
    with pytest.raises((RuntimeError, MetaStepError), match=r"torch.utils.checkpoint|comes from no torch function"):
        by_backend(model, "replay", PROBLEM)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", [nn.InstanceNorm1d, nn.BatchNorm1d])
def test_statistics_move_once_or_the_tape_refuses(kind, backend):
    norm = kind(2, track_running_stats=True)
    model = sequential(nn.Linear(6, 6), nn.Unflatten(1, (2, 3)), norm, nn.Flatten(), nn.Linear(6, 3)).double()
    model(PROBLEM.x)
    moved = norm.running_mean.clone()
    norm.running_mean.zero_()
    if backend == "replay" and kind is nn.InstanceNorm1d:
        with pytest.raises(UnseenError, match=r"instance_norm changes a tensor in place"):
            by_backend(model, backend, PROBLEM)
        return
    by_backend(model, backend, PROBLEM)
    assert torch.equal(norm.running_mean, moved) and moved.any()


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_draws_under_the_tape_what_it_draws_otherwise(dtype, layout):
    x = torch.rand(4, 3, 5, 6).to(dtype)
    if layout != "contiguous":
        x = x.to(memory_format=torch.channels_last) if layout == "channels_last" else x.transpose(0, 3)
    x.requires_grad_()
    found = []
    for context in (torch.enable_grad(), Tape([x])):
        torch.manual_seed(SEED)
        with context:
            found.append((F.dropout(x, 0.3), torch.rand(1)))
    (expected, after), (dropped, after_tape) = found
    assert torch.equal(dropped, expected) and torch.equal(after, after_tape) and dropped.stride() == expected.stride()


# Rules.


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.4


IMAGES, ROWS = rand(4, 6, 5, 5), rand(4, 7, 6, seed=1)
C = rand(6, seed=2), rand(6, seed=3)
CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (F.linear, (ROWS, rand(3, 6)), {}),
    (F.linear, (ROWS[:, 0], rand(3, 6), rand(3)), {}),
    (F.conv2d, (IMAGES, rand(4, 6, 3, 3)), {}),
    (F.conv2d, (IMAGES, rand(4, 3, 3, 2), rand(4), (2, 1), (1, 0), 1, 2), {}),
    (F.conv2d, (IMAGES, rand(4, 6, 3, 3), rand(4)), {"padding": "same", "dilation": 2}),
    (F.relu, (ROWS,), {}),
    (torch.relu, (ROWS,), {}),
    (torch.relu_, (ROWS,), {}),
    (Tensor.relu, (ROWS,), {}),
    (Tensor.relu_, (ROWS,), {}),
    (torch.native_dropout, (ROWS, 0.3, True), {}),
    (torch.native_dropout, (ROWS, 1.0, True), {}),
    (torch.native_dropout, (ROWS, 0.3, False), {}),
    (torch.add, (ROWS, rand(1, 6)), {"alpha": 0.5}),
    (torch.add, (rand(6), ROWS), {}),
    (Tensor.add, (ROWS, 2.0), {}),
    (Tensor.add_, (ROWS, rand(7, 6)), {"alpha": 3}),
    (F.batch_norm, (IMAGES, None, None, *C), {"training": True}),
    (F.batch_norm, (IMAGES, rand(6), rand(6) + 1), {"training": True, "momentum": 0.3, "eps": 0.1}),
    (F.batch_norm, (ROWS[:, 0], None, None, C[0]), {"training": True}),
    (F.layer_norm, (ROWS, [6], *C), {}),
    (F.layer_norm, (ROWS, [7, 6]), {"eps": 0.1}),
    (F.layer_norm, (ROWS, [7, 6], rand(7, 6)), {}),
    (F.group_norm, (IMAGES, 3, *C), {}),
    (F.group_norm, (IMAGES, 2), {"eps": 0.1}),
    (F.group_norm, (rand(4, 6), 2, C[0]), {}),
]


def called(function: Any, args: Any, kwargs: Any) -> Tensor:
    torch.manual_seed(SEED)
    out = function(*args, **kwargs)
    return out[0] if isinstance(out, tuple) else out


def by_forward_mode(function: Any, args: Any, kwargs: Any, tangents: dict[int, Tensor]) -> Tensor:
    with forward_ad.dual_level():
        copies = {i: (args[i].clone(), t.clone()) for i, t in tangents.items()}  # functions in place change both
        duals = [forward_ad.make_dual(*copies[i]) if i in copies else a for i, a in enumerate(copied(args))]
        return forward_ad.unpack_dual(called(function, duals, kwargs)).tangent


def by_rule(function: Any, args: Any, kwargs: Any, tangents: dict[int, Tensor]) -> Tensor:
    """Every tensor has a place; those without a tangent are asked in vain."""
    values = [Value(a, i) if isinstance(a, Tensor) else a for i, a in enumerate(copied(args))]
    torch.manual_seed(SEED)
    out = function(*(v.tensor if isinstance(v, Value) else v for v in values), **kwargs)
    derivative = RULES[function](lambda value: value.tensor.detach(), out, *values, **kwargs)
    found = derivative(lambda place: tangents.get(place))
    return found[0] if isinstance(found, tuple) else found


def copied(args: Any) -> list[Any]:
    return [a.clone() if isinstance(a, Tensor) else a for a in args]


def subsets(function: Any, args: Any) -> list[tuple[int, ...]]:
    statistics = (1, 2) if function is F.batch_norm else ()
    places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and i not in statistics]
    return [some for n in range(1, len(places) + 1) for some in itertools.combinations(places, n)]


RULED = [(*call, some) for call in CALLS for some in subsets(call[0], call[1])]


@pytest.mark.parametrize(("function", "args", "kwargs", "some"), RULED)
def test_rules_equal_forward_mode(function, args, kwargs, some):
    tangents = {i: rand(*args[i].shape, seed=10 + i) for i in some}
    expected = by_forward_mode(function, args, kwargs, tangents)
    found = by_rule(function, args, kwargs, tangents)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_every_rule_is_tested():
    assert {call[0] for call in CALLS} == set(RULES)


@pytest.mark.parametrize(("function", "args", "kwargs", "some"), RULED)
def test_rules_under_bfloat16_autocast_are_as_exact_as_bfloat16(function, args, kwargs, some):
    tangents = {i: rand(*args[i].shape, seed=10 + i) for i in some}
    expected = by_rule(function, args, kwargs, tangents)
    half = [a.float() if isinstance(a, Tensor) else a for a in args]
    with torch.autocast("cpu", torch.bfloat16):
        found = by_rule(function, half, kwargs, {i: t.float() for i, t in tangents.items()})
        primal = called(function, copied(half), kwargs)
    assert found.dtype == primal.dtype
    assert (found.double() - expected).norm() <= 0.02 * expected.norm()


@pytest.mark.parametrize("x_dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("function", [F.layer_norm, F.group_norm, F.batch_norm])
def test_norms_of_bfloat16_with_parameters_in_float32(function, x_dtype):
    """As under autocast after a convolution."""
    options = {F.layer_norm: ([6],), F.group_norm: (3,), F.batch_norm: (None, None)}[function]
    x = rand(4, 6) if function is F.layer_norm else IMAGES
    args, kwargs = (x, *options, *C), {"training": True} if function is F.batch_norm else {}
    tangents = {i: rand(*a.shape, seed=10 + i) for i, a in enumerate(args) if isinstance(a, Tensor)}
    expected = by_rule(function, args, kwargs, tangents)
    mixed = [a.float() if isinstance(a, Tensor) else a for a in args]
    mixed[0] = mixed[0].to(x_dtype)
    half = {i: t.float() for i, t in tangents.items()} | {0: tangents[0].to(x_dtype)}
    found = by_rule(function, mixed, kwargs, half)
    assert found.dtype == called(function, mixed, kwargs).dtype
    assert (found.double() - expected).norm() <= 0.02 * expected.norm()
