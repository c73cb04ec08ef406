"""Which backend is chosen, why others are not, and that choosing leaves no trace."""

import copy
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from bench.errors import MetaStepError, UnknownNameError
from bench.meta import BACKENDS, LookAhead, choice, passes, per_sample, trial
from bench.meta.rules import RULES
from bench.meta.trial import TOLERANCE, module_names
from bench.models.precision import in_precision
from bench.models.stack import stack
from bench.records.sections import MetaStep
from bench_plugins.models.byrd_cnn import byrd_cnn
from bench_plugins.models.mlp import mlp
from bench_plugins.models.resnet import resnet18

B = 12
IMAGE = (3, 8, 8)


def conv(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), *more, nn.Flatten(), nn.Linear(4 * 6 * 6, 3))


def losses(logits: Tensor) -> Tensor:
    y = torch.arange(logits[..., 0].numel()).view(logits.shape[:-1]) % logits.shape[-1]
    return F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none").view(y.shape)


def chosen(model: nn.Module, shape: tuple[int, ...] = IMAGE, head: Any = losses, **options: Any) -> MetaStep:
    engine = LookAhead(model, **options)
    runs = (3,) if options.get("stacked") else ()
    engine.outputs(torch.rand(*runs, B, *shape, generator=torch.Generator().manual_seed(0)), head)
    assert engine.choice is not None
    return engine.choice


# Order.


def test_small_dense_networks_and_stacks_go_backwards_twice():
    assert chosen(mlp((1, 8, 8), 3, hidden=(16,)), (1, 8, 8)).backend == "reverse"
    assert chosen(stack([nn.Linear(6, 3) for _ in range(3)]), (6,), stacked=True).backend == "reverse"


@pytest.mark.parametrize(
    ("model", "shape", "backend"),
    [
        (lambda: mlp((1, 28, 28), 10, hidden=(2048,)), (1, 28, 28), "per_sample"),  # dense, but not small
        (lambda: byrd_cnn((3, 20, 20), 3), (3, 20, 20), "per_sample"),
        (lambda: conv(nn.GroupNorm(2, 4), nn.ReLU()), IMAGE, "per_sample"),
        (lambda: conv(nn.BatchNorm2d(4), nn.ReLU()), IMAGE, "replay"),
        (lambda: resnet18(IMAGE, 3, width=8), IMAGE, "replay"),
    ],
)
def test_the_cheapest_backend_that_is_right_is_chosen_and_checked(model, shape, backend):
    found = chosen(model(), shape)
    assert found.backend == backend
    assert found.error is not None and found.error < 1e-12
    assert found.refused.keys() == set(("per_sample", "replay")[: ("per_sample", "replay").index(backend)])


def test_each_refused_backend_has_its_reason():
    """A change through a view, which only the backends that run the model again can follow."""

    class Viewed(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            x = super().forward(x)
            x.view(-1).mul_(2)
            return x

    found = chosen(conv(Viewed(4)))
    assert found.backend == "dual" and found.error is not None and found.error < 1e-12
    assert found.refused == {
        "per_sample": "torch.nn.functional.batch_norm is not known to keep the samples of a batch apart (module 1)",
        "replay": "an input of torch.Tensor.flatten (module 2) was changed through a view",
    }


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (lambda logits: logits, "the outputs are not one loss for each sample"),
        (lambda logits: losses(logits) - losses(logits).mean(), "the losses of samples depend on the logits of others"),
    ],
)
def test_samples_that_the_head_couples_are_not_taken_apart(head, why):
    found = chosen(conv(), head=head)
    assert found.backend == "replay" and found.refused == {"per_sample": why}
    with pytest.raises(MetaStepError, match=f"^backend per_sample: {why}; backend replay works for this model$"):
        chosen(conv(), head=head, backend="per_sample")


def test_the_choice_is_made_once(monkeypatch):
    engine, x = LookAhead(conv()), torch.rand(B, *IMAGE)
    engine.outputs(x, losses)
    first = engine.choice
    monkeypatch.setattr("bench.meta.look_ahead.choose", lambda *_: pytest.fail("chosen again"))
    engine.outputs(x, losses)
    assert engine.choice is first


