"""CapturedUpdate updates beside the updates themselves."""

import contextlib
import dataclasses
import gc
import itertools
import math
import re
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.torch_version import TorchVersion

from bench import BalancedBatches, Method
from bench.registry import installed
from bench.testing import check_method, find_out, toy_task, train
from bench.training.capture.backends import CudaGraphs, _no_collection
from bench.training.capture.update import CapturedUpdate, CaptureOutcome, _first_reason

CAPTURABLE = [name for name, offer in installed().offers["methods"].items() if offer.value.capturable]


def begun(name="forml", device="cpu", new_model=None, **recipe):
    """A method at its start, and its batches."""
    task = toy_task(**recipe)
    build = new_model or task.new_model
    task = dataclasses.replace(
        task, train=task.train.to(torch.device(device)), val=task.val.to(torch.device(device)),
        new_model=lambda: build().to(device),
    )  # fmt: skip
    method = installed().find("methods", name).value()
    method.begin(task)
    return method, [batch for epoch in range(3) for batch in task.batches(epoch)]


def state(method):
    found = {name: v.clone() for name, v in vars(method).items() if isinstance(v, torch.Tensor) and not v.requires_grad}
    return found | {name: v.clone() for name, v in method.model.state_dict().items()}


@pytest.mark.parametrize("name", CAPTURABLE)
def test_replays_equal_updates(name):
    plain, batches = begun(name)
    captured, _ = begun(name)
    update = CapturedUpdate(captured)
    for batch in batches:
        for one, other in zip(plain.update(batch), update(batch), strict=True):
            assert torch.equal(one, other)
        for one, other in zip(plain.model.parameters(), captured.model.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            assert one.grad is None or torch.equal(one.grad, other.grad)
    assert len(update._captures) == 1
    for key, value in state(plain).items():
        assert torch.equal(value, state(captured)[key]), key


def test_after_the_warm_up_full_batches_are_replayed_and_the_last_one_is_made(monkeypatch):
    method, batches = begun()
    update, made = CapturedUpdate(method), []
    original = method.update
    monkeypatch.setattr(method, "update", lambda batch: made.append(len(batch.y)) or original(batch))
    for batch in batches:
        update(batch)
    sizes = [len(batch.y) for batch in batches]
    assert sizes[:5] == [16, 16, 16, 16, 6]
    assert made == [16, 16, 16, 16, 6, 6, 6]  # three, the captured one, and the rests


def test_a_new_learning_rate_is_captured_anew():
    plain, batches = begun()
    captured, _ = begun()
    update = CapturedUpdate(captured)
    for i, batch in enumerate(b for b in batches if len(b.y) == 16):
        for method in (plain, captured):
            method.optimizer.param_groups[0]["lr"] = 0.1 if i < 6 else 0.02
        losses, _ = plain.update(batch)
        assert torch.equal(losses, update(batch)[0])


def test_what_draws_random_numbers_is_not_captured():
    def dropping():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))

    plain, batches = begun(new_model=dropping)
    captured, _ = begun(new_model=dropping)
    update = CapturedUpdate(captured)
    for batch in batches:
        torch.manual_seed(1)
        losses, _ = plain.update(batch)
        torch.manual_seed(1)
        assert torch.equal(losses, update(batch)[0])
    assert not update._captures


@dataclasses.dataclass
class Rebinding(Method):
    """Counts its steps in a tensor that it replaces."""

    capturable = True

    def setup(self):
        self.steps = torch.zeros(())

    def weights(self, batch, losses):
        self.steps = self.steps + 1
        return torch.ones_like(losses) * self.steps


def test_state_that_is_not_changed_in_place_breaks_the_contract():
    with pytest.raises(AssertionError, match="not in place"):
        check_method(Rebinding)


