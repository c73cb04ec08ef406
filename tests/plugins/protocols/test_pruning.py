"""The protocol `pruning`: forgetting events, the moving average, what is dropped, its trainings one after another."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from bench.data.split import Split
from bench.errors import DataError, NotApplicableError, OptionError, ProtocolError
from bench.predictions import stored_logits
from bench.recipe import Recipe
from bench.registry import installed
from bench.runs.build import splits_of
from bench.runs.runner import run
from bench.streams import RandomStreams
from bench.testing import toy_split, toy_task, train
from bench.training.checkpoints import Checkpoints
from bench.training.diagnostics import Samples
from bench.training.method import Method
from bench.training.observer import Observer
from bench_plugins.protocols.pruning import Forgetting, MovingAverage, Pruning
from tests.experiments import CPU, Plain, kept_arrays, one, toy_experiment
from tests.tables.pages import render

RECIPE = Recipe(protocol="pruning", lr=0.05, epochs=4, batch_size=16, val_size=40, test_size=60, val_batch_size=12)
METHODS = installed().offers["methods"]
SHORT = {"epochs": 2}
DRAWN, VAL, DROPPED = 140, 40, 14  # 200 samples without 60 for testing; a tenth of 140


@pytest.fixture
def experiment():
    def make(method=Method, policy="shared", recipe=None, **protocol):
        changed, validation = {"protocol": protocol}, "shared" if method.uses_val else policy
        return toy_experiment(RECIPE, Pruning(**protocol), method, validation, recipe or {}, changed)

    return make


@dataclass
class Skewed(Method):
    """Weights that fall with the position; the task is kept."""

    def setup(self):
        Skewed.task = self.task

    def weights(self, batch, losses):
        return 1 / (1 + batch.index)


# Forgetting events


def begun(samples, counter=Forgetting):
    method, task = counter(), toy_task()
    method.begin(replace(task, train=toy_split(samples, 0)))
    return method


def test_forgetting_events_of_a_sequence_by_hand():
    """Correct, wrong, correct, wrong is two events; wrong from the beginning is none until it was right once."""
    method = begun(4)
    for correct in ("1010", "0011", "1010", "0010"):
        method.note(torch.arange(4), torch.tensor([c == "1" for c in correct]))
    assert method.counts.tolist() == [2.0, math.inf, 0.0, 1.0]


def test_forgetting_events_are_those_of_a_slow_loop():
    rng, method = np.random.default_rng(0), begun(70)
    before, events, learned = [False] * 70, [0] * 70, [False] * 70
    for _ in range(30):
        drawn = rng.permutation(70)[: rng.integers(1, 70)]
        correct = rng.random(len(drawn)) < 0.4
        method.note(torch.from_numpy(drawn), torch.from_numpy(correct))
        for i, right in zip(drawn, correct, strict=True):
            events[i] += before[i] and not right
            learned[i] |= right
            before[i] = right
    assert method.counts.tolist() == [n if known else math.inf for n, known in zip(events, learned, strict=True)]
    assert {0, 1, 2} < set(events)


def test_counting_reads_the_predictions_before_each_update_and_changes_no_training():
    @dataclass
    class Slow(Method):
        def losses(self, batch):
            for i, logits, y in zip(batch.index.tolist(), self.model(batch.x).tolist(), batch.y.tolist(), strict=True):
                right = (logits[1] > logits[0]) == bool(y)
                events[i] = events.get(i, 0) + (before.get(i, False) and not right)
                learned[i] = learned.get(i, False) or right
                before[i] = right
            return super().losses(batch)

    events, learned, before = {}, {}, {}
    task, counter = toy_task(epochs=8), Forgetting()
    slow, model = train(Slow(), task), train(counter, task)
    assert all(torch.equal(p, q) for p, q in zip(slow.parameters(), model.parameters(), strict=True))
    assert counter.counts.tolist() == [events[i] if learned[i] else math.inf for i in range(70)]
    assert max(events.values()) > 0


def test_recorded_updates_count_alike():
    """As on a GPU: here of stacked runs, whose updates are recorded on a CPU too."""
    task, eager, captured = toy_task((0, 1), stacked=True, epochs=6), Forgetting(), Forgetting()
    train(eager, task)
    train(captured, replace(task, capture=True))
    assert captured.capture.captured and torch.equal(eager.counts, captured.counts)


def test_validation_samples_are_the_least_forgotten_and_the_seed_breaks_ties():
    forgotten = torch.tensor([3.0, 0, math.inf, 0, 1, 0, 0, 2])
    y = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])

    def chosen(size, seed=0, **options):
        return Pruning(**options)._validation(forgotten, y, size, RandomStreams((seed,))).tolist()

    assert sorted(chosen(4)) == [1, 3, 5, 6]
    assert sorted(chosen(6)) == [1, 3, 4, 5, 6, 7]
    assert chosen(8)[-2:] == [0, 2]
    assert chosen(2) == chosen(2)
    assert len({tuple(sorted(chosen(2, seed))) for seed in range(20)}) > 3
    assert sorted(chosen(4, validation="balanced"))[2:] == [6, 7]
    assert set(chosen(4, validation="balanced")[:2]) < {1, 3, 5}


# The moving average


def test_the_moving_average_is_that_of_a_slow_loop():
    """Samples drawn once, several times, and not at all; the state goes on in another one."""
    rng, watch, slow = np.random.default_rng(0), MovingAverage(12, 0.8, CPU), {}
    for epoch in range(6):
        index = rng.integers(0, 11, 20)
        weights, losses = rng.random((2, 20)).astype(np.float32)
        parts = (torch.from_numpy(a) for a in (losses, weights, index, index, index))
        watch(Samples(*parts))
        weighted = weights.astype(float) * losses
        for i in set(index):
            now = np.mean(weighted[index == i]) / np.mean(weighted)
            slow[i] = 0.8 * slow[i] + 0.2 * now if i in slow else now
        if epoch == 2:
            state, watch = watch.state_dict(), MovingAverage(12, 0.8, CPU)
            watch.load_state_dict(state)
    assert watch.value[11].isnan()
    assert watch.value[:11].tolist() == pytest.approx([slow[i] for i in range(11)], rel=1e-12)


def test_an_epoch_without_weight_says_nothing():
    watch, index = MovingAverage(2, 0.5, CPU), torch.arange(2)
    watch(Samples(torch.tensor([1.0, 3.0]), torch.ones(2), index, index, index))
    watch(Samples(torch.tensor([1.0, 3.0]), torch.zeros(2), index, index, index))
    assert watch.value.tolist() == [0.5, 1.5]


def test_epochs_of_preparation_are_left_out(experiment, store):
    """In the preparation the samples of class 1 have all the weight."""

    @dataclass
    class Prepares(Method):
        def setup(self):
            self.preparation_epochs = 2

        def weights(self, batch, losses):
            preparing = self.task.train.steps(16) * 2 > getattr(self, "step", 0)
            self.step = getattr(self, "step", 0) + 1
            return torch.full_like(losses, 1000.0) * batch.y if preparing else torch.ones_like(losses)

    result = one(experiment(Prepares, recipe={"epochs": 2, "lr": 1e-9}), store)
    scores = kept_arrays(result, store)["drawn/weighted_loss"]
    assert np.nanmean(scores) == pytest.approx(1, rel=1e-5)
    assert np.nanmin(scores) > 0.1  # with the preparation, those of class 0 would be near 0


# Whole runs


@pytest.mark.parametrize(("drop", "left"), [("weighted_loss", 86), ("at_random", 86), ("none", 100)])
def test_a_run_has_exactly_as_many_samples(experiment, store, drop, left):
    result = one(experiment(Skewed, drop=drop), store)
    sizes = {"train": left, "val": VAL, "test": 60}
    assert result.data.sizes == (sizes | {"dropped": DROPPED} if left < 100 else sizes)
    found = kept_arrays(result, store)
    places = [found[f"{name}/position"] for name in ("train", "val", "dropped")]
    assert [len(p) for p in places] == [left, VAL, 100 - left]
    assert sorted(np.concatenate(places)) == list(range(DRAWN))
    drawn = Split.cat([(s := splits_of(experiment(), 0)).train, s.val])
    for name, at in zip(("train", "val", "dropped"), places, strict=True):
        if len(at):
            assert result.data.counts[name] == [np.bincount(drawn.y[at], minlength=2).tolist()]
    assert result.history["epoch"] == [1, 2, 3, 4]


def test_one_seed_has_one_validation_set_whatever_is_run(experiment, store):
    """And one random set that is dropped; another seed has others."""
    forml = METHODS["forml"].value  # which learns from the validation data
    drops, policies = ("weighted_loss", "at_random", "none"), ("shared", "paper")
    kinds = [experiment(m, p, SHORT, drop=d) for m in (Method, Skewed) for d in drops for p in policies]
    found = [kept_arrays(one(kind, store), store) for kind in [*kinds, experiment(forml, recipe=SHORT)]]
    assert all(np.array_equal(f["val/position"], found[0]["val/position"]) for f in found)
    assert all(np.array_equal(f["drawn/forgotten"], found[0]["drawn/forgotten"]) for f in found)
    other = kept_arrays(one(experiment(recipe=SHORT), store, seed=1), store)
    assert not np.array_equal(other["val/position"], found[0]["val/position"])
    kinds = [experiment(m, recipe=SHORT, drop="at_random") for m in (Method, Skewed)]
    by_chance = [kept_arrays(one(kind, store), store)["dropped/position"] for kind in kinds]
    assert np.array_equal(*by_chance)


def test_the_validation_samples_are_those_that_a_training_on_all_forgets_least(experiment, store):
    found = kept_arrays(one(experiment(Skewed, drop="none"), store), store)
    split, counter = Split.cat([(s := splits_of(experiment(), 0)).train, s.val]), Forgetting()
    train(counter, replace(Skewed.task, train=split))
    assert np.array_equal(found["drawn/forgotten"], counter.counts.numpy())
    most, least = (found["drawn/forgotten"][found[f"{name}/position"]] for name in ("val", "train"))
    assert most.max() <= least.min()


def test_the_samples_with_the_lowest_average_are_dropped_and_erm_is_trained_on_the_rest(experiment, store):
    """All of it again, with the method trained by hand and a loop over what it did."""
    kept = kept_arrays(one(experiment(Skewed), store), store)
    given = Skewed.task
    average, steps = {}, []

    @dataclass
    class Noting(Skewed):
        def weights(self, batch, losses):
            weights = super().weights(batch, losses)
            steps.extend(zip(batch.index.tolist(), (weights * losses).tolist(), strict=True))
            return weights

        def end_epoch(self, epoch):
            mean = sum(value for _, value in steps) / len(steps)
            for i, value in steps:
                average[i] = 0.9 * average.get(i, value / mean) + 0.1 * value / mean
            steps.clear()

    train(Noting(), given)
    assert len(given.train) == 100
    others = np.setdiff1d(np.arange(DRAWN), kept["val/position"])
    lowest = sorted(average, key=average.get)[:DROPPED]
    assert set(kept["dropped/position"]) == set(others[lowest])
    values = kept["drawn/weighted_loss"]
    assert values[others] == pytest.approx([average[i] for i in range(100)], rel=1e-5)
    assert np.isnan(values[kept["val/position"]]).all()
    rest = np.setdiff1d(np.arange(100), lowest)
    model = train(Method(), replace(given, train=given.train.select(torch.from_numpy(rest))))
    with torch.no_grad():
        logits = model(splits_of(experiment(), 0).tests["test"].x)
    assert np.array_equal(kept["test/last"], stored_logits(logits).numpy())


def test_samples_that_the_method_never_draws_are_dropped_first(experiment, store):
    @dataclass
    class Picks(Method):
        def batches(self, epoch):
            return self.task.batches(epoch, torch.arange(90))

    found = kept_arrays(one(experiment(Picks, recipe=SHORT), store), store)
    others = np.setdiff1d(np.arange(DRAWN), found["val/position"])
    assert set(others[90:]) < set(found["dropped/position"])
    assert (found["drawn/weighted_loss"][others[90:]] == 0).all()


def test_with_drop_none_and_random_the_runs_method_is_what_is_evaluated(experiment, store):
    for drop in ("none", "at_random"):
        result = one(experiment(Skewed, drop=drop), store)
        assert result.history["train/effective_sample_size"][-1] < 0.9
    assert one(experiment(Skewed), store).history["train/effective_sample_size"][-1] == pytest.approx(1)


def test_validation_paper_trains_on_the_validation_data_too_and_never_drops_them(experiment, store):
    for drop, size in (("weighted_loss", 126), ("at_random", 126), ("none", 140)):
        result = one(experiment(Skewed, "paper", drop=drop), store)
        found = kept_arrays(result, store)
        assert result.data.sizes["train"] == size == len(set(found["train/position"]))
        assert set(found["val/position"]) < set(found["train/position"])
        assert set(result.selected) == {"last"}


def test_balanced_validation_has_as_many_of_each_class(experiment, store):
    assert one(experiment(validation="balanced"), store).data.counts["val"] == [[20, 20]]
    assert one(experiment(), store).data.counts["val"] != [[20, 20]]


def test_methods_never_see_test_data_in_any_training(experiment, store):
    hidden = {tuple(row) for row in splits_of(experiment(), 0).tests["test"].x.tolist()}
    seen = []

    @dataclass
    class Peeking(Method):
        def setup(self):
            rows = {tuple(row) for split in (self.task.train, self.task.val) for row in split.x.tolist()}
            seen.append(len(rows & hidden))

    for drop in ("weighted_loss", "at_random", "none"):
        assert one(experiment(Peeking, drop=drop), store).ok
    assert seen == [0, 0, 0]


def test_the_protocol_is_given_no_test_data(experiment, store, monkeypatch):
    found, prepare = [], Pruning.prepare
    monkeypatch.setattr(Pruning, "prepare", lambda self, s, *rest: found.append(s) or prepare(self, s, *rest))
    assert one(experiment(), store).data.sizes["test"] == 60
    assert [(dict(s.tests), dict(s.probes)) for s in found] == [({}, {})]


def test_costs_tell_each_training_and_leave_out_the_one_that_is_the_same_for_all(experiment, store):
    """140, 100 and 86 samples in batches of 16 are 9, 7 and 6 steps."""
    costs = one(experiment(Skewed), store).costs
    forgetting, scoring = costs.stages
    assert [(s.name, s.steps, s.common) for s in costs.stages] == [
        ("forgetting", 36, True),
        ("scoring", 28, False),
    ]
    assert costs.steps == 28 + 24
    assert forgetting.seconds > 0
    assert costs.train_seconds == pytest.approx(scoring.seconds + 24 * costs.seconds_per_step, abs=2e-6)  # rounded
    assert one(experiment(Skewed, drop="none"), store).costs.steps == 28


def test_the_look_aheads_of_the_scoring_are_in_the_record(experiment, store):
    costs = one(experiment(METHODS["forml"].value), store).costs
    assert [choice.backend for choice in costs.meta_step] == ["reverse"]
    assert costs.meta_step == costs.stages[1].meta_step


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_what_scores(experiment, store, name):
    """Or says why it cannot be used on these data."""
    method = METHODS[name].value
    result = one(experiment(method, recipe=SHORT), store)
    if result.unfit:
        assert result.error.startswith("scoring: ")
    else:
        assert result.ok, result.error
        assert result.data.sizes["dropped"] == DROPPED


# Interrupts


class _Stop(Observer):
    """Interrupts at the beginning of a stage, or after an epoch of it."""

    def __init__(self, stage="", epoch=None):
        self.where, self.at, self.name, self.begun = stage, epoch, "", []

    def stage(self, name):
        self.name = name

    def begin(self, method, epoch):
        self.begun.append((self.name, epoch))
        if (self.name, None) == (self.where, self.at):
            raise KeyboardInterrupt

    def evaluated(self, row, speed):
        if (self.name, row["epoch"]) == (self.where, self.at):
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("stage", "epoch", "begun"),
    [
        ("forgetting", 3, [2]),
        ("scoring", None, [4, 0]),
        ("scoring", 3, [4, 2]),
        ("final", None, [4, 4, 0]),
        ("final", 3, [4, 4, 2]),
    ],
)
def test_an_interrupted_run_goes_on_in_its_stage_to_the_same_record(
    experiment, store, tmp_path, monkeypatch, stage, epoch, begun
):
    made = experiment(METHODS["forml"].value)
    whole = one(made, store)
    expected = kept_arrays(whole, store)
    store.path(whole.spec).unlink()
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        one(made, store, observer=_Stop(stage, epoch))
    watch = _Stop()
    again = one(made, store, observer=watch)
    names = ("forgetting", "scoring", "final")
    assert watch.begun == list(zip(names, begun + [0] * (3 - len(begun)), strict=True))
    assert again.reproducible() == whole.reproducible()
    found = kept_arrays(again, store)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name], equal_nan=True) for name in found)
    assert [s.steps for s in again.costs.stages] == [36, 28]
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_finished_stage_is_kept_however_quick_it_was(experiment, store, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        one(experiment(), store, observer=_Stop("final"))
    assert sorted(path.name.split(".")[-2] for path in (tmp_path / "checkpoints").iterdir()) == [
        "forgetting",
        "scoring",
    ]
    watch = _Stop()
    assert one(experiment(), store, observer=watch, resume=False).ok
    assert watch.begun == [("forgetting", 0), ("scoring", 0), ("final", 0)]


# Failures


def test_a_stage_that_fails_is_recorded_with_its_name(experiment, store, tmp_path):
    @dataclass
    class Exploding(Method):
        def weights(self, batch, losses):
            return torch.full_like(losses, math.nan)

    @dataclass
    class Picky(Method):
        def setup(self):
            raise NotApplicableError("picky needs images")

    diverged, unfit = one(experiment(Exploding), store), one(experiment(Picky), store)
    assert (diverged.status, diverged.history) == ("diverged", {})
    assert diverged.error.startswith("scoring: ")
    assert (unfit.unfit, unfit.error) == (True, "scoring: picky needs images")
    assert one(experiment(Exploding, drop="none"), store).error.startswith("the training loss")
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, r"protocol.fraction must be in \(0, 1\), not 0"),
        ({"fraction": 1.0}, r"protocol.fraction must be in \(0, 1\), not 1"),
        ({"decay": 1.0}, r"protocol.decay must be in \[0, 1\), not 1"),
        ({"decay": -0.1}, r"protocol.decay must be in \[0, 1\), not -0.1"),
        ({"drop": "none", "fraction": 0.2}, "protocol.fraction has no effect with protocol.drop=none"),
        ({"drop": "none", "decay": 0.5}, "protocol.decay has no effect with protocol.drop=none"),
        ({"drop": "at_random", "decay": 0.5}, "protocol.decay has no effect with protocol.drop=at_random"),
    ],
)
def test_wrong_options_are_told(make_dataset, options, message):
    with pytest.raises(OptionError, match=message):
        Pruning(**options).check(make_dataset([20]))


def test_a_data_set_with_validation_data_of_its_own_is_refused(make_dataset, make_split):
    with pytest.raises(ProtocolError, match="toy has a validation split of its own, which methods would never see"):
        Pruning().check(make_dataset([20], val=make_split([5])))


@pytest.mark.parametrize(
    ("options", "recipe", "message"),
    [
        ({}, {"val_size": 0}, "val_size must be at least 1"),
        ({"fraction": 0.5}, {}, "fraction=0.5 of 18 samples would drop 9, .* from 1 to 7, as 10 are held out"),
        ({"fraction": 0.01}, {}, "fraction=0.01 of 18 samples would drop 0, .* from 1 to 7, as 10 are held out"),
        (
            {"validation": "balanced"},
            {"val_size": 5},
            "multiple of 2 classes that leaves some of the 9 .* not 5",
        ),
        ({"validation": "balanced", "drop": "none"}, {"val_size": 17}, "multiple of 2 classes .* not 17"),
    ],
)
def test_too_few_samples_are_told_before_anything_is_trained(make_dataset, options, recipe, message):
    with pytest.raises(DataError, match=message):
        Pruning(**options).splits(
            make_dataset([20]), replace(Recipe(val_size=10, test_size=2), **recipe), RandomStreams((3,))
        )


def test_runs_are_not_stacked(experiment, store):
    with pytest.raises(OptionError, match="protocol pruning cannot train stacked runs: leave out --stack"):
        run(experiment(Plain), [0, 1], store, CPU, stacked=True)


# Tables


def test_the_rows_of_the_papers_table_stand_beside_ours(make_result):
    def row(method, **protocol_options):
        metrics, values = ("tprd", "max_fnr", "accuracy"), {"tprd": 0.5, "max_fnr": 0.5, "accuracy": 0.75}
        given = {"protocol": "pruning/1", "dataset": "cifar100", "protocol_options": protocol_options}
        return make_result(method, test=values, best=values, metrics=metrics, **given)

    rows = [row("erm", drop="none"), row("erm", drop="at_random"), row("forml", drop="none"), row("forml")]
    page = render(rows)["pruning-v1-cifar100.md"]
    printed = [tuple(line.split(" | ")[:4]) for line in page.splitlines() if "table5" in line]
    assert [(m.strip("| "), paper) for m, metric, paper, _ in printed if metric == "tprd"] == [
        ("forml", "43.8 ± 0.52"),
        ("erm", "46.8 ± 0.33"),
        ("erm", "46.0 ± 0.85"),
        ("forml", "46.4 ± 0.5367"),
    ]
