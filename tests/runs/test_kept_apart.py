"""Runs of one process: whatever one of them does, the next one's numbers are those that it has by itself."""

import contextlib
import gc
import os
import time
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from bench import DataError, Method, NotApplicableError, Recipe
from bench.data.dataset import Dataset
from bench.errors import OptionError, PluginError
from bench.guards.tensors import Watched, tensors_of
from bench.metrics import METRICS, Metric
from bench.parts import Part
from bench.protocol import Prepared
from bench.records.run import RunResult
from bench.registry import Plugin
from bench.runs.requests import check_sizes
from bench.runs.runner import check
from bench.store.results import ResultStore
from bench.testing import toy_split
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import CPU, one, toy_experiment

RECIPE = Recipe(protocol="group_fairness", lr=0.05, epochs=2, batch_size=16, val_size=40, test_size=60)


def experiment(method, data=None):
    """On data of its own, unless some are given; both are read again as they were."""

    def load():
        train, test, val = toy_split(200, 0), toy_split(60, 1), toy_split(40, 2)
        return Dataset("toy", train, test, ("no", "yes"), RECIPE, ("a", "b"), val=val)

    made = toy_experiment(RECIPE, GroupFairness(), method, "shared", {}, {}, ("a", "b"))
    return replace(made, dataset=data or load(), load=load)


def doing(what, name="doing"):
    """A method that does something in each step; it is given the method."""
    step = lambda self, batch, losses: (what(self), torch.ones_like(losses))[1]  # noqa: E731
    return type(name, (Method,), {"weights": step})


def end(self):
    raise SystemExit(0)


def recurse(self):
    recurse(self)


def interrupt(self):
    raise KeyboardInterrupt


def close(self):
    raise GeneratorExit


def odd(self):
    raise BaseException("odd")


BAD = {
    "train": lambda self: self.task.train.x.sub_(1),
    "val through numpy": lambda self: self.task.val.y.numpy().fill(0),
    "group": lambda self: self.task.train.group.data.zero_(),
    "the current folder": lambda self: os.chdir("/"),
    "default dtype": lambda self: torch.set_default_dtype(torch.float64),
    "patch": lambda self: setattr(nn.functional, "linear", lambda x, w, b=None: x @ w.mT * 0.5),
    "hook": lambda self: nn.modules.module.register_module_forward_hook(lambda _, __, out: out * 0.5),
    "recipe": lambda self: self.task.recipe.options.update(method={"x": 1}),
    "grad mode": lambda self: torch.set_grad_enabled(False),
    "threads": lambda self: torch.set_num_threads(2),
    "exit": end,
    "recursion": recurse,
    "keyboard": interrupt,
    "generator": close,
    "base": odd,
}
FINE = {"the current folder", "default dtype", "recipe", "threads", "grad mode", "hook"}


@pytest.mark.parametrize("what", BAD)
def test_the_next_run_has_the_numbers_that_it_has_by_itself(store, tmp_path, what):
    alone = one(experiment(Method), store)
    other = ResultStore(tmp_path / "other")
    other.check_writable()
    first = experiment(doing(BAD[what]))
    broken = one(first, other)
    assert broken.ok or broken.status == "plugin error"
    assert (broken.status == "plugin error") or what in FINE
    assert RunResult.from_json(other.path(broken.spec).read_text()).error == broken.error
    after = one(experiment(Method, first.dataset), other)
    assert after.reproducible() == alone.reproducible()
    assert after.environment.left_behind == []


def test_who_wrote_to_the_data_is_named_with_what(store):
    result = one(experiment(doing(BAD["train"])), store)
    assert result.error == "toy 1: method doing: wrote to data that it may only read: train.x"


