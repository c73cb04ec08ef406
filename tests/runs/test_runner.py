"""A whole run: what it records, that it can be repeated to the bit, resumed, and what becomes of failures."""

import signal
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.data.split import Split
from bench.errors import DataError, DivergedError, NotApplicableError, OptionError, StoreError
from bench.recipe import Recipe
from bench.records.run import RunResult
from bench.runs.runner import run
from bench.store.results import ResultStore
from bench.training import stages as training
from bench.training.checkpoints import Checkpoints
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.observer import Observer
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import CPU, Plain, one, toy_experiment

RECIPE = Recipe(protocol="group_fairness", lr=0.05, epochs=4, batch_size=16, val_size=40, test_size=60)


@pytest.fixture
def experiment():
    def make(method=Plain, validation="shared", changes=None, **recipe):
        kind = GroupFairness()
        return toy_experiment(RECIPE, kind, method, validation, recipe, changes or {}, ("a", "b"))

    return make


def test_equal_seeds_give_bit_equal_records(experiment, store, tmp_path):
    other = ResultStore(tmp_path / "other")
    other.check_writable()
    torch.manual_seed(7)
    first = one(experiment(), store)
    torch.manual_seed(8)  # what the program drew before does not matter
    second = one(experiment(), other)
    assert first.reproducible() == second.reproducible()
    a, b = (s.sidecar(s.get(first.spec)).arrays for s in (store, other))
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    assert first.reproducible() != one(experiment(), store, seed=1).reproducible()


def test_a_run_in_bf16_is_near_the_one_in_fp32(experiment, store):
    """Eight bits of each number: the validation loss is not the same, and the accuracy nearly so."""
    full, half = one(experiment(), store), one(experiment(precision="bf16"), store)
    assert full.spec.key != half.spec.key
    last, of_half = (r.selected["last"].metrics["test"] for r in (full, half))
    assert last["ece"] != of_half["ece"]
    assert of_half["accuracy"] == pytest.approx(last["accuracy"], abs=0.05)


def test_a_run_leaves_the_global_generator_alone(experiment, store):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one(experiment(), store)
    assert torch.equal(torch.rand(3), expected)


def test_the_record_on_disk_is_the_record(experiment, store):
    result = one(experiment(), store)
    assert store.get(result.spec) == RunResult.from_json(result.to_json())
    assert store.get(result.spec).reproducible()["selected"] == result.reproducible()["selected"]


def test_best_validation_is_the_earliest_epoch_with_the_best_value(experiment, store):
    result = one(experiment(epochs=12), store)
    values = result.history["val/accuracy"]
    best = result.selected["best_val_accuracy"]
    assert best.epoch == result.history["epoch"][values.index(max(values))]
    assert best.metrics["test"]["accuracy"] == result.history["test/accuracy"][values.index(max(values))]
    assert result.selected["last"].epoch == 12


def test_evaluate_every_and_a_budget_in_steps(experiment, store):
    result = one(experiment(epochs=None, steps=31, evaluate_every=2), store)  # 100 samples: 7 steps an epoch
    assert result.history["epoch"] == [2, 4, 5]
    assert result.history["step"] == [14, 28, 31]
    assert result.costs.steps == 31


def test_validation_paper_trains_on_the_validation_data_and_has_no_best_epoch(experiment, store):
    @dataclass
    class Learner(Method):
        uses_val = True

    shared, paper = one(experiment(), store), one(experiment(validation="paper"), store)
    assert (shared.data.sizes["train"], paper.data.sizes["train"]) == (100, 140)
    assert set(paper.selected) == {"last"}
    assert one(experiment(Learner, validation="paper"), store).data.sizes["train"] == 100


def test_stacked_runs_record_what_single_runs_do(experiment, store):
    stacked = run(experiment(), [0, 1, 2], store, CPU, stacked=True)
    for seed, result in enumerate(stacked):
        single = one(experiment(), store, seed)
        assert result.spec == single.spec
        assert result.history["train/loss"] == pytest.approx(single.history["train/loss"], rel=1e-4)
        assert result.selected["last"].metrics["test"] == pytest.approx(
            single.selected["last"].metrics["test"], abs=0.05
        )


