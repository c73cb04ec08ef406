"""Methods that train more than once: what is preparation, what is evaluated, and that both can be resumed."""

from dataclasses import dataclass

import pytest
import torch

from bench import Batch, Method, NotApplicableError, Trials
from bench.testing import check_method, toy_task, train
from bench.training.history import NoEvaluations
from bench.training.meter import Meter


@dataclass
class TwoTrainings(Trials):
    """Weighs everything twice in its second training."""

    def setup(self):
        self.plan(1)
        self.scale = torch.ones(())
        self.ends = torch.zeros(0)

    def weights(self, batch, losses):
        return torch.ones_like(losses) * self.scale

    def end_trial(self, trial):
        self.ends = torch.cat([self.ends, torch.tensor([float(trial)])])
        self.scale.fill_(2.0)


@dataclass
class Warmed(Method):
    """Two epochs on half of the samples, from which training goes on."""

    stackable = False

    def setup(self):
        self.preparation_epochs = 2

    def batches(self, epoch):
        return self.task.batches(epoch, torch.arange(32) if epoch < 0 else None)


@dataclass
class Doubled(Method):
    """ERM with weights of 2."""

    def weights(self, batch, losses):
        return 2 * torch.ones_like(losses)


def same(a, b) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_last_training_begins_and_goes_as_if_it_were_the_only_one():
    method = TwoTrainings()
    assert same(train(method, toy_task()), train(Doubled(), toy_task()))
    assert method.ends.tolist() == [0]


@pytest.mark.parametrize("method", [TwoTrainings, Warmed])
def test_it_keeps_the_contract(method):
    check_method(method)


class Watched(NoEvaluations):
    def __init__(self):
        self.epochs = []

    def __call__(self, model, epoch):
        self.epochs.append(epoch)
        return {}


@pytest.mark.parametrize("evaluate_every", [1, 2])
def test_preparation_is_paid_for_and_not_evaluated(evaluate_every):
    watched, task = Watched(), toy_task(evaluate_every=evaluate_every)
    meter = Meter(watched)
    Warmed().fit(task, meter)
    assert watched.epochs == [[1, 2, 3], [2, 3]][evaluate_every - 1]
    assert meter.steps == 2 * 2 + 3 * 5
    assert [row["step"] for row in meter.history] == [[9, 14, 19], [14, 19]][evaluate_every - 1]


def test_the_learning_rate_of_preparation_is_that_of_the_first_epoch():
    rates = []

    @dataclass
    class Noting(Warmed):
        def update(self, batch: Batch):
            rates.append(self.optimizer.param_groups[0]["lr"])
            return super().update(batch)

    train(Noting(), toy_task(milestones=(0.5,)))
    assert rates == pytest.approx([0.1] * 2 * 2 + [0.1] * 2 * 5 + [0.01] * 5)


def test_batches_come_in_the_order_given():
    order = torch.tensor([3, 3, 0, 7, 1] * 5)
    batches = list(toy_task().batches(1, order))
    assert [len(b.y) for b in batches] == [16, 9]
    assert torch.equal(torch.cat([b.index for b in batches]), order)
    assert torch.equal(batches[0].y, toy_task().train.y[order[:16]])


def test_what_a_method_cannot_use_is_told_before_training():
    @dataclass
    class Picky(Method):
        def setup(self):
            raise NotApplicableError("picky needs images")

    with pytest.raises(NotApplicableError, match="picky needs images"):
        train(Picky(), toy_task())