@dataclasses.dataclass
class Looking(Method):
    """Descends twice, and looks at a value of a tensor in between, when its momentum and a count are changed already.

    `fails`: what it raises in its fourth update, the captured one, in place of looking.
    """

    uses_val = True
    capturable = True
    fails: ClassVar[type[Exception] | None] = None
    updates_before_failing = CapturedUpdate.WARM_UP

    def setup(self):
        self.calls, self.count = itertools.count(1), torch.zeros(())  # such an object is not put back
        self.stream = iter(self.task.val_batches())

    def update(self, batch):
        made = next(self.calls)
        self.count += 1
        self.descend(self.losses(batch).mean())
        if self.fails and made == self.updates_before_failing + 1:
            raise self.fails("in the middle")
        scale = 0.5 if self.fails or float(self.losses(batch).detach().mean()) > 0 else 1.0
        losses = self.losses(next(self.stream))
        self.descend(scale * losses.mean())
        return self.losses(batch).detach(), torch.ones(batch.y.shape)


def failing(error: type[Exception]) -> Looking:
    """One that raises in its fourth update."""
    method = Looking()
    method.fails = error
    return method


@dataclasses.dataclass
class Wandering(Method):
    """Draws from a stream of its own for every update."""

    capturable = True

    def losses(self, batch):
        return super().losses(next(self.task.val_batches())).mean() + super().losses(batch)