def test_methods_see_the_same_data_start_and_order(experiment, store):
    @dataclass
    class Watching(Method):
        seen: ClassVar[list[list[torch.Tensor]]] = []
        draws: ClassVar[int] = 0

        def setup(self):
            torch.rand(self.draws)  # one draws, the other does not
            Watching.seen.append([p.detach().clone() for p in self.model.parameters()])

        def losses(self, batch):
            Watching.seen[-1].append(batch.x)
            return super().losses(batch)

    class Drawing(Watching):
        draws = 5

    one(experiment(Watching), store)
    one(experiment(Drawing), store)
    a, b = Watching.seen
    assert len(a) == len(b) > 20
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_test_data_never_reach_a_method(experiment, store):
    dataset = experiment().dataset
    splits = GroupFairness().splits(dataset, RECIPE, __import__("bench").RandomStreams((0,)))
    hidden = {tuple(row.tolist()) for row in splits.tests["test"].x}

    @dataclass
    class Peeking(Method):
        def setup(self):
            for split in (self.task.train, self.task.val):
                assert not hidden & {tuple(row.tolist()) for row in split.x}

    assert one(experiment(Peeking), store).ok


class _Interrupt(Observer):
    def evaluated(self, row, speed):
        if row["epoch"] == 3:
            raise KeyboardInterrupt


class _Begun(Observer):
    def __init__(self):
        self.epochs = []

    def begin(self, task, epoch):
        self.epochs.append(epoch)


def interrupted(experiment, store, monkeypatch):
    """A run that leaves a checkpoint of its third epoch."""
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        one(experiment, store, observer=_Interrupt())


def test_an_interrupted_run_goes_on_from_its_checkpoint_to_the_same_record(experiment, store, tmp_path, monkeypatch):
    whole = one(experiment(), store)
    store.path(whole.spec).unlink()
    interrupted(experiment(), store, monkeypatch)
    assert store.get(whole.spec) is None
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["epoch"] == 2
    resumed = one(experiment(), store)
    assert resumed.reproducible() == whole.reproducible()
    assert resumed.costs.steps == whole.costs.steps
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("how", "begins"), [({}, 2), ({"eager": True}, 0), ({"backend": "dual"}, 0), ({"threads": 64}, 0)]
)
def test_a_run_goes_on_only_as_it_was_begun(experiment, store, monkeypatch, how, begins):
    interrupted(experiment(), store, monkeypatch)
    watch = _Begun()
    assert one(experiment(), store, observer=watch, **how).ok
    assert watch.epochs == [begins]


@dataclass
class Capturable(Plain):
    """ERM; or with `looks`, an update that cannot be recorded, whatever it claims."""

    capturable = True
    looks: ClassVar[bool] = False

    def weights(self, batch, losses):
        return torch.ones_like(losses) * (1.0 if not self.looks or losses.detach().mean().item() > 0 else 0.5)


@dataclass
class OfItsOwn(Capturable):
    """Trains by a `fit` of its own."""

    def fit(self, task, meter):
        self.begin(task)
        for epoch in meter.epochs(self):
            for batch in self.batches(epoch):
                meter.step(batch, *self.update(batch))
        return self.model


CAPTURES = {
    "replayed": (Capturable, {}, {}, ""),
    "as asked": (Capturable, {"eager": True}, {}, "--eager"),
    "not said": (Plain, {}, {}, "the method does not say that it can be captured"),
    "in vain": (
        type("Looking", (Capturable,), {"looks": True}),
        {},
        {},
        "capturing an update failed: the update",
    ),
    "of its own": (OfItsOwn, {}, {}, "its own `fit` replays no updates"),
    "few": (Capturable, {}, {"steps": 3}, "too few updates: the first 3 of each size are made as they are"),
    "moving rate": (Capturable, {}, {"schedule": "cyclical", "max_lr": 0.1}, "the learning rate changes with every"),
    "faithful": (Capturable, {}, {"dropout": "faithful"}, "the model leaves training mode"),
}


