"""When checkpoints are taken, and what is left of one that is interrupted."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bench.testing import toy_task, train
from bench.training.checkpoints import Checkpoints, parameter_bytes
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.observer import Observer


class Noting(Observer):
    def __init__(self):
        self.epochs = []
        self.notes = []

    def saved(self, epoch):
        self.epochs.append(epoch)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def slow(monkeypatch):
    """A method whose epochs take a second each, by the meter's clock alone."""
    clock = SimpleNamespace(now=0.0)
    for module in ("meter", "checkpoints"):
        monkeypatch.setattr(f"bench.training.{module}.time", SimpleNamespace(perf_counter=lambda: clock.now))

    @dataclass
    class Slow(Method):
        def end_epoch(self, epoch):
            clock.now += 1

    method = Slow()
    method.clock = clock
    return method


def test_checkpoints_are_frequent_at_the_beginning(slow, tmp_path, monkeypatch):
    """After 1, 2, 4 and then every 5 seconds."""
    monkeypatch.setattr(Checkpoints, "SECONDS", 5.0)
    watched = Noting()
    slow.fit(toy_task(epochs=20), Meter(NoEvaluations(), watched, tmp_path / "checkpoint.pt"))
    assert watched.epochs == [1, 3, 7, 12, 17]


def test_large_models_are_saved_less_often(slow, tmp_path, monkeypatch):
    """With 50 MB of parameters first after 10 seconds, then after 20 more, and then every 30."""
    monkeypatch.setattr("bench.training.checkpoints.parameter_bytes", lambda model: 50_000_000)
    watched = Noting()
    slow.fit(toy_task(epochs=95), Meter(NoEvaluations(), watched, tmp_path / "checkpoint.pt"))
    assert watched.epochs == [10, 30, 60, 90]


def test_slow_saving_takes_a_twentieth_of_the_time(slow, tmp_path, monkeypatch):
    """Half a second each: after 1 second, then after 10 and 20 more."""
    save = torch.save

    def slowly(state, path):
        save(state, path)
        slow.clock.now += 0.5

    monkeypatch.setattr("bench.training.checkpoints.torch.save", slowly)
    watched = Noting()
    slow.fit(toy_task(epochs=32), Meter(NoEvaluations(), watched, tmp_path / "checkpoint.pt"))
    assert watched.epochs == [1, 11, 31]


def test_the_bytes_of_a_model_are_those_of_its_parameters():
    assert parameter_bytes(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).double())) == 4 * 16 + 8 * 10


def test_an_interrupted_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    checkpoint, save = tmp_path / "checkpoint.pt", torch.save

    def interrupted(state, path):
        save(state, path)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("bench.training.checkpoints.torch.save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(Method(), toy_task(), checkpoint)
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert torch.load(checkpoint)["epoch"] == 1


def test_what_is_saved_is_loaded_by_another_process(tmp_path):
    path = tmp_path / "new folder" / "checkpoint.pt"
    watched = Noting()
    Checkpoints(path, watched).save({"epoch": 3, "weights": torch.tensor([1.0, 2.0])})
    state = Checkpoints(path, watched).load(torch.device("cpu"))
    assert state["epoch"] == 3
    assert state["weights"].tolist() == [1.0, 2.0]
    assert watched.epochs == [3]
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_file_is_noted_and_not_loaded(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"no checkpoint")
    watched = Noting()
    assert Checkpoints(path, watched).load(torch.device("cpu")) is None
    (note,) = watched.notes
    assert note.startswith(f"{path} cannot be read, so the training starts from the beginning: ")


def test_a_file_that_cannot_be_written_is_noted_and_stops_nothing(tmp_path):
    (tmp_path / "folder").write_text("a file")
    watched = Noting()
    Checkpoints(tmp_path / "folder" / "checkpoint.pt", watched).save({"epoch": 3})
    (note,) = watched.notes
    assert note.startswith("no checkpoint at epoch 3: ")
    assert watched.epochs == []


def test_without_a_path_no_checkpoint_is_ever_due_written_or_read(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    checkpoints = Checkpoints(None, Observer())
    checkpoints.save({"epoch": 1})
    assert not checkpoints.due
    assert checkpoints.load(torch.device("cpu")) is None
    assert list(tmp_path.iterdir()) == []
