"""The check of the meta-gradient against models that break it: what is right for each stands in the tables."""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm
from torch.utils.checkpoint import checkpoint

from bench.errors import MetaStepError
from bench.meta import LookAhead, warning
from bench.meta.trial import BackendTrial
from bench.models.precision import in_precision
from bench.records.sections import MetaStep
from tests.meta_gradients import Applied, Problem, by_backend, truth

B = 6


class Square(torch.autograd.Function):
    """x^2, whose backward is right and can be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Once(Square):
    backward = staticmethod(torch.autograd.function.once_differentiable(Square.backward))


class OnceWithForwardMode(Once):
    jvp = staticmethod(Square.backward)  # 2 x times a tangent in place of a gradient


class WithoutGrad(Square):
    backward = staticmethod(torch.no_grad()(Square.backward))


class Sign(Square):
    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Clipped(Square):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-0.01, 0.01)


class RoundedSquare(Square):
    """It rounds to float32 where no function of torch tells."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.float().square().to(x.dtype)


def applied(function) -> nn.Module:
    return Applied(lambda module, x: function(x))


class Average(nn.Module):
    """Subtracts a running mean, which it moves in place before; `cut` as most public codes do, without its gradient."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        mean = 0.9 * self.mean + 0.1 * x.mean(0)
        self.mean.copy_(mean.detach())
        return x - (self.mean if self.cut else mean)


class Counter(nn.Module):
    """Its output depends on how often it was called."""

    def __init__(self, in_a_buffer: bool) -> None:
        super().__init__()
        if in_a_buffer:
            self.register_buffer("calls", torch.zeros(()))
        else:
            self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class Attention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.project, self.dropout = nn.Linear(4, 12), dropout

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x.view(len(x), 2, 4)).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout).flatten(1)


def standardised(x: Tensor) -> Tensor:
    with torch.no_grad():
        scale = x.std()
    return x / scale


def slow_spectral_norm() -> nn.Module:
    """Of a weight whose singular values are close to each other, so that its power iteration takes long."""
    layer = nn.Linear(8, 8)
    layer.weight.data.copy_(torch.linspace(0.9, 1, 8).diag())
    return spectral_norm(layer)


def around(part: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), part, nn.Linear(8, 3))


def losses(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits)) % 3, reduction="none")


def chosen(model: nn.Module, x: Tensor | None = None, head=losses, **options) -> MetaStep:
    engine = LookAhead(model, **options)
    engine.outputs(torch.rand(B, 4, generator=torch.Generator().manual_seed(0)) if x is None else x, head)
    assert engine.choice is not None
    return engine.choice


ACCEPTED = {
    "a backward of its own that can be differentiated": lambda: applied(Square.apply),
    "dropout": lambda: nn.Dropout(0.5),
    "stochastic depth": lambda: applied(lambda x: x * (torch.rand(len(x), 1, dtype=x.dtype) < 0.7)),
    "a random branch": lambda: applied(lambda x: x.sin() if torch.rand(()) < 0.5 else x.cos()),
    "batch norm": lambda: nn.BatchNorm1d(8),
    "batch norm in evaluation mode": lambda: nn.BatchNorm1d(8).eval(),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(8, 8)),
    "converged spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 8), n_power_iterations=1000),
    "spectral norm in evaluation mode": lambda: parametrizations.spectral_norm(nn.Linear(8, 8)).eval(),
    "a buffer moved in place": lambda: Average(cut=False),
    "a counter in a buffer": lambda: Counter(in_a_buffer=True),
    "attention": lambda: Attention(0.0),
    "attention with dropout": lambda: Attention(0.5),
    "a cast to float32": lambda: applied(lambda x: x.float().sin().to(x.dtype)),
    "a cast to float32 within a function of its own": lambda: applied(RoundedSquare.apply),
    "a cast to bfloat16": lambda: applied(lambda x: x.bfloat16().to(x.dtype)),
    "an activation in place": lambda: nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(inplace=True)),
    "another forward without gradients": lambda: applied(lambda x: x.sin() if torch.is_grad_enabled() else x),
    "a checkpoint": lambda: Applied(lambda m, x: checkpoint(m.part, x, use_reentrant=False), part=nn.Linear(8, 8)),
}


@pytest.mark.parametrize("part", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_models_that_are_differentiated_rightly_are_accepted(part):
    torch.manual_seed(0)
    found = chosen(around(part()))
    assert found.against == "double backward" and found.error < 1e-3  # bfloat16 has 8 bits
    assert found.differences_error is None or found.differences_error < 0.01


NO_SECOND = "has a backward that cannot be differentiated and does not say so"
NOT_THE_DERIVATIVE = "has a backward that is not the derivative of its forward"
UNREPEATABLE = "gives two outputs for one input"
REFUSED = {
    "once differentiable": (lambda: applied(Once.apply), "Applied", NO_SECOND),
    "a backward under no_grad": (lambda: applied(WithoutGrad.apply), "Applied", NO_SECOND),
    "a straight-through sign": (lambda: applied(Sign.apply), "Applied", NOT_THE_DERIVATIVE),
    "straight-through rounding": (
        lambda: applied(lambda x: x + (x.round() - x).detach()),
        "Applied",
        NOT_THE_DERIVATIVE,
    ),
    "fine straight-through rounding": (
        lambda: applied(lambda x: x + ((64 * x).round() / 64 - x).detach()),
        "Applied",
        NOT_THE_DERIVATIVE,
    ),
    "detach": (lambda: applied(lambda x: x * x.detach()), "Applied", NOT_THE_DERIVATIVE),
    "no_grad in forward": (lambda: applied(standardised), "Applied", NOT_THE_DERIVATIVE),
    "a clipped gradient": (lambda: applied(Clipped.apply), "Applied", NOT_THE_DERIVATIVE),
    "spectral norm that has not converged": (slow_spectral_norm, "Linear", NOT_THE_DERIVATIVE),
    "a running mean without its gradient": (lambda: Average(cut=True), "Average", NOT_THE_DERIVATIVE),
    "a counter that is no buffer": (lambda: Counter(in_a_buffer=False), "Counter", UNREPEATABLE),
    "Python's random numbers": (lambda: applied(lambda x: x * (0.5 + random.random())), "Applied", UNREPEATABLE),
}


@pytest.mark.parametrize(("part", "kind", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_models_that_are_not_are_refused_with_the_module_and_run_unchecked(part, kind, why):
    torch.manual_seed(0)
    model = around(part())
    with pytest.raises(MetaStepError) as refusal:
        chosen(model)
    message = str(refusal.value)
    assert message.startswith(f"no backend gives the right meta-gradient of this model: module 2 ({kind}) {why}")
    assert message.endswith("--no-check") and "\n" not in message
    found = chosen(model, check=False)
    assert (found.against, found.error, found.differences_error) == ("not checked", None, None)


def test_the_innermost_module_is_named():
    model = around(nn.Sequential(nn.Tanh(), applied(Once.apply)))
    with pytest.raises(MetaStepError, match=r"module 2\.1 \(Applied\) "):
        chosen(model, backend="reverse")


def test_a_model_whose_own_forward_is_at_fault_is_named_itself():
    model = Applied(lambda m, x: Once.apply(m.layer(x)), layer=nn.Linear(4, 3))
    model = nn.Sequential(nn.Linear(4, 4), model)
    with pytest.raises(MetaStepError, match=r"module 1 \(Applied\) "):
        chosen(model)
    with pytest.raises(MetaStepError, match=r"the model \(Applied\) "):
        chosen(Applied(lambda m, x: m.layer(Once.apply(m.first(x))), first=nn.Linear(4, 4), layer=nn.Linear(4, 3)))


def test_what_forward_mode_can_do_is_taken_where_double_backward_is_cut():
    found = chosen(around(applied(OnceWithForwardMode.apply)))
    assert (found.backend, found.against) == ("dual", "central differences alone: no double backward")
    assert found.error is None and found.differences_error < 1e-6 and "central differences" in found.refused["reverse"]


def test_a_detached_extractor_does_not_move_and_is_accepted():
    model = nn.Sequential(nn.Linear(4, 8), applied(torch.detach), nn.Linear(8, 3))
    assert chosen(model).differences_error < 1e-6


def test_a_gradient_that_differences_cannot_see_is_left_to_double_backward():
    """The loss changes by less than its last digit, so that all differences are exactly zero."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), applied(lambda x: 1e-8 * x), nn.Linear(8, 3).requires_grad_(False))
    found = chosen(model)
    assert found.differences_error is None and found.error < 1e-10


