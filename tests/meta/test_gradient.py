"""The meta-gradient against double backward and against finite differences, in float64, and whole steps of methods."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from bench import Method, Task
from bench.errors import DivergedError, MetaStepError
from bench.meta import LookAhead, Parameters, RandomState, gradient_by_double_backward, gradient_step, optimizer_step
from bench.models.precision import in_precision
from bench.models.stack import stack
from bench.registry import installed
from bench.testing import toy_task
from bench.trees import instances
from bench_plugins.models.resnet import resnet18
from tests import literal
from tests.meta_gradients import (
    CPU,
    LR,
    SEED,
    Problem,
    by_backend,
    by_engine,
    error,
    made,
    relative,
    truth,
    weighted,
)

SHAPE = (3, 8, 8)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.Tanh(), nn.Linear(16, 3))


def conv(norm: Callable[[int], nn.Module], dropout: float = 0.0) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(4):  # deep: with one normalisation, an error in its coupling of the samples hardly shows
        layers += [nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1, bias=False), norm(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(32, 3))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x.flatten(2).mT[:, ::8].reshape(len(x), 8, 3).repeat(1, 1, 8)).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v, dropout_p=0.3).mean(1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "batch norm": lambda: conv(nn.BatchNorm2d),
    "group norm": lambda: conv(lambda channels: nn.GroupNorm(2, channels)),
    "dropout": lambda: conv(nn.BatchNorm2d, dropout=0.5),
    "attention": Attention,
    "resnet18": lambda: resnet18(SHAPE, 3, width=8),
}
TAKEN = [(name, backend) for name in MODELS for backend in ("replay", "dual", "reverse")]
TAKEN += [("mlp", "per_sample"), ("group norm", "per_sample")]
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.01),
}


@pytest.fixture
def problem() -> Problem:
    return Problem(SHAPE)


def new(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]().double().train()


def weighted_logits(of: Problem) -> dict[str, Any]:
    """The logits are weighted, inside the loss."""
    return {
        "head": lambda logits: logits,
        "inner": lambda value, hyper: F.cross_entropy(hyper[0].unsqueeze(-1) * value, of.y),
    }


@pytest.mark.parametrize("val", ["mean", "gap"])
@pytest.mark.parametrize(("name", "backend"), TAKEN)
def test_equals_double_backward(problem, name, backend, val):
    assert error(new(name), backend, problem, val=getattr(problem, val)) < 1e-12


@pytest.mark.parametrize("val", ["mean", "gap"])
@pytest.mark.parametrize(("name", "backend"), [pair for pair in TAKEN if pair[1] != "per_sample"])
def test_equals_double_backward_where_logits_are_weighted(problem, name, backend, val):
    assert error(new(name), backend, problem, val=getattr(problem, val), **weighted_logits(problem)) < 1e-12


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize(("name", "backend"), [pair for pair in TAKEN if pair[0] in ("group norm", "dropout")])
def test_equals_double_backward_through_the_step_of_an_optimiser_with_state(problem, name, backend, kind):
    model = new(name)
    optimizer = OPTIMIZERS[kind](model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        (problem.losses(model(problem.x)) / problem.y.add(1)).mean().backward()
        optimizer.step()
    assert error(model, backend, problem, val=problem.gap, step=optimizer_step(optimizer)) < 1e-10


@pytest.mark.parametrize(("name", "backend"), TAKEN)
def test_without_a_virtual_step_it_is_the_gradient_at_weights_of_zero(problem, name, backend):
    parts: dict[str, Any] = {"inner": lambda value, hyper: (hyper[0] * value).sum()}
    problem.w = torch.zeros_like(problem.w).requires_grad_()
    model = new(name)
    expected = truth(model, problem, **parts, step=gradient_step(1.0))
    assert relative(by_backend(model, backend, problem, **parts, step=None), expected) < 1e-12


@pytest.mark.parametrize("name", MODELS)
def test_the_double_backward_that_backends_are_checked_with_is_the_truth(problem, name):
    model = new(name)
    expected = truth(model, problem)
    torch.manual_seed(SEED)
    found = gradient_by_double_backward(
        model, problem.x, problem.losses, weighted, [problem.w], problem.mean, gradient_step(LR), RandomState(CPU)
    )
    assert relative(found[0], expected) < 1e-14


@pytest.mark.parametrize(("name", "backend"), TAKEN)
def test_derivatives_leave_buffers_generators_and_the_graph_as_the_training_pass_left_them(problem, name, backend):
    model, plain = new(name), new(name)
    torch.manual_seed(SEED)
    losses = problem.losses(plain(problem.x))
    state = torch.get_rng_state()
    value = made(model, backend, problem.x, problem.losses)
    value.along(problem.mean, value.parameters.tensors, -LR)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(value.value, losses)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True))
    for objective in (value.value, losses):
        (problem.w.detach() * objective).sum().backward()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "backend"), TAKEN)
def test_j_v_and_its_transpose_are_adjoint(problem, name, backend):
    """< u, J v > = < J^T u, v >."""
    model = new(name)
    value = made(model, backend, problem.x, problem.losses)
    v, u = [torch.randn_like(p) for p in model.parameters()], torch.randn_like(problem.w)
    transposed = value.transposed(u)
    forward = (u * value.derivative(v)).sum()
    torch.testing.assert_close(
        forward, sum((a * b).sum() for a, b in zip(transposed, v, strict=True)), rtol=1e-11, atol=0
    )


@pytest.mark.parametrize("name", ["mlp", "batch norm"])
def test_equals_central_differences(problem, name):
    model = new(name)
    for i, layer in enumerate(model):
        if isinstance(layer, nn.ReLU):
            model[i] = nn.Softplus()  # no kinks: differences across them are not the derivative
    found = by_engine(LookAhead(model), problem)

    def moved(w):
        parameters = Parameters(model)
        loss = weighted(problem.losses(parameters.at(parameters.tensors)(problem.x)), [w])
        gradient = torch.autograd.grad(loss, parameters.tensors)
        stepped = [(p - LR * g).detach() for p, g in zip(parameters.tensors, gradient, strict=True)]
        return problem.mean(parameters.at(stepped)).item()

    h = 1e-5
    for i, e in enumerate(h * torch.eye(len(found), dtype=torch.float64)):
        w = problem.w.detach()
        assert (moved(w + e) - moved(w - e)) / (2 * h) == pytest.approx(found[i].item(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("backend", ["auto", "per_sample", "replay", "dual", "reverse"])
def test_closed_form_of_a_linear_model(backend):
    """-lr / B * <v, grad l_i> for one linear neuron with squared loss."""
    theta = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False).double()
    model.weight = nn.Parameter(theta.clone())
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]], dtype=torch.float64)
    y, val_x, val_y = torch.tensor([[1.0], [0.0], [2.0]]).double(), torch.tensor([[1.0, 1.0]]).double(), 3.0
    s = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    ahead = LookAhead(model, backend)
    ahead.outputs(x, lambda logits: ((logits - y) ** 2).squeeze(1))
    (found,) = ahead.gradient(
        lambda value, h: (h[0] * value).mean(), [s], lambda net: ((net(val_x) - val_y) ** 2).sum(), gradient_step(LR)
    )
    per_sample = 2 * (x @ theta.T - y) * x
    moved = theta - LR * (s.detach().unsqueeze(1) * per_sample).mean(0)
    v = 2 * (val_x @ moved.T - val_y) * val_x
    torch.testing.assert_close(found, -LR / 3 * (per_sample @ v.T).squeeze(1), rtol=1e-12, atol=0)


HALVES = [(*pair, layout) for pair in TAKEN for layout in (False, True) if pair[0] not in ("dropout", "resnet18")]
HALVES.remove(("group norm", "dual", True))  # torch has no forward-mode derivative of group_norm in channels_last


@pytest.mark.parametrize(("name", "backend", "channels_last"), HALVES)
def test_in_bfloat16_it_is_as_exact_as_bfloat16(problem, name, backend, channels_last):
    expected = truth(new(name), problem)
    problem.x, problem.val_x = problem.x.float(), problem.val_x.float()
    problem.w = problem.w.detach().float().requires_grad_()
    found = by_backend(in_precision(new(name).float(), "bf16", channels_last), backend, problem)
    assert found.dtype == torch.float32 and relative(found.double(), expected) < 0.06


# Models as functions of their parameters.


class Tied(nn.Module):
    """Two modules share a weight, a module has two names, and the pass moves buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.b.weight, self.again = self.a.weight, self.a

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.norm(self.again(self.a(x))).tanh())