@pytest.mark.parametrize("case", CAPTURES)
def test_a_record_says_whether_updates_were_replayed_and_if_not_why(experiment, store, case):
    method, how, recipe, reason = CAPTURES[case]
    found = run(experiment(method, **recipe), [0, 1], store, CPU, stacked=True, **how)
    for costs in (result.costs for result in found):
        assert costs.captured == (not reason)
        assert costs.eager_because.startswith(reason) and bool(costs.eager_because) == bool(reason)
        assert costs.graph_memory_bytes is None  # of a GPU


def test_a_run_that_is_not_stacked_is_replayed_on_a_gpu_alone(experiment, store):
    costs = one(experiment(Capturable), store).costs
    assert (costs.captured, costs.eager_because) == (False, "a run that is not stacked, on a CPU")


def test_the_record_of_a_failure_says_whether_updates_were_replayed(experiment, store):
    """Its loss is not finite from the second epoch on."""

    class Exploding(Capturable):
        def end_epoch(self, epoch):
            if epoch == 1:
                for parameter in self.model.parameters():
                    parameter.data.fill_(torch.nan)

    (result, _) = run(experiment(Exploding), [0, 1], store, CPU, stacked=True)
    assert (result.status, result.costs.captured, result.costs.eager_because) == ("diverged", True, "")


def test_the_user_is_told_that_capturing_failed(experiment, store):
    notes = []
    observer = Observer()
    observer.note = notes.append
    run(experiment(CAPTURES["in vain"][0]), [0, 1], store, CPU, observer, stacked=True)
    assert [note.partition(": ")[0] for note in notes] == ["updates of Looking are made one by one, as with --eager"]


def test_training_makes_its_gpu_the_current_one(experiment, monkeypatch):
    current = ["cuda:0"]

    @contextmanager
    def device(asked):
        current.append(str(asked))
        yield
        current.pop()

    def fit(task, meter):
        assert current[-1] == "cuda:1"
        raise DivergedError("seen")

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    task = SimpleNamespace(device=torch.device("cuda:1"))
    with pytest.raises(DivergedError, match="seen"):
        training.run_training(SimpleNamespace(fit=fit), task, None)


class _Notes(Observer):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_damaged_checkpoint_is_told_and_not_used(experiment, store, tmp_path, monkeypatch):
    whole = one(experiment(), store)
    store.path(whole.spec).unlink()
    interrupted(experiment(), store, monkeypatch)
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    watch = _Notes()
    assert one(experiment(), store, observer=watch).reproducible() == whole.reproducible()
    assert "cannot be read, so the training starts from the beginning" in watch.notes[0]


def test_a_full_disk_stops_no_training_for_want_of_a_checkpoint(experiment, store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(torch, "save", full)
    watch = _Notes()
    assert one(experiment(), store, observer=watch).ok
    assert len(watch.notes) == 4
    assert "No space left on device" in watch.notes[0]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ZeroDivisionError("by a plugin"), "plugin error", "toy 1: method failing: ZeroDivisionError in end_epoch, "),
        (torch.OutOfMemoryError("no memory\nlong table"), "out of memory", "no memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory", "can't allocate memory"),
    ],
)
def test_a_failure_is_recorded_with_its_kind_and_is_no_result(experiment, store, error, status, said):
    @dataclass
    class Failing(Method):
        def end_epoch(self, epoch):
            if epoch == 1:
                raise error

    result = one(experiment(Failing), store)
    assert (result.status, result.ok, dict(result.selected)) == (status, False, {})
    assert said in result.error
    assert store.get(result.spec) is None
    assert store.sidecar(store.load()[0][0]).history["epoch"] == [1]


