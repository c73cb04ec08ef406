"""The state of a method: what a checkpoint keeps, written by `torch.save` and read with `weights_only`."""

import collections
import copy
import random
import typing
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bench.errors import PluginError
from bench.testing import toy_task
from bench.training.checkpoints import Checkpoints
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.state import lost, restore, stored


class Pair(typing.NamedTuple):
    one: int
    other: torch.Tensor


VALUES = {
    "nothing": None,
    "flag": True,
    "number": 3,
    "fraction": 0.1,
    "complex": 1 + 2j,
    "text": "straße",
    "list": [1, [2.5, "three"]],
    "tuple": (1, (2,)),
    "set": {1, 2},
    "dictionary": {"a": 1, 2: [3], (4, 5): "six"},
    "deque": collections.deque([1, 2]),
    "tensor": torch.arange(3),
    "half": torch.arange(3).bfloat16(),
    "named": Pair(1, torch.ones(2)),
    "array": np.arange(6, dtype=np.int16).reshape(2, 3),
    "texts": np.array(["a", "bc"]),
    "scalar": np.float32(0.1),
    "window": collections.deque([1, 2], maxlen=2),
    "counter": collections.Counter("aab"),
    "ordered": collections.OrderedDict(b=1, a=2),
    "size": torch.Size([2, 3]),
    "dtype": torch.float64,
    "empty": torch.zeros(0, 3),
    "sparse": torch.eye(2).to_sparse(),
    "expanded": torch.ones(1).expand(3),
    "nested": {"tensors": [torch.ones(2)], "arrays": (np.zeros(2),)},
}


def through_a_file(state, tmp_path):
    checkpoints = Checkpoints(tmp_path / "a.pt", Strict())
    checkpoints.save({"epoch": 1, "state": state})
    return checkpoints.load(torch.device("cpu"))["state"]


class Strict(Observer):
    def note(self, text):
        raise AssertionError(text)


def equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a.to_dense(), b.to_dense())
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple | collections.deque):
        return getattr(a, "maxlen", None) == getattr(b, "maxlen", None) and len(a) == len(b) and all(map(equal, a, b))
    return a == b


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_it_was(name, tmp_path):
    value = VALUES[name]
    state = through_a_file(stored({"value": value}), tmp_path)
    assert lost({"value": value}) == {}
    fresh = SimpleNamespace(value=Pair(0, torch.zeros(2)) if name == "named" else None)  # as `setup` made it
    restore(fresh, state)
    assert equal(fresh.value, value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (torch.ones(2), torch.ones(2).double() / 3),
        (torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse()),
        (torch.eye(2), torch.eye(2).to_sparse()),
        (torch.ones(1).expand(3), torch.arange(3.0)),
        (nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3).double())),
        (collections.defaultdict(list), collections.defaultdict(list, a=[1])),
    ],
)
def test_a_value_of_another_kind_than_that_of_setup_comes_back_as_it_was(before, after, tmp_path):
    owner = SimpleNamespace(value=before)
    restore(owner, through_a_file(stored({"value": after}), tmp_path))
    assert equal(owner.value, after)
    if isinstance(before, collections.defaultdict):
        assert (owner.value["new"], before) == ([], {})


def test_what_has_a_state_and_what_trains_is_changed_in_place_and_what_others_may_hold_is_not(tmp_path):
    def made(seed):
        nets = [nn.Linear(2, 2), nn.BatchNorm1d(2)]
        owner = SimpleNamespace(nets=nets, buffer=torch.full((2,), float(seed)), seen=[seed])
        owner.generators = {"torch": torch.Generator().manual_seed(seed), "numpy": np.random.default_rng(seed)}
        owner.generators |= {"python": random.Random(seed), "legacy": np.random.RandomState(seed)}
        owner.q = torch.full((2,), float(seed))  # it has no gradient of autograd
        owner.optimizer = torch.optim.Adam([*nets[0].parameters(), owner.q], seed)
        return owner

    def drawn(owner):
        g = owner.generators
        return (
            torch.rand(1, generator=g["torch"]).item(),
            g["numpy"].random(),
            g["python"].random(),
            g["legacy"].rand(),
        )

    old, new = made(1), made(2)
    drawn(old)
    weight, q, buffer, seen = new.nets[0].weight, new.q, new.buffer, new.seen
    restore(new, through_a_file(stored(vars(old)), tmp_path))
    assert new.nets[0].weight is weight and new.q is q and q.tolist() == [1, 1]
    assert (buffer.tolist(), seen) == ([2, 2], [2])
    assert torch.equal(new.nets[0].weight, old.nets[0].weight) and new.buffer.tolist() == [1, 1] and new.seen == [1]
    assert new.optimizer.param_groups[0]["lr"] == 1
    assert drawn(new) == drawn(old)