class Recurrent(nn.Module):
    """nn.LSTM keeps its weights in a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


@pytest.mark.parametrize("kind", [Tied, Recurrent])
def test_a_model_with_other_parameters_is_what_functional_call_gives(kind):
    torch.manual_seed(0)
    model, x = kind(), torch.rand(5, 4)
    state, own = copy.deepcopy(model.state_dict()), list(model.parameters())
    values = [torch.randn_like(p) for p in own]
    names = [name for name, _ in model.named_parameters()]
    expected = functional_call(copy.deepcopy(model), dict(zip(names, values, strict=True)), (x,))
    assert torch.equal(Parameters(model).at(values)(x), expected)
    assert all(a is b for a, b in zip(own, model.parameters(), strict=True))
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    assert not torch.equal(model(x), expected)


def test_a_pass_that_fails_leaves_the_model_as_it_was():
    model = Tied()
    own, buffers = list(model.parameters()), list(model.buffers())
    with pytest.raises(RuntimeError):
        Parameters(model).at([torch.zeros_like(p) for p in own])(torch.rand(5, 3))
    assert all(a is b for a, b in zip((*own, *buffers), (*model.parameters(), *model.buffers()), strict=True))


# Whole steps.


class Naive:
    """In place of a look-ahead: differentiates through the virtual step."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def outputs(self, x, head):
        self.theta = dict(self.model.named_parameters())
        self.value = head(self.model(x))
        return self.value

    def gradient(self, inner, hyper, val, step):
        delta = torch.autograd.grad(inner(self.value, hyper).sum(), list(self.theta.values()), create_graph=True)
        moved, _ = (step or gradient_step(1.0))(list(self.theta.values()), delta)

        def net(x):
            buffers = {name: b.clone() for name, b in self.model.named_buffers()}
            return functional_call(self.model, {**dict(zip(self.theta, moved, strict=True)), **buffers}, (x,))

        return torch.autograd.grad(val(net).sum(), list(hyper))


