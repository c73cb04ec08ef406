"""When checkpoints are taken, and what is left of one that is interrupted."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bench.testing import toy_task, train
from bench.training.meter import Meter, NoEvaluations, _bytes
from bench.training.method import Method
from bench.training.observer import Observer


class Noting(Observer):
    def __init__(self):
        self.epochs = []

    def saved(self, epoch):
        self.epochs.append(epoch)


@pytest.fixture
def slow(monkeypatch):
    """A method whose epochs take a second each, by the meter's clock alone."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("bench.training.meter.time", SimpleNamespace(perf_counter=lambda: clock.now))

    @dataclass
    class Slow(Method):
        def end_epoch(self, epoch):
            clock.now += 1

    method = Slow()
    method.clock = clock
    return method


def test_checkpoints_are_frequent_at_the_beginning(slow, tmp_path, monkeypatch):
    """After 1, 2, 4 and then every 5 seconds."""
    monkeypatch.setattr(Meter, "CHECKPOINT_SECONDS", 5.0)
    watched = Noting()
    slow.fit(toy_task(epochs=20), Meter(NoEvaluations(), watched, tmp_path / "checkpoint.pt"))
    assert watched.epochs == [1, 3, 7, 12, 17]


def test_large_models_are_saved_less_often(slow, tmp_path, monkeypatch):
    """With 50 MB of parameters first after 10 seconds, then after 20 more, and then every 30."""
    monkeypatch.setattr("bench.training.meter._bytes", lambda model: 50_000_000)
    watched = Noting()
    slow.fit(toy_task(epochs=95), Meter(NoEvaluations(), watched, tmp_path / "checkpoint.pt"))
    assert watched.epochs == [10, 30, 60, 90]


def test_slow_saving_takes_a_twentieth_of_the_time(slow, tmp_path, monkeypatch):
    """Half a second each: after 1 second, then after 10 and 20 more."""
    save = torch.save

    def slowly(state, path):
        save(state, path)
        slow.clock.now += 0.5

    monkeypatch.setattr("bench.training.meter.torch.save", slowly)
    watched = Noting()
    slow.fit(toy_task(epochs=32), Meter(NoEvaluations(), watched, tmp_path / "checkpoint.pt"))
    assert watched.epochs == [1, 11, 31]


def test_the_bytes_of_a_model_are_those_of_its_parameters():
    assert _bytes(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).double())) == 4 * 16 + 8 * 10


def test_an_interrupted_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(Meter, "CHECKPOINT_SECONDS", 0.0)
    checkpoint, save = tmp_path / "checkpoint.pt", torch.save

    def interrupted(state, path):
        save(state, path)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("bench.training.meter.torch.save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(Method(), toy_task(), checkpoint)
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert torch.load(checkpoint)["epoch"] == 1