def test_what_a_run_leaves_and_writes_later_reaches_no_other_run(store, tmp_path):
    """Its objects are let go after its data were looked at, and write to them then."""
    made = experiment(Method)
    alone = one(made, store)
    later = type("Later", (Method,), {"__del__": lambda self: self.y.copy_(1 - self.y)})
    later.setup = lambda self: setattr(self, "y", self.task.train.y)
    made = replace(experiment(later, made.dataset), as_loaded=Watched(tensors_of(made.dataset)))
    one(made, ResultStore(tmp_path / "other"))
    gc.collect()
    assert not made.as_loaded.has_content_of(Watched(tensors_of(made.dataset)))
    after = one(replace(made, method=Method, method_name="method"), ResultStore(tmp_path / "after"))
    assert after.reproducible() == alone.reproducible()


def test_what_was_left_behind_is_in_the_record(store):
    result = one(experiment(doing(BAD["default dtype"])), store)
    assert result.ok
    assert result.environment.left_behind == ["the default dtype (torch.float64 in place of torch.float32)"]


def test_data_that_cannot_be_read_again_end_the_command_after_the_record(store):
    broken = replace(experiment(doing(BAD["train"])), load=None)
    with pytest.raises(DataError, match="reading them again does not give the same data"):
        one(broken, store)
    assert store.path(broken.spec(0)).exists()


class Net(nn.Module):
    """Does something in each forward pass, with the training data of its class."""

    def __init__(self, does):
        super().__init__()
        self.layer, self.does = nn.Linear(3, 2), does

    def forward(self, x):
        self.does()
        return self.layer(x)


def by_part(kind, does, method=Method):
    """An experiment of which a part, the kind says which, does something; it is given the training data."""
    made = experiment(method)
    x = made.dataset.train.x

    def act(*_):
        does(x)

    protocol, dataset, parts = {}, {}, {}
    if kind == "protocol":
        protocol["splits"] = lambda self, *given: (act(), GroupFairness.splits(self, *given))[1]
    elif kind == "further":
        protocol |= {"examines": True, "examine": lambda self, *given: (act(), {})[1]}
    elif kind == "data set":
        dataset["augment"] = lambda x, generator: (act(), x)[1]
    elif kind == "fit":
        dataset["fit"] = lambda train: (act(), lambda x: x)[1]
    elif kind == "model":
        parts |= {"model": lambda shape, classes, **_: Net(act), "model_options": {}}
    elif kind == "metric":
        metric = Metric(lambda p, counts: (act(), p.y.double().mean(-1))[1], higher_is_better=True)
        parts |= {"known_metrics": METRICS | {"mine": metric}, "metric_parts": (Part("metric", "mine", MINE),)}
    kind_of_protocol = dataclass(frozen=True)(type("Mine", (GroupFairness,), {"name": "mine", **protocol}))
    whose = {"method": MINE, "model": MINE, "protocol": MINE, "dataset": MINE}
    made = replace(made, dataset=replace(made.dataset, **dataset), protocol=kind_of_protocol(), plugins=whose, **parts)
    return replace(made, recipe=replace(made.recipe, augment=True))


MINE = Plugin("mine", "acme", "0.1", __name__)
OFFENDERS = {
    "protocol": "protocol mine",
    "further": "protocol mine",
    "data set": "data set toy",
    "fit": "data set toy",
    "model": "model tiny",
    "metric": "metric mine",
}


@pytest.mark.parametrize("kind", OFFENDERS)
def test_the_part_that_writes_to_the_data_is_named(store, kind):
    result = one(by_part(kind, lambda x: x.data.add_(1)), store)
    assert result.error == f"acme 0.1: {OFFENDERS[kind]}: wrote to data that it may only read: train.x"


@pytest.mark.parametrize("kind", OFFENDERS)
def test_the_part_that_replaces_code_of_others_is_named(store, kind):
    result = one(by_part(kind, lambda x: setattr(nn.functional, "linear", lambda *_: None)), store)
    what = "replaced torch.nn.functional.linear, with which other code computes too"
    assert result.error == f"acme 0.1: {OFFENDERS[kind]}: {what}"