@dataclasses.dataclass
class Drawing(Method):
    """Draws from four validation batches in turn: two of the task, one of which is hidden in a generator, and two that
    it makes itself and holds in a dictionary and an attribute. `fails`: in its captured update, after all draws.
    """

    uses_val = True
    capturable = True
    fails: bool = False

    def setup(self):
        task = self.task
        settings = (task.val, 12, task.streams, task.groups)
        self.plain = task.val_batches()
        self.hidden = (batch for batch in task.val_batches(task.val.y == 1))
        self.made = BalancedBatches(*settings, 2)
        self.more = {"made": [BalancedBatches(*settings, 3, task.val.y == 0)]}
        self.calls = itertools.count(1)

    def losses(self, batch):
        drawn = [next(self.plain), next(self.hidden), next(self.more["made"][0]), next(self.made), next(self.plain)]
        losses = super().losses(batch) + sum(super(Drawing, self).losses(val).mean(-1, keepdim=True) for val in drawn)
        if next(self.calls) == CapturedUpdate.WARM_UP + 1 and self.fails:
            raise KeyError("in the middle")
        return losses


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_every_iterator_of_a_method_goes_on_as_in_plain_updates(stacked, fails):
    task = toy_task((0, 1), stacked, epochs=3) if stacked else toy_task(epochs=3)
    plain, captured = Drawing(), Drawing()
    captured.fails = fails
    update = updated_alike(plain, captured, task)
    assert bool(update._captures) != fails
    for name in ("plain", "made"):
        assert getattr(plain, name).position == getattr(captured, name).position > CapturedUpdate.WARM_UP
    assert plain.more["made"][0].position == captured.more["made"][0].position
    for one, other in zip(plain.model.parameters(), captured.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(next(plain.hidden).index, next(captured.hidden).index)


def test_two_trainings_at_once_do_not_see_each_other():
    """While one update is observed, another method's batches are drawn as if nothing were."""
    other = toy_task().val_batches()
    method, batches = begun("forml")
    original = method.update
    seen = []

    def with_another(batch):
        seen.append(next(other).index)
        return original(batch)

    method.update = with_another
    update = CapturedUpdate(method)
    for batch in batches[:3]:
        update(batch)
    assert len(seen) == 3
    assert other not in update._sources


FAILING = {
    "a value is read": (lambda: Looking(), "the update looks at the value of a tensor"),
    "any error": (lambda: failing(KeyError), "in the middle"),
    "no memory": (lambda: failing(torch.OutOfMemoryError), "in the middle"),
    "other validation batches": (lambda: Wandering(), "draws other validation batches"),
}


def updated_alike(plain, captured, task, note=lambda text: None):
    """Begins both, and makes their updates of three epochs, which must be equal to the bit; gives what captured."""
    for method in (plain, captured):
        method.begin(task)
    update = CapturedUpdate(captured, note)
    for batch in (batch for epoch in range(3) for batch in task.batches(epoch)):
        for one, other in zip(plain.update(batch), update(batch), strict=True):
            assert torch.equal(one, other)
    return update


@pytest.mark.parametrize("case", FAILING)
def test_where_capturing_fails_the_training_is_that_of_plain_updates(case):
    new, reason = FAILING[case]
    task, notes = toy_task(momentum=0.9, optimizer="sgd", lr=0.05, epochs=3), []
    plain, captured = new(), new()
    plain.updates_before_failing = math.inf
    update = updated_alike(plain, captured, task, notes.append)
    for key, value in state(plain).items():
        assert torch.equal(value, state(captured)[key]), key
    assert [reason in note for note in notes] == [True]  # said once
    found = CaptureOutcome.of(update, capturable=True)
    assert found.failed and not found.captured and reason in found.eager_because


@dataclasses.dataclass
class Keeping(Method):
    """Keeps state in an attribute that it sets anew and in a list, and then looks at a value."""

    capturable = True

    def setup(self):
        self.level, self.counts = torch.zeros(()), [torch.zeros(())]

    def weights(self, batch, losses):
        self.level = 0.9 * self.level + losses.detach().mean()
        self.counts[0] += 1
        scale = float(self.level) / float(self.counts[0])
        return torch.ones_like(losses) * scale


def test_where_capturing_fails_attributes_and_tensors_in_lists_are_as_they_were():
    task = toy_task(epochs=3)
    plain, captured = Keeping(), Keeping()
    update = updated_alike(plain, captured, task)
    assert "looks at the value" in update.eager_because
    assert torch.equal(plain.level, captured.level) and torch.equal(plain.counts[0], captured.counts[0])


@dataclasses.dataclass
class Outside(Method):
    """Computes its weights outside of torch."""

    capturable = True
    way: str = "list"

    def weights(self, batch, losses):
        values = losses.detach()
        return {
            "list": lambda: torch.tensor(values.tolist()) / 2,
            "numpy": lambda: torch.from_numpy(values.numpy() / 2),
            "array": lambda: torch.from_numpy(np.asarray(values) / 2),
        }[self.way]()


@pytest.mark.parametrize("way", ["list", "numpy", "array"])
def test_values_that_leave_torch_are_not_captured_as_constants(way):
    task = toy_task(epochs=3)
    plain, captured = Outside(way), Outside(way)
    update = updated_alike(plain, captured, task)
    assert "looks at the value" in update.eager_because


def test_a_capture_on_a_gpu_that_fails_leaves_the_attributes_as_they_were(monkeypatch):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    method = SimpleNamespace(level=1)
    put_back = CudaGraphs(torch.device("cuda")).snapshot(method)
    method.level, method.more = 2, 3
    put_back()
    assert vars(method) == {"level": 1}


def following(first, then):
    """An error that was raised while the first was handled."""
    then.__context__ = first
    return then


END = RuntimeError("CUDA error: operation failed due to a previous error during capture")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (following(KeyError("not there"), ValueError("in the middle\nof it")), "in the middle"),
        (following(RuntimeError("CUDA error: not permitted"), END), "CUDA error: not permitted"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_reason_is_that_of_what_was_captured_and_not_that_of_its_end(error, reason):
    assert _first_reason(error) == reason


def test_an_error_of_the_update_itself_is_raised_and_is_no_failure_to_capture():
    method, batches = begun("erm")
    update, original = CapturedUpdate(method), method.update
    full = [batch for batch in batches if len(batch.y) == 16]
    for batch in full[:3]:
        update(batch)
    method.update = lambda batch: original(batch._replace(y=batch.y + 100))  # no such class
    with pytest.raises(IndexError, match="out of bounds"):
        update(full[3])


def test_a_method_that_claims_in_vain_that_it_can_be_captured_breaks_the_contract():
    with pytest.raises(AssertionError, match=r"capturing an update failed.*declare capturable = False"):
        check_method(Looking)


def test_each_capture_after_a_change_of_the_settings_has_a_pool_of_its_own(monkeypatch):
    handles = iter(range(100))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    backend = CudaGraphs(torch.device("cuda"))
    pools = [backend._pool]
    backend.begin_anew()
    assert backend._pool not in pools


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_collected_while_a_graph_is_captured(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with contextlib.suppress(KeyError), _no_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


@pytest.mark.parametrize(("version", "tries"), [("2.11.0", 0), ("2.12.0", 1)])
def test_an_old_torch_records_nothing_more_on_a_gpu_after_a_failure(monkeypatch, version, tries):
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    monkeypatch.setattr(CudaGraphs, "unable", "")
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    states, generator = (
        [],
        SimpleNamespace(clone_state=lambda: "another", graphsafe_set_state=lambda s: states.append(s)),
    )
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    CudaGraphs(torch.device("cuda:0")).give_up("capturing an update failed: in the middle")
    assert states == ["another"] * (not tries)
    unable = CudaGraphs(torch.device("cuda")).unable
    assert ("in the middle (earlier in this process; torch 2.11.0 cannot try again)" in unable) == (not tries)
    assert bool(unable) == (not tries)


def test_a_method_that_does_not_say_so_is_not_captured(monkeypatch):
    monkeypatch.setattr(Rebinding, "capturable", False)
    monkeypatch.setattr("bench.training.method.CapturedUpdate", lambda *given: pytest.fail("it was captured"))
    train(Rebinding(), dataclasses.replace(toy_task(), capture=True))


LATE = 4
"""The epoch from which the methods below do something else: later than any epoch of the contract's task."""


class Switch:
    """An object that holds a number, and nothing else that would be found."""

    __slots__ = ("scale",)


@dataclasses.dataclass
class Changing(Method):
    """From an epoch on its objective has another factor, which the update reads in some place.

    `attribute` and the others: the place. `own count`: each update counts itself.
    """

    capturable = True
    place: str = "attribute"

    def setup(self):
        self.scale, self.dictionary, self.object = 1.0, {"a": [1.0]}, SimpleNamespace(scale=1.0)
        self.slots, self.module, self.tensor = Switch(), nn.Module(), torch.ones(())
        self.slots.scale = self.module.scale = 1.0
        self.array, self.function, self.updates = np.ones(2), torch.ones_like, 0
        self.hidden = SimpleNamespace(optimizer=self.optimizer)
        self.own = SimpleNamespace(optimizer=torch.optim.SGD(self.model.parameters(), 0.1))

    def begin_epoch(self, epoch):
        if epoch == LATE:
            new = {
                "attribute": lambda: setattr(self, "scale", 0.1),
                "dictionary": lambda: self.dictionary["a"].__setitem__(0, 0.1),
                "object": lambda: setattr(self.object, "scale", 0.1),
                "slots": lambda: setattr(self.slots, "scale", 0.1),
                "module": lambda: setattr(self.module, "scale", 0.1),
                "another tensor": lambda: setattr(self, "tensor", torch.tensor(0.1)),
                "array": lambda: self.array.__imul__(0.1),
                "function": lambda: setattr(self, "function", torch.zeros_like),
                "frozen": lambda: self.model[0].requires_grad_(requires_grad=False),
                "own optimizer": lambda: self.own.optimizer.param_groups[0].update(lr=0.01),
            }
            new.get(self.place, lambda: None)()

    def objective(self, batch, losses, weights):
        scale = {
            "attribute": lambda: self.scale,
            "dictionary": lambda: self.dictionary["a"][0],
            "object": lambda: self.object.scale,
            "slots": lambda: self.slots.scale,
            "module": lambda: self.module.scale,
            "another tensor": lambda: self.tensor,
            "array": lambda: float(self.array[0]),
            "function": lambda: self.function(losses.detach()),
            "epoch": lambda: 0.1 if batch.epoch >= LATE else 1.0,
            "number": lambda: 0.1 if batch.number == 2 else 1.0,
            "replaced": lambda: 0.1 if batch._replace(y=1 - batch.y).epoch >= LATE else 1.0,
            "own count": self.counted,
        }
        return scale.get(self.place, lambda: 1.0)() * super().objective(batch, losses, weights).mean()

    def counted(self):
        self.updates += 1
        return 0.1 if self.updates > 5 * LATE else 1.0

    def descend(self, objective):
        if self.place != "own optimizer":
            return super().descend(objective)
        self.own.optimizer.zero_grad()
        objective.backward()
        self.own.optimizer.step()


def trained_both_ways(new, **recipe):
    """A method trained with plain updates and with captured ones: they end at the same parameters."""
    plain, captured = new(), new()
    for method, capture in ((plain, False), (captured, True)):
        train(method, dataclasses.replace(toy_task(epochs=LATE + 2, **recipe), capture=capture))
    for one, other in zip(plain.model.parameters(), captured.model.parameters(), strict=True):
        assert torch.equal(one, other)
    return captured


@pytest.mark.parametrize(
    "place",
    ["attribute", "dictionary", "object", "slots", "module", "another tensor", "array", "function", "frozen",
     "own optimizer"],
)  # fmt: skip
def test_what_changes_between_epochs_is_captured_anew(place):
    unchanged = trained_both_ways(lambda: Changing("nothing"))
    found = trained_both_ways(lambda: Changing(place))
    assert found.capture.captured
    assert not torch.equal(unchanged.model[0].weight, found.model[0].weight)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("epoch", r"an update that is captured cannot read batch\.epoch: declare capturable = False"),
        ("number", r"an update that is captured cannot read batch\.number: declare capturable = False"),
        ("replaced", r"cannot read batch\.epoch"),
        ("own count", r"the update changes self\.updates not in place: keep it in a tensor"),
    ],
)
def test_what_differs_between_updates_is_not_captured_and_breaks_the_contract(place, reason):
    found = trained_both_ways(lambda: Changing(place))
    assert re.search(reason, found.capture.eager_because) and found.capture.failed
    with pytest.raises(AssertionError, match=reason):
        check_method(Changing, {"place": place})
    assert re.search(reason, find_out(Changing, {"place": place})["capturable"])


@dataclasses.dataclass
class Milestones(Method):
    """Its optimiser is in an object that has a state: the recipe sets its rate."""

    capturable = True

    def restart(self):
        super().restart()
        self.wrapped = Wrapped(self.optimizer)
        del self.optimizer

    def descend(self, objective):
        self.wrapped.optimizer.zero_grad()
        objective.sum().backward()
        self.wrapped.optimizer.step()


class Wrapped:
    """What has an optimiser, and its state."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.state_dict, self.load_state_dict = optimizer.state_dict, optimizer.load_state_dict


def test_milestones_reach_an_optimizer_inside_an_object():
    found = trained_both_ways(Milestones, milestones=(0.5,), gamma=0.1)
    assert found.capture.captured
    assert not torch.equal(found.model[0].weight, trained_both_ways(Milestones).model[0].weight)
    check_method(Milestones)


@dataclasses.dataclass
class ByStep(Method):
    """Its rate falls with each step, from an epoch on."""

    capturable = True
    since: int = 0

    def learning_rate(self, epoch, step):
        return 0.1 / (1 + step + epoch) if epoch >= self.since else 0.1


@pytest.mark.parametrize("since", [0, LATE - 1])
def test_a_rate_that_changes_before_every_update_is_not_captured(since, monkeypatch):
    captures, original = [], CapturedUpdate._capture
    monkeypatch.setattr(CapturedUpdate, "_capture", lambda *given: captures.append(1) or original(*given))
    found = trained_both_ways(lambda: ByStep(since))
    assert len(captures) < 8  # there are 30 updates
    assert not found.capture.captured and not found.capture.failed
    assert found.capture.eager_because.startswith("a setting of an optimiser changes before every update")
    check_method(ByStep)