class Bent(torch.nn.Module):
    """So steep and bent that differences at no two distances agree."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1e-7 * (3e7 * x).sin()


def test_a_model_that_is_too_bent_for_differences_is_left_to_double_backward():
    torch.manual_seed(0)
    found = chosen(around(Bent()))
    assert found.error < 1e-4 and found.against == "double backward"


@pytest.mark.parametrize("samples", [1, 2])
def test_batch_norm_over_one_sample_is_compared_too(samples):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    found = chosen(model, torch.rand(samples, 1, 4, 4))
    assert found.backend == "replay" and found.error < 1e-12 and 0 < found.differences_error < 1e-6


def test_inputs_that_are_indices_stay_indices():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(32, 3))
    assert chosen(model, torch.arange(4 * B).view(B, 4) % 9).error < 1e-12


class OnlyFloat32(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = around(part)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return self.part(x)


def test_a_model_that_knows_only_float32_is_compared_with_differences_in_it():
    torch.manual_seed(0)
    found = chosen(OnlyFloat32(nn.Tanh()))
    assert found.against == "central differences alone: no float64" and 0 < found.differences_error < 0.01
    with pytest.raises(MetaStepError, match=r"module part\.2 \(Applied\) "):
        chosen(OnlyFloat32(applied(Once.apply)))


def test_a_checkpoint_is_run_again_with_the_parameters_of_its_pass():
    """Against the same model without the checkpoint: backward once ran it again with the parameters before the step."""
    torch.manual_seed(0)
    part, problem = nn.Sequential(nn.Linear(8, 8), nn.Tanh()), Problem((4,))
    plain = around(part).double()
    saving = nn.Sequential(*plain)
    saving[2] = Applied(lambda m, x: checkpoint(m.part, x, use_reentrant=False), part=part)
    expected = by_backend(plain, "reverse", problem)
    torch.testing.assert_close(by_backend(saving, "reverse", problem), expected, rtol=1e-12, atol=0)


UNREACHED = {
    "detach": lambda m, x: m.layer(x).detach(),
    "argmax": lambda m, x: F.one_hot(m.layer(x).argmax(-1), 3).float(),
    "a layer that is not used": lambda m, x: x[:, :3] * 1.0,
    "a reentrant checkpoint of everything": lambda m, x: checkpoint(m.layer, x, use_reentrant=True),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("forward", UNREACHED.values(), ids=UNREACHED.keys())
def test_a_model_whose_logits_reach_no_parameter_is_refused_in_a_line(forward, check):
    with pytest.raises(MetaStepError, match=r"^the logits of the model depend on none of its trained parameters .*on$"):
        chosen(Applied(forward, layer=nn.Linear(4, 3)), check=check)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("backend", ["auto", "reverse"])
def test_a_reentrant_checkpoint_is_refused_in_a_line(backend):
    part = Applied(lambda m, x: checkpoint(m.layer, x, use_reentrant=True), layer=nn.Linear(8, 8))
    with pytest.raises(MetaStepError, match=r"^the model calls torch.utils.checkpoint with .* give it [^;]*=False$"):
        chosen(around(part), backend=backend)


# What a method computes from the logits.


def focal(logits: Tensor, cut) -> Tensor:
    return cut(1 - logits.softmax(-1)[torch.arange(B), torch.arange(B) % 3]) * losses(logits)


HEADS = {
    "the cross-entropy": losses,
    "the logits": lambda logits: logits,
    "a hinge": lambda logits: (1 - logits[torch.arange(B), torch.arange(B) % 3]).clamp_min(0),
    "a focal loss": lambda logits: focal(logits, lambda p: p),
    "class weights in float32": lambda logits: F.cross_entropy(
        logits, torch.arange(B) % 3, torch.ones(3), reduction="none"
    ),
    "an in-place one": lambda logits: losses(logits.mul_(0.5)),
    "samples that see each other": lambda logits: losses(logits - logits.mean(0)),
}


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_what_a_method_computes_from_the_logits_is_compared_with_differences(head, conv):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 2), nn.Flatten(), nn.Linear(4, 3)) if conv else around(nn.Tanh())
    x = torch.rand(B, 1, 2, 2) if conv else None
    found = chosen(model, x, head)
    assert found.backend in (("per_sample", "replay") if conv else ("reverse",))
    assert 0 < found.outputs_error < 0.01


def under_no_grad(p: Tensor) -> Tensor:
    with torch.no_grad():
        return p.clone()


CUT = {
    "detach": (lambda logits: focal(logits, torch.detach), NOT_THE_DERIVATIVE),
    "no_grad": (lambda logits: focal(logits, lambda p: under_no_grad(p)), NOT_THE_DERIVATIVE),
    "straight through": (lambda logits: losses(logits + (logits.round() - logits).detach()), NOT_THE_DERIVATIVE),
    "a clipped gradient": (lambda logits: losses(Clipped.apply(logits)), NOT_THE_DERIVATIVE),
    "once differentiable": (lambda logits: losses(Once.apply(logits)), NO_SECOND),
}


@pytest.mark.parametrize(("head", "why"), CUT.values(), ids=CUT.keys())
def test_a_method_whose_loss_is_cut_is_refused_and_runs_unchecked(head, why):
    torch.manual_seed(0)
    model = around(nn.Tanh())
    with pytest.raises(MetaStepError) as refusal:
        chosen(model, head=head)
    message = str(refusal.value)
    start = "no backend gives the right meta-gradient: what the method computes from the logits"
    assert message.startswith(f"{start} {why}")
    assert message.endswith("--no-check") and "\n" not in message
    assert chosen(model, head=head, check=False).outputs_error is None


@pytest.mark.parametrize("backend", ["per_sample", "replay", "dual", "reverse"])
@pytest.mark.parametrize("cut", [torch.detach, lambda p: under_no_grad(p)], ids=["detach", "no_grad"])
def test_every_backend_takes_the_derivative_of_a_cut_loss_that_backward_takes(backend, cut):
    """Against double backward; `replay` had a tangent under no_grad, where backward sees a constant."""
    torch.manual_seed(0)
    model, problem = around(nn.Tanh()).double(), Problem((4,), samples=B)
    parts = {"head": lambda logits: focal(logits, cut)}
    expected = truth(model, problem, **parts)
    torch.testing.assert_close(by_backend(model, backend, problem, **parts), expected, rtol=1e-10, atol=0)


def test_a_loss_without_second_derivatives_or_forward_mode_is_named_before_training():
    def margin(logits: Tensor) -> Tensor:
        return F.multi_margin_loss(logits, torch.arange(B) % 3, reduction="none")

    with pytest.raises(MetaStepError, match=r"reverse: through what the method computes from the logits, .*margin"):
        chosen(around(nn.Tanh()), head=margin)


def test_a_method_whose_loss_does_not_depend_on_the_logits_is_refused():
    with pytest.raises(MetaStepError, match="what the method computes from the logits does not depend on them"):
        chosen(around(nn.Tanh()), head=lambda logits: losses(logits.detach()))


def test_a_loss_that_cannot_be_called_on_other_logits_counts_as_unchecked():
    seen = []

    def head(logits: Tensor) -> Tensor:
        seen.append(logits)
        if logits.shape != (B, 3) or logits.abs().max() > 1:
            raise ValueError
        return losses(logits)

    found = chosen(around(nn.Tanh()), head=head)
    assert seen and found.outputs_error is None and found.error < 1e-12


# Precision.


def test_in_float32_nothing_is_lost():
    assert chosen(around(nn.Tanh())).float32_error == 0


def test_the_error_of_bfloat16_is_small_but_no_error_of_the_backend():
    torch.manual_seed(0)
    found = chosen(in_precision(around(nn.Tanh()), "bf16"))
    assert found.error < 1e-12  # in float64, which autocast leaves alone
    assert 1e-4 < found.float32_error < 0.05
    assert warning(found) == ""


def test_a_model_that_enters_autocast_by_itself_is_compared_with_float32_too():
    def forward(module, x):
        with torch.autocast("cpu", torch.bfloat16):
            return module.part(x).float()

    torch.manual_seed(0)
    part = around(nn.Tanh())
    trial = BackendTrial(Applied(forward, part=part), torch.rand(B, 4), stacked=False)
    plain = BackendTrial(part, trial.x, stacked=False).gradient("reverse")
    rounded = trial.gradient("reverse")
    expected = float((rounded - plain).norm() / max(plain.norm(), rounded.norm()))
    assert math.isclose(trial.float32_error("reverse"), expected, rel_tol=1e-4) and expected > 1e-4


def test_a_poor_one_is_a_warning():
    assert "0.70 off that in float32" in warning(MetaStep("replay", float32_error=0.7))
    assert warning(MetaStep("replay")) == warning(MetaStep("replay", float32_error=0.1)) == ""
