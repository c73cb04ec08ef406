"""Duties of the meter, each by itself: seconds, the learning rate, and which model is evaluated."""

from types import SimpleNamespace

import pytest
import torch

from bench.errors import PluginError
from bench.meta import LookAhead
from bench.records.sections import MetaStep
from bench.testing import toy_task
from bench.training.history import EvaluatedModel, NoEvaluations, averages_after, evaluates_after
from bench.training.meter import Meter, Stopwatch, set_learning_rate
from bench.training.method import Method


def begun(**recipe):
    method = Method()
    method.begin(toy_task(**recipe))
    return method


@pytest.fixture
def clock():
    return SimpleNamespace(now=100.0)


def test_the_stopwatch_leaves_out_what_look_aheads_take_to_choose(clock):
    choice = SimpleNamespace(seconds=2.0)
    engines = [SimpleNamespace(choice=choice), SimpleNamespace(choice=None)]
    method = SimpleNamespace(task=SimpleNamespace(now=lambda: clock.now), engines=lambda: engines)
    stopwatch = Stopwatch()
    for took, chose in ((5.0, 0.0), (4.0, 1.5)):
        stopwatch.start(method)
        clock.now += took
        choice.seconds += chose
        stopwatch.stop(method)
        clock.now += 1000.0  # between epochs
    assert stopwatch.seconds == 5.0 + 4.0 - 1.5


def test_parameter_groups_keep_their_ratio_to_the_rate_of_the_recipe():
    """They used to become equal: groups at 0.001 and 0.5 both had 0.1."""
    method = begun(lr=0.1, gamma=0.1, milestones=(0.5,), epochs=4)
    method.optimizer.param_groups[0]["lr"] = 0.001
    method.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5})
    for epoch, rates in ((-1, (0.001, 0.5)), (0, (0.001, 0.5)), (2, (0.0001, 0.05)), (3, (0.0001, 0.05))):
        set_learning_rate(method, epoch)
        assert [group["lr"] for group in method.optimizer.param_groups] == pytest.approx(rates)


def test_every_optimizer_of_the_task_follows_the_schedule_and_no_other():
    """A second one never did."""
    method = begun(lr=0.5, gamma=0.1, milestones=(0.5,), epochs=4)
    second, own = method.task.optimizer(torch.nn.Linear(2, 2)), torch.optim.SGD(method.model.parameters(), 0.3)
    for epoch, rate in ((0, 0.5), (1, 0.5), (2, 0.05)):
        set_learning_rate(method, epoch)
        assert [o.param_groups[0]["lr"] for o in (method.optimizer, second, own)] == [rate, rate, 0.3]


def test_a_rate_that_would_be_overwritten_is_told():
    method = begun(lr=0.5, epochs=4)
    set_learning_rate(method, 0)
    method.optimizer.param_groups[0]["lr"] = 0.25
    with pytest.raises(PluginError, match=r"the learning rate 0\.25 that the method has set would be replaced"):
        set_learning_rate(method, 1)


def test_a_cyclical_rate_is_that_of_the_update():
    """Five updates an epoch, one cycle in two epochs: the highest rate is reached after five updates."""
    method = begun(schedule="cyclical", lr=0.1, max_lr=0.6, cycle=2, epochs=2)
    rates = []
    for step in range(5):
        set_learning_rate(method, 0, step)
        rates.append(method.optimizer.param_groups[0]["lr"])
    set_learning_rate(method, 1, 0)
    rates.append(method.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_evaluations_are_those_of_the_recipe_and_the_last_epoch():
    method = begun(epochs=7, evaluate_every=3, evaluate_at=(4,))
    assert [epochs for epochs in range(-2, 8) if evaluates_after(method, epochs)] == [3, 4, 6, 7]


def test_parameters_are_averaged_from_a_fraction_of_the_training_on():
    method = begun(epochs=8, average_from=0.75)
    assert [epochs for epochs in range(-2, 9) if averages_after(method, epochs)] == [6, 7, 8]
    assert not averages_after(begun(), 3)


def test_the_evaluated_model_is_the_mean_of_the_averaged_parameters():
    """The parameters are set to 1, 2, 3 and 4 in turn; the mean begins after the second epoch."""
    method = begun(epochs=4, evaluate_every=3, average_from=0.5)
    evaluated_model = EvaluatedModel()
    evaluated = {}
    for epochs in range(1, 5):
        with torch.no_grad():
            for parameter in method.model.parameters():
                parameter.fill_(epochs)
        model = evaluated_model.after(method, epochs)
        if model is not None:
            evaluated[epochs] = {value for p in model.parameters() for value in p.flatten().tolist()}
    assert evaluated == {3: {2.5}, 4: {3.0}}


def test_without_averaging_the_trained_model_itself_is_evaluated():
    method = begun(epochs=2, evaluate_every=1)
    assert EvaluatedModel().after(method, 1) is method.model


def test_a_poor_meta_gradient_is_told_once():
    notes = []
    observer = SimpleNamespace(note=notes.append, begin=lambda *_: None)
    meter = Meter(NoEvaluations(), observer)
    method = begun()
    method.engine = LookAhead(method.model)
    method.engine.choice = MetaStep("replay", float32_error=0.75)
    meter._method = method
    for _ in range(2):
        meter._note_warnings()
    assert len(notes) == 1 and "the meta-gradient is 0.75 off that in float32" in notes[0]