@pytest.mark.parametrize("kind", OFFENDERS)
def test_what_a_part_sets_is_put_back_and_the_part_is_named(store, kind):
    result = one(by_part(kind, lambda x: torch.use_deterministic_algorithms(True)), store)
    assert result.ok, result.error
    told = result.environment.left_behind[0]
    assert told.startswith("deterministic algorithms")
    assert told.endswith(f" by acme 0.1: {OFFENDERS[kind]}")
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_method_is_not_named_for_what_its_protocol_does_with_it(store):
    class Two(GroupFairness):
        def prepare(self, splits, method, stages):
            stages.train("first", type(method)(), splits)
            return Prepared(splits, method)

    made = replace(experiment(doing(BAD["patch"])), protocol=Two())
    made = replace(made, plugins={"method": MINE, "protocol": MINE})
    assert one(made, store).error.startswith("acme 0.1: method doing: replaced torch.nn.functional.linear")


CHECKED = {"protocol": "protocol mine", "fit": "data set toy", "metric": "metric mine"}


@pytest.mark.parametrize("kind", CHECKED)
def test_the_checks_of_sizes_leave_nothing_behind(kind):
    state = torch.get_rng_state()
    made = by_part(kind, lambda x: (torch.set_default_dtype(torch.float64), torch.manual_seed(7)))
    select = {"select": "mine"} if kind == "metric" else {"batch_size": 16}
    made = replace(made, changed=made.changed | {"recipe": select}, recipe=replace(made.recipe, **select))
    check_sizes([made])
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
    made = by_part(kind, lambda x: x.data.add_(1))
    made = replace(made, changed=made.changed | {"recipe": select}, recipe=replace(made.recipe, **select))
    with pytest.raises(PluginError, match=f"^acme 0.1: {CHECKED[kind]}: wrote to data .*: train.x$"):
        check_sizes([made])


def refuse(self):
    raise DataError("no samples of group 3")


def unfit(self):
    raise NotApplicableError("late")


@pytest.mark.parametrize(("what", "status"), [(refuse, "refused"), (unfit, "not applicable")])
def test_bad_input_in_the_middle_ends_its_run_alone(store, what, status):
    second = doing(lambda self: what(self) if self.epoch == 1 else None)
    second.epoch = 0
    second.end_epoch = lambda self, epoch: setattr(self, "epoch", 1)
    result = one(experiment(second), store)
    assert (result.status, result.error) == (status, {"refused": "no samples of group 3"}.get(status, "late"))
    assert store.path(result.spec).exists()


def test_a_run_without_progress_is_ended_and_may_go_on_another_time(store):
    def hang(self):
        while True:
            with contextlib.suppress(Exception):
                time.sleep(10)

    begun = time.perf_counter()
    result = one(experiment(doing(hang)), store, timeout=0.2)
    assert result.status == "timed out"
    assert "TimedOutError in hang" in result.error
    assert time.perf_counter() - begun < 10


def test_a_run_with_progress_takes_as_long_as_it_wants(store):
    assert one(experiment(doing(lambda self: time.sleep(0.02))), store, timeout=0.1).ok


def test_bad_input_of_any_seed_is_known_before_training(store):
    class Refusing(Method):
        def setup(self):
            raise OptionError("beta must be in [0, 1)")

    with pytest.raises(OptionError):
        check(experiment(Refusing), [0, 1], CPU)
    check(experiment(doing(end)), [0, 1], CPU)  # nothing is trained, and errors of plugins are their runs'
    check(experiment(Method), [0, 1], CPU, stacked=True)
    assert not list(store.folder.iterdir())


def test_a_check_leaves_the_data_as_they_were(store):
    writing = type("Writing", (Method,), {"setup": lambda self: self.task.train.x.zero_()})
    made = experiment(writing)
    before = made.dataset.train.x.clone()
    check(made, [0, 1], CPU)
    assert torch.equal(made.dataset.train.x, before)
