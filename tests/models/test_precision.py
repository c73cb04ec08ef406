"""Models in bfloat16 and in channels_last."""

import torch
from torch import nn
from torch.func import functional_call

from bench.models.precision import in_precision


class Spy(nn.Module):
    """Keeps what passes through."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return x


def convolutional() -> tuple[nn.Module, Spy]:
    torch.manual_seed(0)
    spy = Spy()
    return nn.Sequential(nn.Conv2d(3, 4, 3), spy, nn.Flatten(), nn.Linear(16, 2)), spy


def test_fp32_is_the_model_itself():
    model, _ = convolutional()
    assert in_precision(model, "fp32") is model


def test_bf16_computes_in_bfloat16_and_keeps_parameters_and_logits_in_float32():
    model, spy = convolutional()
    x = torch.rand(5, 3, 4, 4)
    expected = model(x)
    logits = in_precision(model, "bf16")(x)
    assert spy.seen.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.allclose(logits, expected, rtol=0.02, atol=0.02)
    assert not torch.equal(logits, expected)


def test_bf16_uses_the_parameters_of_each_call():
    model, _ = convolutional()
    mixed, x = in_precision(model, "bf16"), torch.rand(5, 3, 4, 4)
    doubled = {name: 2 * p for name, p in mixed.named_parameters()}
    first, second = mixed(x), functional_call(mixed, doubled, (x,))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    assert torch.equal(second, mixed(x))
    assert not torch.equal(first, second)


def test_channels_last_is_a_matter_of_memory_alone():
    model, spy = convolutional()
    x = torch.rand(5, 3, 4, 4)
    expected = model(x)
    last = in_precision(model, "fp32", channels_last=True)
    assert torch.allclose(last(x), expected, atol=1e-6)
    assert spy.seen.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert in_precision(nn.Linear(3, 2), "fp32", channels_last=True)(torch.rand(5, 3)).shape == (5, 2)
