"""Stacked models against the models one by one, and the normalisation that they share."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench import BenchError
from bench.models.heads import TwoLogits
from bench.models.normalize import Normalize, normalized
from bench.models.stack import stack, unstack
from bench_plugins.models.byrd_cnn import byrd_cnn
from bench_plugins.models.logistic import logistic
from bench_plugins.models.mlp import mlp

RUNS = 3


class Twice(nn.Module):
    """A module with parts, which declares that it may be stacked."""

    stackable = True

    def __init__(self) -> None:
        super().__init__()
        self.flatten, self.body, self.gate = nn.Flatten(), nn.Linear(12, 12, bias=False), nn.Sigmoid()

    def forward(self, x):
        x = self.flatten(x)
        return x + self.gate(self.body(x))


class Scale(nn.Module):
    stackable = True

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


BUILD = {
    "logistic, two classes": lambda: logistic((3, 2, 2), 2),
    "mlp": lambda: mlp((3, 2, 2), 5, hidden=(7, 6), activation="tanh"),
    "normalised": lambda: normalized(mlp((3, 2, 2), 5), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    "declared": lambda: nn.Sequential(Twice(), nn.GELU(), nn.Linear(12, 5)),
}


@pytest.fixture(params=BUILD)
def models(request):
    torch.manual_seed(0)
    return [BUILD[request.param]().double() for _ in range(RUNS)]


def data():
    return torch.randn(RUNS, 6, 3, 2, 2, dtype=torch.float64), torch.randint(2, (RUNS, 6))


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_logits_gradients_and_a_step_equal_one_by_one(models):
    stacked, (x, y) = stack(models), data()
    steps = [torch.optim.Adam(m.parameters(), lr=0.1, weight_decay=0.1) for m in (stacked, *models)]
    logits = stacked(x)
    F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum").backward()
    for run, model in enumerate(models):
        expected = model(x[run])
        F.cross_entropy(expected, y[run], reduction="sum").backward()
        close(logits[run], expected)
    for name, p in stacked.named_parameters():
        close(p.grad, torch.stack([m.get_parameter(name).grad for m in models]))
    for step in steps:
        step.step()
    for run, model in enumerate(models):
        close(stacked(x)[run], model(x[run]))


def test_unstack_gives_the_models_back(models):
    before = torch.get_rng_state()
    back = unstack(stack(models))
    assert torch.equal(before, torch.get_rng_state())
    for model, copy in zip(models, back, strict=True):
        assert repr(copy) == repr(model)
        torch.testing.assert_close(copy.state_dict(), model.state_dict(), rtol=0, atol=0)
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    assert torch.equal(back[-1](x), models[-1](x))


def test_stack_and_unstack_copy(models):
    stacked = stack(models)
    single = unstack(stacked)[0]
    before = [p.clone() for p in models[0].parameters()]
    for p in stacked.parameters():
        p.data.add_(1)
    for model in (models[0], single):
        assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_one_linear_layer_is_a_model():
    layers = [nn.Linear(4, 2) for _ in range(RUNS)]
    x = torch.randn(RUNS, 5, 4)
    torch.testing.assert_close(stack(layers)(x), torch.stack([m(r) for m, r in zip(layers, x, strict=True)]))


def test_frozen_layers_and_modes_stay():
    models = [nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)).eval() for _ in range(RUNS)]
    for model in models:
        model[0].requires_grad_(False)
    stacked = stack(models)
    for module in (stacked, unstack(stacked)[0]):
        assert not any(m.training for m in module.modules())
        assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (lambda: byrd_cnn((3, 20, 20), 2), r"Conv2d \(0\)"),
        (lambda: mlp((4,), 2, dropout=0.5), r"Dropout \(3\)"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), "BatchNorm1d"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.PReLU()), "PReLU"),
        (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(4, 4)), "Flatten"),
        (lambda: nn.Sequential(nn.Linear(4, 4), Scale()), "Scale"),
        (lambda: nn.Softmax(0), r"Softmax \(the model itself\)"),
    ],
)
def test_other_modules_are_refused(model, kind):
    with pytest.raises(BenchError, match=f"{kind}.*cannot be stacked: train such models one at a time"):
        stack([model(), model()])


def test_what_differs_is_refused():
    with pytest.raises(BenchError, match="no models"):
        stack([])
    with pytest.raises(BenchError, match="one architecture"):
        stack([mlp((4,), 3), mlp((4,), 3, hidden=(51,))])
    with pytest.raises(BenchError, match=r"buffer '0\.mean' differs"):
        stack([normalized(logistic((4,), 3), (m,) * 4, (1.0,) * 4) for m in (0.0, 0.1)])


def test_a_parameter_used_twice_is_refused():
    layer = nn.Linear(4, 4)
    with pytest.raises(BenchError, match="uses one parameter twice"):
        stack([nn.Sequential(layer, nn.ReLU(), layer)] * 2)


def test_only_stacks_are_unstacked():
    with pytest.raises(BenchError, match="not a stack"):
        unstack(mlp((4,), 3))


def test_two_logits():
    assert TwoLogits()(torch.tensor([[[3.0], [-1.0]]])).tolist() == [[[0, 3], [0, -1]]]


@pytest.mark.parametrize("lead", [(), (RUNS,)])
def test_normalize(lead):
    mean, std = (0.1, 0.2), (0.5, 0.25)
    features, images = torch.rand(*lead, 5, 2), torch.rand(*lead, 5, 2, 2, 3)
    normalize = Normalize(mean, std)
    for c in range(2):
        torch.testing.assert_close(normalize(features)[..., c], (features[..., c] - mean[c]) / std[c])
        torch.testing.assert_close(normalize(images)[..., c, :, :], (images[..., c, :, :] - mean[c]) / std[c])
    assert not list(normalize.parameters())


def test_stacked_runs_are_normalised_each_by_its_own():
    mean, std = torch.rand(RUNS, 2), torch.rand(RUNS, 2) + 0.5
    together = Normalize(mean, std)
    for x in (torch.rand(RUNS, 5, 2), torch.rand(RUNS, 5, 2, 2, 3)):
        normalised = together(x)
        for run in range(RUNS):
            alone = Normalize(mean[run].tolist(), std[run].tolist())(x[run])
            assert torch.equal(normalised[run], alone)
            assert torch.equal(together.layer(run)(x[run]), alone)


def test_a_stack_with_a_normalisation_of_each_run_is_unstacked():
    mean, std = torch.rand(RUNS, 4), torch.rand(RUNS, 4) + 0.5
    x = torch.rand(RUNS, 5, 4)
    stacked = normalized(stack([mlp((4,), 3) for _ in range(RUNS)]), mean, std)
    for run, model in enumerate(unstack(stacked)):
        assert isinstance(model[0], Normalize)
        assert model[0].mean.tolist() == mean[run].tolist()
        torch.testing.assert_close(model(x[run]), stacked(x)[run])


def test_without_a_mean_the_model_stays_itself():
    model = nn.Linear(2, 2)
    assert normalized(model, (), ()) is model


@pytest.mark.parametrize(("mean", "std"), [((0.0,), (1.0, 1.0)), ((0.0,), (0.0,))])
def test_normalize_refuses(mean, std):
    with pytest.raises(BenchError, match="normalisation needs"):
        Normalize(mean, std)
