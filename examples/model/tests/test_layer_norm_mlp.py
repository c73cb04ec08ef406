import numpy as np
import torch
from bench_layer_norm_mlp import layer_norm_mlp

from bench.testing import check_model


def test_it_keeps_the_contract_of_a_model():
    check_model(layer_norm_mlp, (3, 8, 8))


def test_its_logits_are_those_of_the_formula():
    model, x = layer_norm_mlp((4,), 3, width=5, depth=1), torch.rand(2, 4)
    w1, b1, gain, bias, w2, b2 = (parameter.detach().numpy() for parameter in model.parameters())
    z = x.numpy() @ w1.T + b1
    normalised = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5)
    hidden = np.maximum(gain * normalised + bias, 0)
    np.testing.assert_allclose(model(x).detach().numpy(), hidden @ w2.T + b2, rtol=1e-4, atol=1e-6)
