"""Stochastic weight averaging against means and BatchNorm passes by hand: what is evaluated, saved and recorded."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import Files, Method, RandomStreams, Trials
from bench.models.predict import predict
from bench.models.stack import unstack
from bench.predictions import stored_logits
from bench.registry import installed
from bench.runs.build import model_builder
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.runs.runner import run
from bench.store.results import ResultStore
from bench.testing import toy_task
from bench.training.checkpoints import Checkpoints
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from tests.experiments import kept_arrays

CPU = torch.device("cpu")
State = dict[str, Tensor]
AVERAGED = {"epochs": 5, "average_from": 0.4}  # what 2, 3, 4 and 5 epochs give


class States(NoEvaluations):
    """What is evaluated after each epoch."""

    def __init__(self):
        self.states: dict[int, State] = {}

    def __call__(self, model, epoch):
        self.states[epoch] = cloned(model)
        return {}


def cloned(model: nn.Module) -> State:
    return {name: t.clone() for name, t in model.state_dict().items()}


def evaluated(task, method=Method, checkpoint=None) -> tuple[dict[int, State], State]:
    """What is evaluated, by epoch, and what the training ends with."""
    states = States()
    with torch.random.fork_rng([]):
        model = method().fit(task, Meter(states, checkpoint=checkpoint))
    return states.states, cloned(model)


def normalised():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2))


def normalised_task(**recipe):
    return replace(toy_task(**recipe), new_model=normalised)


def close(found: State, expected: State, **tolerance) -> None:
    torch.testing.assert_close(found, expected, **tolerance)


def mean(states: list[State]) -> State:
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


@pytest.mark.parametrize("name", ["erm", "random", "l2rw", "forml", "meta_weight_net"])
def test_the_average_is_the_mean_of_the_parameters_at_the_ends_of_epochs(name):
    method = installed().find("methods", name).value
    plain, end = evaluated(toy_task(epochs=5), method)
    found, same_end = evaluated(toy_task(**AVERAGED), method)
    close(same_end, end, rtol=0, atol=0)  # training goes on with the model itself
    close(found[1], plain[1], rtol=0, atol=0)
    for epoch in range(2, 6):
        close(found[epoch], mean([plain[e] for e in range(2, epoch + 1)]), rtol=1e-6, atol=1e-7)


def test_the_average_does_not_depend_on_how_often_it_is_evaluated():
    often, _ = evaluated(normalised_task(**AVERAGED))
    seldom, _ = evaluated(normalised_task(**AVERAGED, evaluate_every=3))
    assert [*seldom] == [3, 5]
    for epoch in seldom:
        close(seldom[epoch], often[epoch], rtol=0, atol=0)


@pytest.mark.parametrize(("start", "first"), [(0.0, 1), (0.5, 3), (0.6, 3), (0.99, 5)])
def test_the_average_begins_after_its_fraction_of_the_training(start, first):
    plain, _ = evaluated(toy_task(epochs=5))
    found, _ = evaluated(toy_task(epochs=5, average_from=start))
    close(found[5], mean([plain[e] for e in range(first, 6)]), rtol=1e-6, atol=1e-7)


def test_the_statistics_of_batchnorm_are_made_anew_on_the_training_data():
    task = normalised_task(**AVERAGED)
    plain, end = evaluated(normalised_task(epochs=5))
    found, same_end = evaluated(task)
    close(same_end, end, rtol=0, atol=0)  # its own statistics too, and what its dropout drew
    parameters = mean([{n: t for n, t in plain[e].items() if t.is_floating_point()} for e in range(2, 6)])
    hidden = [b.x @ parameters["0.weight"].T + parameters["0.bias"] for b in task.batches(4)]
    assert [len(h) for h in hidden] == [16, 16, 16, 16, 6]
    close(
        {name: found[5][f"1.running_{name}"] for name in ("mean", "var")},
        {
            "mean": torch.stack([h.mean(0) for h in hidden]).mean(0),
            "var": torch.stack([h.var(0) for h in hidden]).mean(0),
        },
    )


def test_all_training_data_make_the_statistics_also_where_the_last_epoch_is_cut_short():
    task = normalised_task(epochs=None, steps=21, average_from=0.4)
    found, _ = evaluated(task)
    assert len(list(task.batches(4))) == 1
    assert found[5]["1.num_batches_tracked"] == 5


@pytest.mark.parametrize("start", [0.0, 0.4])
def test_preparation_is_not_averaged(start):
    @dataclass
    class Twice(Trials):
        def setup(self):
            self.plan(1)

    once, _ = evaluated(toy_task(average_from=start))
    twice, _ = evaluated(toy_task(average_from=start), Twice)
    close(twice, once, rtol=0, atol=0)


def test_the_fraction_is_that_of_the_epochs_that_a_method_evaluates():
    @dataclass
    class Longer(Method):
        def setup(self):
            self.training_epochs = 2 * self.task.epochs

        def recipe_epoch(self, epoch):
            return epoch // 2

    plain, _ = evaluated(toy_task(), Longer)
    found, _ = evaluated(toy_task(average_from=0.6), Longer)
    close(found[3], plain[3], rtol=0, atol=0)
    close(found[6], mean([plain[e] for e in (4, 5, 6)]), rtol=1e-6, atol=1e-7)


BOTH = {"schedule": "cyclical", "max_lr": 0.3, "cycle": 1.5, "epochs": 6, "average_from": 0.3}


@pytest.mark.parametrize("more", [{}, {"average_lr": 0.05}])
def test_a_resumed_training_ends_at_the_same_average(more, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)

    class Stopped(Method):
        def end_epoch(self, epoch):
            if epoch == 4:
                raise KeyboardInterrupt

    task, checkpoint = normalised_task(**BOTH, **more), tmp_path / "checkpoint"
    whole, end = evaluated(task)
    with pytest.raises(KeyboardInterrupt):
        evaluated(task, Stopped, checkpoint)
    resumed, resumed_end = evaluated(task, checkpoint=checkpoint)
    assert [*resumed] == [5, 6]
    close(resumed, {epoch: whole[epoch] for epoch in (5, 6)}, rtol=0, atol=0)
    close(resumed_end, end, rtol=0, atol=0)


def test_stacked_averages_are_those_of_single_runs():
    stacked = toy_task((0, 1), stacked=True, **BOTH)
    states, _ = evaluated(stacked)
    model = stacked.new_model()
    model.load_state_dict(states[6])
    for seed, single in enumerate(unstack(model)):
        close(single.state_dict(), evaluated(toy_task([seed], **BOTH))[0][6], rtol=1e-4, atol=1e-5)


def test_the_learning_rate_of_the_average_is_constant():
    task = toy_task(epochs=10, milestones=(0.2,), average_from=0.5, average_lr=0.07)
    assert [task.lr(epoch) for epoch in range(-1, 10)] == pytest.approx([0.1] * 3 + [0.01] * 3 + [0.07] * 5)


def test_the_record_is_that_of_the_average(tmp_path, monkeypatch):
    """The predictions kept for both selection rules are those of averages made by hand."""
    ends: list[State] = []
    monkeypatch.setattr(Method, "end_epoch", lambda self, epoch: ends.append(cloned(self.model)))
    options = {"recipe.average_from": 0.5, "recipe.epochs": 6, "recipe.lr": 0.02}
    experiment, store = resolve(Request("digits", "erm", options=options), Files(tmp_path)), ResultStore(tmp_path)
    (result,) = run(experiment, [0], store, CPU)
    kept = kept_arrays(result, store)
    splits = experiment.protocol.splits(experiment.dataset, experiment.recipe, RandomStreams((0,)))
    test = splits.tests["test"]

    def logits(states: list[State]) -> Tensor:
        model = model_builder(experiment, splits.train, RandomStreams((0,)), CPU)()
        model.load_state_dict(mean(states))
        return stored_logits(predict(model, test, 500)).float()

    for rule, chosen in result.selected.items():
        epoch = chosen.epoch
        assert epoch >= 3
        stored = torch.from_numpy(kept[f"test/{rule}"]).float()
        torch.testing.assert_close(stored, logits(ends[2:epoch]), rtol=2**-10, atol=1e-4)  # float16 has ten bits
    assert not np.allclose(kept["test/last"], logits(ends[5:]).numpy(), rtol=1e-2, atol=1e-2)