def test_what_cannot_be_stored_is_named_and_left_out():
    graph = (torch.ones(1, requires_grad=True) * 2).sum()
    values = {"made": SimpleNamespace(), "deep": [{"a": object()}], "graph": graph, "objects": np.array([object()])}
    assert stored(values | {"kept": 1}) == {"kept": 1}
    assert lost(values) == {
        "made": "SimpleNamespace",
        "deep": "object",
        "graph": "a tensor with the graph that it was computed by",
        "objects": "an array of Python objects",
    }
    assert lost({"function": print, "kind": int, "device": torch.device("cpu"), "task": toy_task()}) == {}


def test_a_state_without_its_object_is_told():
    with pytest.raises(PluginError, match=r"the state of self\.nets\[1\], and there is NoneType: make the object"):
        restore(SimpleNamespace(nets=[nn.Linear(1, 1)]), stored({"nets": [nn.Linear(1, 1), nn.Linear(1, 1)]}))


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (None, collections.defaultdict(int), "the state of self.a, and there is NoneType: make the object in `setup`"),
        (None, Pair(1, torch.ones(1)), "the state of self.a, and there is NoneType"),
        (None, {"function": print, "count": 3}, r"self.a\['function'\], and there is NoneType"),
        ([len], [print], r"self.a\[0\], and there is builtin"),
        (torch.optim.SGD([torch.ones(1)]), torch.optim.Adam([torch.ones(1)]), "the state of self.a, and there is SGD"),
        (torch.optim.SGD([torch.ones(1)]), torch.optim.SGD([torch.ones(1), torch.ones(1)]), "self.a does not take its"),
        (
            nn.Linear(1, 1),
            nn.Linear(1, 2),
            r"self.a does not take its state .* \(RuntimeError: .*`setup`",
        ),
        ({}, {torch.ones(1): 1}, "self.a has a tensor as a key"),
    ],
)
def test_what_setup_has_to_make_as_it_is_at_the_checkpoint_is_told(before, after, why, tmp_path):
    with pytest.raises(PluginError, match=f"^.*{why}.*$"):  # one line
        restore(SimpleNamespace(a=before), through_a_file(stored({"a": after}), tmp_path))


class HalfState:
    def state_dict(self):
        return {}


def test_what_a_checkpoint_cannot_keep_says_what_it_lacks():
    ring = [1]
    ring.append(ring)
    values = {"endless": (number for number in range(3)), "half": HalfState(), "ring": ring, "keys": {nn.ReLU(): 1}}
    values["masked"] = np.ma.masked_array([1, 2], [0, 1])
    assert stored(values) == {}
    assert lost(values) == {
        "endless": "generator",
        "half": "HalfState, which has a state_dict and no load_state_dict",
        "ring": "a list that holds itself",
        "masked": "MaskedArray",
        "keys": "a dictionary with ReLU as a key",
    }


def test_a_container_with_a_function_or_with_its_owner_is_kept(tmp_path):
    old, new = (SimpleNamespace(plan={"rule": len, "count": count}) for count in (3, 0))
    old.plan["owner"] = old
    new.plan["owner"] = new
    restore(new, through_a_file(stored(vars(old)), tmp_path))
    assert new.plan == {"rule": len, "count": 3, "owner": new}


