import torch
from bench_trimmed import Trimmed

from bench.testing import check_method


def test_it_keeps_the_contract_of_a_method():
    check_method(Trimmed)


def test_the_larger_half_of_the_losses_counts_for_nothing():
    weights = Trimmed(keep=0.5).weights(None, torch.tensor([4.0, 1.0, 3.0, 2.0]))
    assert weights.tolist() == [0.0, 2.0, 0.0, 2.0]
