"""Rivals of the throughput benchmark do what the method that they rival does, in float64; Betty does what it says."""

import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad

from bench import Batch
from bench.options import options_of
from bench.registry import installed
from bench.testing import toy_task, train
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.forml import FORML
from bench_plugins.rivals.captured_loop import CapturedLoop
from tests.literal import MODELS, Double, task, trained

RIVALS, METHODS = ({n: offer.value for n, offer in installed().offers[k].items()} for k in ("rivals", "methods"))
LIBRARIES = ["higher", "torchopt", "betty"]
OF_FORML = ["naive_forml", "higher", "torchopt"]


def attention() -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return nn.Sequential(Double(), nn.Unflatten(1, (4, 4)), layer, nn.Flatten(), nn.Linear(16, 3)).double()


NEW_MODELS = {name: new for name, (new, _) in MODELS.items()} | {"attention": attention}


@pytest.fixture(params=NEW_MODELS)
def new_model(request):
    torch.set_default_dtype(torch.float64)  # w and V too
    yield NEW_MODELS[request.param]
    torch.set_default_dtype(torch.float32)


def same(found: object, expected: object, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", [*OF_FORML, "public_meta_weight_net", "public_l2rw"])
def test_a_rival_does_what_its_method_does(name, new_model):
    if name in LIBRARIES:
        pytest.importorskip(name)
    ours, theirs = METHODS[RIVALS[name].rival_of](), RIVALS[name]()
    (model, expected), (other, weights) = trained(ours, task(new_model)), trained(theirs, task(new_model))
    same(weights, expected)
    same(other.state_dict(), model.state_dict())  # BatchNorm's statistics too
    if name in OF_FORML:
        same(theirs.w, ours.w)
    assert min(w.std() for w in weights) > 1e-3


def test_the_hand_written_loop_does_what_erm_does_to_the_bit(new_model):
    (model, expected), (other, weights) = (trained(method(), task(new_model)) for method in (ERM, CapturedLoop))
    same(weights, expected, 0)
    same(other.state_dict(), model.state_dict(), 0)


def test_the_public_loop_of_l2rw_weighs_nothing_where_no_sample_helps(monkeypatch):
    public = RIVALS["public_l2rw"]
    monkeypatch.setattr(public, "look_ahead_loss", lambda self, model, inner: inner)  # the more of any, the worse
    model, weights = trained(public(), task(momentum=0.0, nesterov=False, weight_decay=0.0))
    assert all(w.count_nonzero() == 0 for w in weights)
    same(list(model.parameters()), list(task().new_model().parameters()))


class LiteralBetty(FORML):
    """A step with the weights as they are; then w, by -(g(theta + eps v) - g(theta - eps v)) / (2 eps), v = grad val,
    which leaves the parameters at theta - eps v.
    """

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        w, model, parameters = self.w[batch.index].requires_grad_(), self.model, list(self.model.parameters())
        weights = self.sample_weights(w, batch.index)
        losses = self.task.loss(model(batch.x), batch.y)
        for p, g in zip(parameters, grad((weights.detach() * losses).mean(), parameters), strict=True):
            p.grad = g
        self.optimizer.step()
        val = next(self.val)
        v = grad(self.validation_loss(self.task.loss(model(val.x), val.y), val.group), parameters)
        eps = 0.01 / sum(t.square().sum() for t in v).sqrt()
        above, below = (grad((weights * moved).mean(), w, retain_graph=True)[0] for moved in self.both(batch, v, eps))
        self.w[batch.index] -= self.optimizer.param_groups[0]["lr"] * (below - above) / (2 * eps)
        return losses, weights.detach()

    def both(self, batch: Batch, v: tuple[Tensor, ...], eps: Tensor) -> Iterator[Tensor]:
        for shift in (eps, -2 * eps):
            for p, t in zip(self.model.parameters(), v, strict=True):
                p.data += shift * t
            yield self.task.loss(self.model(batch.x), batch.y).detach()


def test_betty_steps_with_the_weights_as_they_are_and_then_moves_them_by_finite_differences(new_model):
    pytest.importorskip("betty")
    literal, betty = LiteralBetty(), RIVALS["betty"]()
    (model, expected), (other, weights) = (trained(m, task(new_model)) for m in (literal, betty))
    same(weights, expected, 1e-8)  # it divides by eps
    same(other.state_dict(), model.state_dict(), 1e-8)
    same(betty.w, literal.w, 1e-8)
    assert weights[0].std() == 0
    assert weights[-1].std() > 1e-3


def test_a_rival_names_its_method_and_reads_validation_data():
    assert {name: rival.rival_of for name, rival in RIVALS.items() if rival.uses_val} == {
        **dict.fromkeys([*OF_FORML, "betty"], "forml"),
        "public_meta_weight_net": "meta_weight_net",
        "public_l2rw": "l2rw",
    }


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_missing_says_how_to_install_it(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"{name} cannot be imported .* to install it: pip install "):
        train(RIVALS[name](), toy_task())


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_has_no_options(name):
    assert options_of(RIVALS[name]) == {}