def test_what_is_one_object_stays_one(tmp_path):
    def made():
        net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
        parts = {"parts": [net[0], nn.Sequential(net)], "net": net[0]}
        return SimpleNamespace(best=None, **parts, log=[1], late=None, row=None, state=None, other=[2])

    old, new = made(), made()
    old.best, old.late = old.net, old.log
    old.row, old.state, old.other = {old.net.weight: old.net.running_mean}, old.net.state_dict(), [old.log]
    restore(new, through_a_file(stored(vars(old)), tmp_path))
    assert new.best is new.net and new.late is new.log and new.other[0] is new.log
    assert new.row[new.net.weight] is new.net.running_mean
    with torch.no_grad():
        new.net.weight.fill_(7)
    assert new.state["weight"].tolist() == [7, 7] and not new.state["weight"].requires_grad


TABLE, TENSOR = [1.0], torch.ones(1)


def whole_and_resumed(method, at, tmp_path, monkeypatch):
    """The same training without a break, and interrupted before an epoch and resumed."""

    class Stopped(Meter):
        def epochs(self, method):
            for epoch in super().epochs(method):
                if epoch == at:
                    raise KeyboardInterrupt
                yield epoch

    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    task = toy_task(epochs=4)
    whole, first, again = method(), method(), method()
    whole.fit(task, Meter(NoEvaluations()))
    with pytest.raises(KeyboardInterrupt):
        first.fit(task, Stopped(NoEvaluations(), Strict(), tmp_path / "a.pt"))
    data = {name: tensor.clone() for name, tensor in task.train.tensors.items()}
    again.fit(task, Meter(NoEvaluations(), Strict(), tmp_path / "a.pt"))
    assert all(torch.equal(tensor, data[name]) for name, tensor in task.train.tensors.items())
    return whole, again


@dataclass
class LabelCorrection(Method):
    """Starts with the labels of the data, of which it makes others."""

    def setup(self):
        self.targets = self.task.train.y
        self.model.register_buffer("seen", self.task.train.y)

    def losses(self, batch):
        return self.task.loss(batch.logits, self.targets[batch.index])

    def end_epoch(self, epoch):
        self.targets = self.targets.roll(1)
        self.model.seen = self.targets


@dataclass
class Constants(Method):
    """Starts with constants of the Python module and of its class, and with two names of one value."""

    table_of_class = [1.0]  # noqa: RUF012

    def setup(self):
        self.table, self.tensor, self.pair = TABLE, TENSOR, (TENSOR, TENSOR)
        self.now = self.before = torch.ones(1)

    def weights(self, batch, losses):
        scale = self.tensor + sum(self.table) + sum(self.table_of_class) + self.now / self.before + self.pair[0]
        return torch.ones_like(losses) * scale

    def end_epoch(self, epoch):
        self.table, self.tensor, self.table_of_class = [*self.table, 2.0], self.tensor / 2, [*self.table_of_class, 1.0]
        self.before, self.now, self.pair = self.now, self.now * 1.5, (self.pair[1], self.pair[0] + epoch)


@dataclass
class Anchored(Method):
    """Pulls the parameters to those of the last epoch, which are the present ones at the beginning."""

    def setup(self):
        self.anchor, self.best = list(self.model.parameters()), self.model.state_dict()

    def objective(self, batch, losses, weights):
        pulls = [(a.detach() - p).square().sum() for a, p in zip(self.anchor, self.model.parameters(), strict=True)]
        return super().objective(batch, losses, weights) + sum(pulls)

    def end_epoch(self, epoch):
        self.anchor = [p.detach().clone() for p in self.model.parameters()]
        self.best = {name: value.clone() for name, value in self.model.state_dict().items()}


@dataclass
class Unfreezing(Method):
    """Linear probing first, then all; and a bare tensor that is trained until then."""

    def setup(self):
        self.shift = torch.zeros(2, requires_grad=True)
        self.shifts = self.task.optimizer([self.shift])
        self.extra = nn.Sequential(nn.BatchNorm1d(2))
        self.model[0].requires_grad_(False)

    def forward(self, x):
        return self.extra(super().forward(x)) + self.shift

    def descend(self, objective):
        self.shifts.zero_grad()
        super().descend(objective)
        self.shifts.step()

    def end_epoch(self, epoch):
        if epoch == 0:
            self.model[0].requires_grad_(True)
            self.shift.requires_grad_(False)
            self.extra.eval()