def updated(method: Method, task: Task, naive: bool = False) -> Method:
    """After every update of two epochs."""
    method.begin(task)
    if naive:
        method.engine = Naive(method.model)  # type: ignore[attr-defined]
    method.model.train()
    for epoch in range(task.epochs):
        for batch in task.batches(epoch):
            method.update(batch)
    return method


STEPS = [("forml", {}), ("forml", {"weighting": "logits"}), ("forml", {"look_ahead": "optimizer"})]
STEPS += [("l2rw", {}), ("l2rw", {"look_ahead": "optimizer"})]
STEPS += [("meta_weight_net", {}), ("meta_weight_net", {"look_ahead": "optimizer"})]


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


WAYS = [
    (model, backend, step) for model in literal.MODELS for backend in ("replay", "dual", "reverse") for step in STEPS
]
WAYS += [("mlp", "per_sample", step) for step in STEPS if "weighting" not in step[1]]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("model", "backend", "step"), WAYS, ids=str)
def test_whole_steps_equal_those_by_double_backward(model, backend, step):
    name, options = step
    kind, task = installed().find("methods", name).value, literal.task(literal.MODELS[model][0])
    method = updated(kind(**options), dataclasses.replace(task, backend=backend))
    expected = updated(kind(**options), task, naive=True)
    assert method.engine.choice.backend == backend
    assert literal.distance(list(method.model.parameters()), list(expected.model.parameters())) < 1e-11
    for a, b in zip(method.model.buffers(), expected.model.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("backend", ["replay", "dual", "reverse"])
@pytest.mark.parametrize(("name", "options"), STEPS, ids=str)
def test_one_step_moves_running_statistics_as_one_pass_does_bit_for_bit(name, options, backend):
    task = literal.task(literal.MODELS["conv"][0])
    method = installed().find("methods", name).value(**options)
    method.begin(dataclasses.replace(task, backend=backend))
    model, batch = copy.deepcopy(method.model), next(task.batches(0))
    method.update(batch)
    model(batch.x)
    for a, b in zip(method.model.buffers(), model.buffers(), strict=True):
        assert torch.equal(a, b)
    assert method.model[3].num_batches_tracked == 1


@pytest.mark.parametrize("backend", ["auto", "replay", "dual", "reverse"])
def test_stacked_runs_have_the_gradients_of_single_ones(backend):
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double() for _ in range(3)]
    problems = [Problem((6,)) for _ in models]
    for i, problem in enumerate(problems):
        problem.x = problem.x + i
    x, y = torch.stack([p.x for p in problems]), problems[0].y.repeat(3, 1)
    w = torch.stack([p.w.detach() for p in problems]).requires_grad_()
    val_x, val_y = problems[0].val_x.expand(3, -1, -1), problems[0].val_y.repeat(3, 1)

    def losses(logits, y):
        return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)

    engine = LookAhead(stack(models), backend, stacked=True)
    engine.outputs(x, lambda logits: losses(logits, y))
    (found,) = engine.gradient(weighted, [w], lambda net: losses(net(val_x), val_y).mean(-1), gradient_step(LR))
    for run, (model, problem) in enumerate(zip(models, problems, strict=True)):
        assert relative(found[run], truth(model, problem)) < 1e-12