def test_bad_input_to_a_method_leaves_no_record(experiment, store):
    @dataclass
    class Refusing(Method):
        def setup(self):
            raise OptionError("beta must be in [0, 1)")

    with pytest.raises(OptionError):
        one(experiment(Refusing), store)
    with pytest.raises(
        DataError, match=r"200 samples less 60 for recipe\.test_size and 150 for recipe\.val_size leave 0 for training"
    ):
        one(experiment(val_size=150), store)
    assert not list(store.folder.iterdir())


def test_a_method_that_cannot_be_stacked_is_refused(experiment, store):
    @dataclass
    class Single(Method):
        stackable = False

    with pytest.raises(OptionError, match="cannot train stacked runs"):
        run(experiment(Single), [0, 1], store, CPU, stacked=True)


def test_split_sizes_and_normalisation(experiment, store):
    result = one(experiment(), store)
    assert result.data.sizes == {"train": 100, "val": 40, "test": 60}
    assert isinstance(experiment().dataset.train, Split)
    assert result.costs.parameters == 3 * 6 + 6 + 6 * 2 + 2


class _Twice(Method):
    def fit(self, task, meter):
        super().fit(task, meter)
        return super().fit(task, meter)


class _Other(Method):
    def fit(self, task, meter):
        super().fit(task, meter)
        return task.new_model()


class _Early(Method):
    def fit(self, task, meter):
        self.begin(task)
        for _ in meter.epochs(self):
            return self.model


@pytest.mark.parametrize("method", [_Twice, _Other, _Early])
def test_a_fit_whose_model_is_not_what_was_evaluated_is_refused(experiment, store, method):
    result = one(experiment(method), store)
    assert result.status == "plugin error"
    assert "meter.epochs" in result.error


def test_stacked_runs_diverge_one_by_one(experiment, store):
    @dataclass
    class Exploding(Plain):
        def weights(self, batch, losses):
            weights = torch.ones_like(losses)
            weights[1] = torch.nan
            return weights

    results = run(experiment(Exploding), [0, 1, 2], store, CPU, stacked=True)
    assert [r.status for r in results] == ["ok", "diverged", "ok"]
    assert results[0].selected
    assert not results[1].selected


def test_parameters_that_explode_in_the_last_step_are_no_result(experiment, store):
    @dataclass
    class Last(Method):
        def weights(self, batch, losses):
            last = self.task.steps == getattr(self, "step", 0) + 1
            self.step = getattr(self, "step", 0) + 1
            return torch.full_like(losses, torch.inf if last else 1.0)

    assert one(experiment(Last), store).status == "diverged"


def test_a_failing_rerun_does_not_replace_a_result(experiment, store):
    good = one(experiment(), store)
    broken = replace(experiment(), method=type("Broken", (Method,), {"end_epoch": lambda self, epoch: 1 / 0}))
    assert broken.spec(0) == good.spec
    assert one(broken, store).status == "plugin error"
    assert store.get(good.spec) is not None


@pytest.mark.parametrize("weights", [lambda losses: torch.ones(len(losses), 1), lambda losses: losses / 2])
def test_weights_that_are_not_one_for_each_sample_are_refused(experiment, store, weights):
    @dataclass
    class Wrong(Method):
        def weights(self, batch, losses):
            return weights(losses)

    result = one(experiment(Wrong), store)
    assert result.status == "plugin error"
    assert "toy 1: method wrong: " in result.error
    assert "one for each sample, and the weights detached" in result.error


@dataclass(frozen=True)
class Examining(GroupFairness):
    """Looks at the test data once more, and at the training data."""

    name, examines = "examining", True

    def examine(self, model, splits, streams, evaluate):
        return {"again": evaluate(splits.tests["test"]), "train": evaluate(splits.train)}