@dataclass
class ByParameter(Method):
    """Its own momentum, by parameter."""

    def setup(self):
        self.momentum = {p: torch.zeros_like(p) for p in self.model.parameters()}

    def descend(self, objective):
        objective.backward()
        with torch.no_grad():
            for p in self.model.parameters():
                p -= 0.1 * self.momentum[p].mul_(0.9).add_(p.grad)
                p.grad = None


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("method", [LabelCorrection, Constants, Anchored, Unfreezing, ByParameter])
def test_a_resumed_training_ends_where_it_would_have(method, at, tmp_path, monkeypatch):
    whole, again = whole_and_resumed(method, at, tmp_path, monkeypatch)
    assert all(map(torch.equal, whole.model.state_dict().values(), again.model.state_dict().values()))
    assert (TABLE, TENSOR.tolist(), Constants.table_of_class) == ([1.0], [1.0], [1.0])


@dataclass
class Teacher(Method):
    """A teacher that is the student at the beginning, and a copy of it from the first epoch on."""

    def setup(self):
        self.parts = [self.model[-1]] if self.part else [self.model]

    part = False

    def end_epoch(self, epoch):
        self.parts = copy.deepcopy(self.parts)


@dataclass
class TeacherOfAPart(Teacher):
    """The same of the last layer alone."""

    part = True


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (Teacher, r"self\.parts\[0\] is self\.model after `setup`, or .*: make a copy in `setup`"),
        (TeacherOfAPart, r"self\.parts\[0\]\.weight is self\.model\.2\.weight after `setup`, or shares its memory"),
    ],
)
def test_a_module_that_setup_has_not_copied_is_told(method, why, tmp_path, monkeypatch):
    with pytest.raises(PluginError, match=why):
        whole_and_resumed(method, 2, tmp_path, monkeypatch)


@dataclass
class CoTeaching(Method):
    """Two networks in a list, each of which trains on the samples with the smaller losses of the other (Han et al.
    2018); the share is a number that falls, what was chosen is counted in an array.
    """

    def restart(self):
        super().restart()
        self.nets = [self.model, self.task.new_model()]
        with torch.no_grad():
            for parameter in self.nets[1].parameters():
                parameter.mul_(-1)
        self.optimizers = [self.optimizer, self.task.optimizer(self.nets[1])]

    def setup(self):
        self.keep, self.chosen = 1.0, np.zeros(len(self.task.train), dtype=np.int64)

    def update(self, batch):
        losses = [self.task.loss(net(batch.x), batch.y) for net in self.nets]
        count = int(self.keep * len(batch.y))
        for own, other, optimizer in zip(losses, reversed(losses), self.optimizers, strict=True):
            smallest = other.detach().argsort()[:count]
            optimizer.zero_grad()
            own[smallest].mean().backward()
            optimizer.step()
            np.add.at(self.chosen, batch.index[smallest].numpy(), 1)
        return losses[0].detach(), torch.ones_like(losses[0])

    def end_epoch(self, epoch):
        self.keep *= 0.8


def test_two_networks_in_a_list_go_on_where_they_were(tmp_path, monkeypatch):
    """0.9389 after an interrupt, 0.9417 without, both ok, was what was seen."""
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    whole, first, again = CoTeaching(), CoTeaching(), CoTeaching()
    whole.fit(toy_task(epochs=4), Meter(NoEvaluations()))

    class Stopped(Meter):
        def epochs(self, method):
            for epoch in super().epochs(method):
                if epoch == 2:
                    raise KeyboardInterrupt
                yield epoch

    with pytest.raises(KeyboardInterrupt):
        first.fit(toy_task(epochs=4), Stopped(NoEvaluations(), Strict(), tmp_path / "a.pt"))
    again.fit(toy_task(epochs=4), Meter(NoEvaluations(), Strict(), tmp_path / "a.pt"))
    for net, other in zip(whole.nets, again.nets, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in net.state_dict().items())
    assert (again.keep, again.chosen.tolist()) == (whole.keep, whole.chosen.tolist())