# Backends by name.


@pytest.mark.parametrize("backend", ["per_sample", "replay", "dual", "reverse"])
@pytest.mark.parametrize("check", [True, False])
def test_a_backend_that_is_asked_for_is_taken(backend, check):
    found = chosen(conv(), backend=backend, check=check)
    assert found.backend == backend and not found.refused
    assert found.error < 1e-12 if check else found.error is None


class Weighted(nn.Sequential):
    """torch has a second derivative of `_weight_norm`, but no forward-mode one."""

    def __init__(self) -> None:
        super().__init__(conv(nn.ReLU()), parametrizations.weight_norm(nn.Linear(3, 3)))


@pytest.mark.parametrize(
    ("model", "backend", "message"),
    [
        (Weighted, "replay", r"_weight_norm.*module 1\.parametrizations.*no forward-mode.*; backend reverse works"),
        (Weighted, "dual", r"_weight_norm_interface.*module 1\.parametrizations.*; backend reverse works"),
        (Weighted, "per_sample", r"_weight_norm.*apart \(module 1\.parametrizations.*; backend reverse works"),
        (lambda: conv(nn.Hardsigmoid()), "reverse", r"hardsigmoid_backward.*; backend per_sample works"),
        (lambda: conv(nn.BatchNorm2d(4)), "per_sample", r"batch_norm.*apart \(module 1\); backend replay works"),
    ],
)
def test_one_that_cannot_is_an_error_with_operator_module_and_the_way_out(model, backend, message):
    with pytest.raises(MetaStepError, match=f"^backend {backend}: .*{message} for this model$"):
        chosen(model(), backend=backend)