def test_the_model_of_each_rule_is_examined_after_the_training(experiment, store, monkeypatch):
    """On the same data, what is found is what was evaluated; an interrupted run ends alike."""
    made = replace(experiment(lr=0.5, select="ece"), protocol=Examining())
    whole = one(made, store)
    assert {rule: chosen.epoch for rule, chosen in whole.selected.items()} == {"last": 4, "best_val_ece": 2}
    for chosen in whole.selected.values():
        assert chosen.metrics["again"] == pytest.approx(chosen.metrics["test"], nan_ok=True)
        assert chosen.metrics["train"] != chosen.metrics["test"]
    store.path(whole.spec).unlink()
    interrupted(made, store, monkeypatch)
    assert one(made, store).reproducible() == whole.reproducible()


def test_a_run_that_was_interrupted_while_its_models_were_examined_is_examined_again(experiment, store):
    """It was recorded as ok, without the test sets of the protocol."""
    times = []

    class Stopped(Examining):
        def examine(self, model, splits, streams, evaluate):
            times.append(1)
            if len(times) == 1:
                signal.raise_signal(signal.SIGINT)
            return super().examine(model, splits, streams, evaluate)

    made = replace(experiment(epochs=1), protocol=Stopped())
    with pytest.raises(KeyboardInterrupt):
        one(made, store)
    assert "again" in one(made, store).selected["last"].metrics


def test_an_examined_set_has_no_name_of_an_evaluated_one(experiment, store):
    """Its metrics took the place of those that the epoch was recorded with."""

    class Again(Examining):
        def examine(self, model, splits, streams, evaluate):
            return {"test": evaluate(splits.tests["test"])}

    result = one(replace(experiment(epochs=1), protocol=Again()), store)
    assert result.status == "plugin error"
    assert "protocol examining: its examine names a test set test, which is the name of a set" in result.error


def test_a_model_of_two_rules_is_examined_once_and_running_out_of_memory_there_is_recorded(
    experiment, store, monkeypatch
):
    looked = []

    @dataclass(frozen=True)
    class Greedy(Examining):
        def examine(self, model, splits, streams, evaluate):
            looked.append(evaluate(splits.tests["test"])["accuracy"])
            if store.folder.name == "small":
                raise MemoryError
            return {}

    made = replace(experiment(epochs=1), protocol=Greedy())
    assert set(one(made, store).selected) == {"last", "best_val_accuracy"} and len(looked) == 1
    store = ResultStore(store.folder / "small")
    store.check_writable()
    assert one(made, store).status == "out of memory"
    assert list((store.folder.parent / "checkpoints").iterdir())  # it goes on from there
    ran = []
    monkeypatch.setattr(Meter, "step", lambda *_: ran.append(1))
    store = ResultStore(store.folder.parent / "other")  # beside the same checkpoints
    store.check_writable()
    assert one(made, store).ok and not ran


def test_a_run_that_is_not_to_be_resumed_starts_again(experiment, store, monkeypatch):
    whole = one(experiment(), store)
    interrupted(experiment(), store, monkeypatch)
    watch = _Begun()
    assert one(experiment(), store, observer=watch, resume=False).reproducible() == whole.reproducible()
    assert watch.epochs == [0]


def test_a_method_that_is_not_applicable_is_recorded_with_the_reason(experiment, store):
    @dataclass
    class Picky(Method):
        def setup(self):
            raise NotApplicableError("picky needs images")

    result = one(experiment(Picky), store)
    assert (result.ok, result.unfit, result.error) == (False, True, "picky needs images")
    assert not store.get(result.spec)  # asked again, it is tried again


def test_a_checkpoint_that_cannot_be_removed_is_told(experiment, store):
    """A folder lies in its place. The run is recorded all the same."""
    places = []

    class Seen(Checkpoints):
        def begin(self, model):
            places.append(self.path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("bench.training.meter.Checkpoints", Seen)
        result = one(experiment(), store)
    (place,) = {*places}
    store.path(result.spec).unlink()
    place.mkdir(parents=True)
    with pytest.raises(StoreError, match=f"^cannot remove {place}: .*: remove it by hand$"):
        one(experiment(), store)
    assert store.get(result.spec).reproducible() == result.reproducible()
