"""The meta-gradient against double backward and against finite differences, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.meta import LookAhead, Parameters, RandomState, gradient_by_double_backward, gradient_step
from bench_plugins.models.resnet import resnet18

LR = 0.3
CPU = torch.device("cpu")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.Tanh(), nn.Linear(16, 5))


def conv(norm: type[nn.Module], dropout: float = 0.0) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(4):  # deep: with one normalisation, an error in its coupling of the samples hardly shows
        layers += [nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1, bias=False), norm(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(32, 5))


def group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(2, channels)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(24, 72), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x.flatten(2).mT[:, ::8].reshape(len(x), 8, 3).repeat(1, 1, 8)).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v).mean(1))


MODELS = {
    "mlp": mlp,
    "batch norm": lambda: conv(nn.BatchNorm2d),
    "group norm": lambda: conv(group_norm),
    "dropout": lambda: conv(nn.BatchNorm2d, dropout=0.5),
    "attention": Attention,
    "resnet18": lambda: resnet18((3, 8, 8), 5, width=8),
}


def weighted_losses(value, hyper):
    return (hyper[0].softmax(-1) * value).sum()


def weighted_logits(value, hyper):
    return F.cross_entropy(hyper[0].unsqueeze(-1) * value, Y)


X, Y = torch.rand(12, 3, 8, 8, dtype=torch.float64), torch.arange(12) % 5
VAL_X, VAL_Y = torch.rand(10, 3, 8, 8, dtype=torch.float64), torch.arange(10) % 5


def gap(net):
    losses = F.cross_entropy(net(VAL_X), VAL_Y, reduction="none").view(2, 5).mean(0)
    return losses.max() - losses.min()


def mean(net):
    return F.cross_entropy(net(VAL_X), VAL_Y)


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().double().train()


def by_both(model, inner, val, of_losses):
    def head(logits):
        return F.cross_entropy(logits, Y, reduction="none") if of_losses else logits

    torch.manual_seed(1)
    w = torch.randn(12, dtype=torch.float64, requires_grad=True)
    random = RandomState(CPU)
    ahead = LookAhead(model)
    value = ahead.outputs(X, head)
    before = [b.clone() for b in model.buffers()]
    state = torch.get_rng_state()
    torch.manual_seed(2)  # the validation pass draws too: the same for both
    fast = ahead.gradient(inner, [w], val, gradient_step(LR))[0]
    torch.manual_seed(2)
    slow = gradient_by_double_backward(model, X, head, inner, [w], val, gradient_step(LR), random)[0]
    torch.set_rng_state(state)
    return fast, slow, value, before


@pytest.mark.parametrize("val", [mean, gap])
@pytest.mark.parametrize(("inner", "of_losses"), [(weighted_losses, True), (weighted_logits, False)])
def test_equals_double_backward(model, inner, of_losses, val):
    fast, slow, _, _ = by_both(model, inner, val, of_losses)
    assert slow.abs().max() > 1e-8
    assert ((fast - slow).norm() / slow.norm()).item() < 1e-10


def test_moves_no_buffer_and_leaves_the_graph(model):
    _, _, value, before = by_both(model, weighted_losses, mean, True)
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    value.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["mlp", "batch norm"])
def test_equals_central_differences(name):
    torch.manual_seed(0)
    model = MODELS[name]().double().train()
    if name == "batch norm":  # no kinks: differences across them are not the derivative
        for i, layer in enumerate(model):
            if isinstance(layer, nn.ReLU):
                model[i] = nn.Softplus()
    fast, _, _, _ = by_both(model, weighted_losses, mean, True)
    torch.manual_seed(1)
    w = torch.randn(12, dtype=torch.float64)

    def moved(w):
        parameters = Parameters(model)
        loss = weighted_losses(F.cross_entropy(parameters.at(parameters.tensors)(X), Y, reduction="none"), [w])
        gradient = torch.autograd.grad(loss, parameters.tensors)
        stepped = [(p - LR * g).detach() for p, g in zip(parameters.tensors, gradient, strict=True)]
        return mean(parameters.at(stepped)).item()

    h = 1e-5
    for i in range(12):
        e = torch.zeros(12, dtype=torch.float64)
        e[i] = h
        assert (moved(w + e) - moved(w - e)) / (2 * h) == pytest.approx(fast[i].item(), rel=1e-5, abs=1e-9)


def test_closed_form_of_a_linear_model():
    """-lr / B * <v, grad l_i> for one linear neuron with squared loss."""
    theta = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False).double()
    model.weight = nn.Parameter(theta.clone())
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]], dtype=torch.float64)
    y, val_x, val_y = torch.tensor([[1.0], [0.0], [2.0]]).double(), torch.tensor([[1.0, 1.0]]).double(), 3.0
    s = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)

    ahead = LookAhead(model)
    ahead.outputs(x, lambda logits: ((logits - y) ** 2).squeeze(1))
    (found,) = ahead.gradient(
        lambda value, h: (h[0] * value).mean(), [s], lambda net: ((net(val_x) - val_y) ** 2).sum(), gradient_step(LR)
    )
    per_sample = 2 * (x @ theta.T - y) * x
    moved = theta - LR * (s.detach().unsqueeze(1) * per_sample).mean(0)
    v = 2 * (val_x @ moved.T - val_y) * val_x
    torch.testing.assert_close(found, -LR / 3 * (per_sample @ v.T).squeeze(1), rtol=1e-12, atol=0)
