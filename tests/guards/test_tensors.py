"""Every way to write to a tensor is found out; reading it is not."""

import ctypes

import numpy as np
import pytest
import torch

import bench.guards.tensors
from bench.data.memory_map import memory_map
from bench.guards.tensors import Watched

WAYS = {
    "in place": lambda x: x[7].add_(1),
    "data": lambda x: x.data[7].add_(1),
    "numpy": lambda x: np.add(x.numpy()[7], 1, out=x.numpy()[7]),
    "storage": lambda x: x.untyped_storage().__setitem__(7, 3),
    "a view": lambda x: x.view(-1)[100:].add_(1),
    "the address": lambda x: ctypes.memset(x.data_ptr() + 50, 9, 3),
    "two rows": lambda x: x.copy_(x.flip(0)),
    "other data": lambda x: x.set_(x.clone()),
    "another shape": lambda x: x.resize_(3, 5),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_is_found_out(way):
    x = torch.arange(200, dtype=torch.uint8).view(20, 10)
    watched = Watched({"x": x, "again": x, "y": torch.zeros(3)})
    assert (x.float().sum() + x.numpy().sum()) > 0
    assert watched.changed() == []
    WAYS[way](x)
    assert watched.changed() == ["x"]


@pytest.mark.parametrize("way", ["in place", "numpy", "the address"])
def test_of_a_mapped_file_the_written_pages_are_known(tmp_path, monkeypatch, way):
    """Only the last page is written to, which no sample of 10 bytes reaches."""
    monkeypatch.setattr(bench.guards.tensors, "FULL_BYTES", 0)
    monkeypatch.setattr(bench.guards.tensors, "SAMPLE_BYTES", 10)
    monkeypatch.setattr(bench.guards.tensors, "BLOCKS", 2)
    made = memory_map(tmp_path / "map", {}, lambda: [{"x": np.zeros((4096, 64), np.uint8)}])
    x = made.arrays["x"]
    watched = Watched({"x": x})
    assert x.sum() == 0
    assert watched.changed() == []
    WAYS[way](x[3000:3100])
    assert watched.changed() == ["x"]


def test_tensors_that_are_the_same_memory_are_made_afresh_together():
    """One of them stayed as it was written to, and was read by the next run."""
    x = torch.arange(4.0)
    again = x.view(4)
    watched = Watched({"x": x, "again": again})
    x.add_(1)
    watched.replace({"x": torch.arange(4.0)})
    assert x.tolist() == again.tolist() == [0, 1, 2, 3]
    assert x.data_ptr() == again.data_ptr()