# Bad input.


def test_a_frozen_model_has_no_look_ahead():
    model = mlp().requires_grad_(False)
    with pytest.raises(MetaStepError, match="Sequential has no parameter that is trained"):
        LookAhead(model)


@pytest.mark.parametrize("use", ["gradient", "derivative"])
@pytest.mark.parametrize("passes", [0, 1])
def test_each_derivative_needs_a_training_pass_of_its_own(problem, use, passes):
    engine = LookAhead(new("mlp"))

    def derivative():
        if use == "derivative":
            return engine.derivative([torch.ones_like(p) for p in engine.parameters.tensors])
        return engine.gradient(weighted, [problem.w], problem.mean, gradient_step(LR))

    for _ in range(passes):
        engine.outputs(problem.x, problem.losses)
        derivative()
    with pytest.raises(MetaStepError, match="a derivative needs a training pass"):
        derivative()


def test_of_two_training_passes_the_last_one_counts(problem):
    model, engine = new("mlp"), LookAhead(new("mlp"))
    engine.outputs(problem.x.flip(0) + 1, problem.losses)
    assert relative(by_engine(engine, problem), truth(model, problem)) < 1e-12


def begun(name: str, poisoned: list[int], stacked: bool) -> tuple[Method, Task]:
    """A method at its start; the validation data of these runs are not finite."""
    task = toy_task((0, 1, 2) if stacked else (0,), stacked)
    x = task.val.x.clone()
    x[poisoned if stacked else slice(None)] = torch.nan
    method = installed().find("methods", name).value()
    method.begin(dataclasses.replace(task, val=dataclasses.replace(task.val, x=x)))
    return method, task


@pytest.mark.parametrize("name", ["forml", "l2rw", "meta_weight_net"])
@pytest.mark.parametrize(("poisoned", "stacked"), [([0], False), ([0, 1, 2], True)])
def test_a_gradient_that_is_not_finite_is_an_error_that_changes_nothing(name, poisoned, stacked):
    method, task = begun(name, poisoned, stacked)
    before = copy.deepcopy(method.state_dict())
    assert before.keys() >= {"model", "optimizer"}
    with pytest.raises(DivergedError, match="with respect to the weights is not finite"):
        method.update(next(task.batches(0)))
    after = method.state_dict()
    assert before.keys() == after.keys()
    before.pop("val"), after.pop("val")  # a batch was taken from it
    values, expected = (list(instances(torch.Tensor, state)) for state in (after, before))
    assert len(values) == len(expected) > 0 and all(map(torch.equal, values, expected))


@pytest.mark.parametrize("name", ["forml", "l2rw", "meta_weight_net"])
def test_one_stacked_run_that_diverges_does_not_stop_the_others(name):
    method, task = begun(name, [1], stacked=True)
    _, weights = method.update(next(task.batches(0)))
    assert weights.isfinite().all(-1).tolist() == [True, False, True]
    for p in method.model.parameters():
        assert p.isfinite().flatten(1).all(-1).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 2, 2)])
def test_the_hyperparameters_of_stacked_runs_may_have_any_shape(shape):
    engine = LookAhead(stack([nn.Linear(6, 3) for _ in range(3)]), stacked=True)
    value = engine.outputs(torch.rand(3, 8, 6), lambda logits: logits.square().sum(-1))
    hyper = torch.ones(shape, requires_grad=True)
    assert value.shape == (3, 8)
    (found,) = engine.gradient(
        lambda value, h: h[0].flatten(1).sum(-1) * value.sum(-1) if h[0].dim() > 1 else h[0] * value.sum(-1),
        [hyper],
        lambda net: net(torch.ones(3, 2, 6)).square().sum((-1, -2)),
        gradient_step(0.01),
    )
    assert found.shape == shape