class LargestOfPairs(nn.Module):
    """torch has neither a forward-mode nor a second derivative of bags, from 2.11 to 2.14 at least."""

    def forward(self, x: Tensor) -> Tensor:
        each = torch.arange(len(x))
        return F.embedding_bag(torch.stack([each, each.flip(0)], 1), x, mode="max")


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_none_works_every_reason_is_given(backend):
    reasons = (
        r"per_sample: torch.nn.functional.embedding_bag is not known to keep the samples of a batch apart \(module 1\)",
        r"replay: torch.nn.functional.embedding_bag \(module 1\) has no forward-mode derivative in torch",
        r"dual: .*forward AD with _embedding_bag.* \(module 1\)",
        r"reverse: .*_embedding_bag_backward.*",
    )
    with pytest.raises(MetaStepError, match="^no backend can take the derivatives .*: " + "; ".join(reasons)):
        chosen(nn.Sequential(conv(), LargestOfPairs()), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_that_do_not_depend_on_the_parameters_have_no_derivatives(backend):
    class Constant(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :3]

    with pytest.raises(MetaStepError, match="the logits of the model depend on none of its trained parameters"):
        chosen(Constant(6, 3), (6,), backend=backend)


def test_an_unknown_backend_is_an_error_with_those_that_are_known():
    with pytest.raises(UnknownNameError, match=r"unknown backend 'dula': did you mean 'dual'\? known: auto, dual"):
        chosen(conv(), backend="dula")


def test_an_error_of_the_model_itself_is_not_hidden():
    class Broken(nn.Tanh):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mul_(2)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        chosen(conv(Broken()))


# The check.


class SlightlyWrong(passes.Replay):
    def derivative(self, direction: Any) -> Tensor:
        found = super().derivative(direction)
        return found + 1e-4 * found.flip(0)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(passes.PASSES, "replay", SlightlyWrong)  # type: ignore[arg-type]


@pytest.mark.usefixtures("wrong")
def test_a_wrong_backend_is_found_out():
    found = chosen(conv(nn.BatchNorm2d(4)))
    assert found.backend == "dual"
    assert found.refused["replay"].endswith("off from that by double backward")
    with pytest.raises(MetaStepError, match=r"backend replay: .*its meta-gradient is .*; backend dual works"):
        chosen(conv(nn.BatchNorm2d(4)), backend="replay")


@pytest.mark.usefixtures("wrong")
def test_without_the_check_it_is_not(monkeypatch):
    monkeypatch.setattr(trial, "gradient_by_double_backward", lambda *_: pytest.fail("checked"))
    found = chosen(conv(nn.BatchNorm2d(4)), check=False)
    assert found.backend == "replay" and found.error is None


def test_where_double_backward_does_not_exist_dual_numbers_are_compared_with():
    found = chosen(conv(nn.BatchNorm2d(4), nn.Hardsigmoid()))
    assert (found.backend, found.against) == ("replay", "dual numbers") and found.error < 1e-12


def test_the_check_finds_coupled_samples_that_were_not_refused(monkeypatch):
    monkeypatch.setattr(per_sample, "APART", {*per_sample.APART, F.batch_norm})
    found = chosen(conv(nn.BatchNorm2d(4, affine=False), nn.ReLU()))
    assert found.backend == "replay" and "its meta-gradient is" in found.refused["per_sample"]


# Models with a precision of their own.


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = conv(nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32, "only float32 is known here"
        return self.body(x)


class Casting(Single):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.float())


@pytest.mark.parametrize("model", [Single, Casting, lambda: in_precision(conv(nn.BatchNorm2d(4)), "bf16")])
@pytest.mark.parametrize("check", [True, False])
def test_a_model_that_insists_on_its_precision_is_tried_in_it(model, check):
    found = chosen(model(), check=check)
    assert found.backend == "replay"
    assert found.error is None or found.error < TOLERANCE


def test_what_only_float64_could_do_is_refused():
    """nn.LSTM has a forward-mode derivative on the CPU in float64, but none in float32."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(8, 5, batch_first=True), conv()

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x) + self.lstm(x[:, 0])[0][:, -1, :3]

    found = chosen(Recurrent())
    assert found.backend == "reverse" and found.error is not None and found.error < 1e-12
    assert found.refused["replay"] == "torch.lstm (module lstm) has no forward-mode derivative in torch"
    assert "(module lstm)" in found.refused["dual"]


# Without a trace.


def test_choosing_leaves_model_and_generators_as_they_were():
    model = conv(nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
    model[1].eval()
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    before, hooks = copy.deepcopy(model.state_dict()), [dict(m._forward_hooks) for m in model.modules()]
    state, held = torch.get_rng_state(), [*model.parameters(), *model.buffers()]
    x = torch.rand(B, *IMAGE, generator=torch.Generator().manual_seed(0))
    choice.choose(model, x, losses, "auto", stacked=False, check=True)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(a is b for a, b in zip(held, [*model.parameters(), *model.buffers()], strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True, True]
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())
    assert hooks == [dict(m._forward_hooks) for m in model.modules()]
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_the_first_training_pass_draws_what_a_plain_one_draws():
    model = conv(nn.Dropout(0.5))
    x = torch.rand(B, *IMAGE)
    found = []
    for run in (lambda: losses(model(x)), lambda: LookAhead(model).outputs(x, losses)):
        torch.manual_seed(0)
        found.append(run())
    torch.testing.assert_close(*found, rtol=1e-6, atol=0)


def test_names_of_modules_come_and_go():
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(3, 3)))
    seen: list[str] = []
    model[1][0].register_forward_pre_hook(lambda *_: seen.append(where()))
    with module_names(model) as where:
        assert where() == ""
        model(torch.ones(1, 3))
        assert where() == ""
        with pytest.raises(RuntimeError):
            model(torch.ones(1, 4))
        assert where() == "1.0"
    assert len(seen) == 2 and all(len(m._forward_hooks) == 0 for m in model.modules())


def test_batch_norm_needs_no_call_that_torch_2_11_refuses(monkeypatch):
    """`F.batch_norm` of torch 2.10 and 2.11 refuses an epsilon of 0."""
    original = F.batch_norm

    def of_torch_2_11(*args, **named):
        eps = inspect.signature(original).bind(*args, **named).arguments["eps"]
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive, but got {eps}")
        return original(*args, **named)

    monkeypatch.setattr(F, "batch_norm", of_torch_2_11)
    monkeypatch.setitem(RULES, of_torch_2_11, RULES[original])
    assert chosen(conv(nn.BatchNorm2d(4)), backend="replay").error < 1e-12
