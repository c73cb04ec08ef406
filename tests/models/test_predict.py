"""Logits of a split in batches, and how large these are on a GPU."""

import pytest
import torch
from torch import nn

from bench.data.split import Split
from bench.errors import PluginError
from bench.models import predict as module
from bench.models.predict import _gpu_batch_size, predict


class Noting(nn.Module):
    """Twice the first two numbers of each input; notes how many inputs a call has, and fails for more than `most`."""

    def __init__(self, most=10**9):
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("no room")
        self.sizes.append(len(x))
        return 2 * x[:, :2]


@pytest.fixture
def split():
    return Split(torch.arange(30.0).view(10, 3), torch.zeros(10, dtype=torch.int64), torch.zeros(10, dtype=torch.int64))


@pytest.mark.parametrize(
    ("shape", "least", "size"),
    [((3, 32, 32), 500, 2730), ((1, 28, 28), 500, 10699), ((3, 224, 224), 500, 500), ((20,), 64, 419430)],
)
def test_batches_on_a_gpu_have_as_many_numbers(shape, least, size):
    x, y = torch.empty(7, *shape), torch.zeros(7, dtype=torch.int64)
    assert _gpu_batch_size(Split(x, y, y), least) == size


def test_stacked_runs_share_a_batch():
    x, y = torch.empty(5, 7, 20), torch.zeros(5, 7, dtype=torch.int64)
    assert _gpu_batch_size(Split(x, y, y), 64) == 83886


def test_on_a_cpu_batches_are_as_asked_for(split):
    model = Noting()
    assert torch.equal(predict(model, split, 4), 2 * split.x[:, :2])
    assert model.sizes == [4, 4, 2]


@pytest.mark.parametrize(("most", "sizes"), [(100, [8, 2]), (5, [4, 4, 2])])
def test_where_memory_is_short_batches_are_as_asked_for(split, monkeypatch, most, sizes):
    """As on a GPU that has room for so many."""
    monkeypatch.setattr(Split, "device", torch.device("cuda"))
    monkeypatch.setattr(module, "GPU_NUMBERS", 24)
    monkeypatch.setattr(Split, "in_order", lambda self, size: map(self.batch, torch.arange(10).split(size)))
    model = Noting(most)
    assert torch.equal(predict(model, split, 4), 2 * split.x[:, :2])
    assert model.sizes == sizes


def test_too_little_memory_for_the_batches_asked_for_is_an_error(split, monkeypatch):
    with pytest.raises(torch.OutOfMemoryError):
        predict(Noting(3), split, 4)


class Reusing(nn.Module):
    """Gives its logits in one buffer, which it overwrites at the next call."""

    def forward(self, x):
        self.buffer = getattr(self, "buffer", torch.empty(4, 2))
        return self.buffer[: len(x)].copy_(x[:, :2])


def test_a_model_may_return_one_buffer_again_and_again(split):
    """It gave the logits of the last batch for the samples of all batches."""
    assert torch.equal(predict(Reusing(), split, 4), split.x[:, :2])


@pytest.mark.parametrize(
    ("give", "what"),
    [
        (lambda x: (x, x), "returns tuple in evaluation"),
        (lambda x: x[:3], r"returns torch.float32 of \[3, 3\] in evaluation for \[4\] samples"),
        (lambda x: x.long(), "returns torch.int64"),
        (lambda x: x + 0j, "returns torch.complex64"),
    ],
)
def test_what_is_no_logits_of_these_samples_is_named(split, give, what):
    model = nn.Identity()
    model.register_forward_hook(lambda module, given, x: give(x))
    with pytest.raises(PluginError, match=what):
        predict(model, split, 4)
