"""Weights of classes against printed values, drawn orders against a slow inversion of the distribution function."""

import pytest
import torch

from bench import RandomStreams, drawn_order
from bench.training.weights import effective_number_weights, label_balanced, mean_one

LABELS = torch.tensor([0] * 16 + [1] * 4 + [3])  # no sample has label 2


def test_weights_are_scaled_to_mean_one_and_zeros_stay():
    assert mean_one(torch.tensor([[1.0, 0.0, 3.0, 0.0], [0.0] * 4])).tolist() == [[1, 0, 3, 0], [0] * 4]
    assert mean_one(torch.tensor([2.0, 6.0])).tolist() == [0.5, 1.5]


def test_effective_number_weights_of_long_tailed_cifar100():
    """Imbalance factor 100: 500 to 5 images; the values that Cui et al.'s own code gives."""
    counts = torch.tensor([int(500 * 0.01 ** (i / 99)) for i in range(100)])
    found = effective_number_weights(counts, 0.9999)
    assert int(counts.sum()) == 10_847
    assert (round(found[0].item(), 4), round(found[-1].item(), 3)) == (0.0449, 4.378)
    assert found.sum().item() == pytest.approx(100)


def test_effective_number_weights_lie_between_uniform_and_inverse_frequency():
    counts = torch.tensor([[60, 30, 10], [1, 0, 3]])
    assert effective_number_weights(counts, 0.0).tolist() == [[1, 1, 1], [1, 0, 1]]
    inverse = torch.tensor([[1 / 60, 1 / 30, 1 / 10], [1, 0, 1 / 3]]).double()
    expected = inverse / inverse.sum(-1, keepdim=True) * torch.tensor([[3], [2]])
    torch.testing.assert_close(effective_number_weights(counts, 1 - 1e-9), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, [1 / 3, 1 / 3, 1 / 3]), (0.5, [4 / 7, 2 / 7, 1 / 7]), (1.0, [16 / 21, 4 / 21, 1 / 21])]
)
def test_labels_are_as_likely_as_a_power_of_their_sizes(q, expected):
    p = label_balanced(LABELS, q)
    assert [p[k == LABELS].sum().item() for k in (0, 1, 3)] == pytest.approx(expected)
    assert all(len(p[k == LABELS].unique()) == 1 for k in (0, 1, 3))
    stacked = label_balanced(torch.stack([LABELS, 3 - LABELS, LABELS * 0]), q)
    assert torch.equal(stacked[:2], torch.stack([p, p]))
    assert stacked[2].tolist() == pytest.approx([1 / 21] * 21)


def test_an_order_inverts_the_distribution_function_at_the_seeds_numbers():
    p, streams = torch.tensor([0.1, 0.0, 0.4, 0.3, 0.2], dtype=torch.float64), RandomStreams((7,))
    uniform = torch.rand(5, generator=streams.generators("method", 3)[0], dtype=torch.float64)
    expected = []
    for u in uniform.tolist():
        position, left = 0, u - p[0].item()
        while left >= 0:
            position += 1
            left -= p[position].item()
        expected.append(position)
    assert drawn_order(p, streams, 3).tolist() == expected


def test_a_sample_without_weight_is_never_drawn():
    """Not even at a number where two samples meet."""

    class Given(RandomStreams):
        def draw(self, sample, *purpose, device="cpu"):
            return torch.tensor([[0.0, 0.25, 0.5, 0.75], [0.0, 0.25, 0.5, 0.75]], dtype=torch.float64)

    weight = torch.tensor([[1.0, 0.0, 1.0, 2.0], [0.0, 8.0, 8.0, 0.0]], dtype=torch.float64)
    assert drawn_order(weight, Given((0, 1), stacked=True), 0).tolist() == [[0, 2, 3, 3], [1, 1, 2, 2]]
