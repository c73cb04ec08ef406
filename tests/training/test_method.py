"""What a method may bring of its own: rates, what is evaluated, training data, trainings without steps."""

import copy
import math
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from bench.data.split import Split
from bench.errors import DivergedError, NotApplicableError, PluginError
from bench.records.sections import Costs
from bench.runs.runner import run
from bench.testing import toy_task
from bench.training.checkpoints import Checkpoints
from bench.training.history import NoEvaluations
from bench.training.losses import LOSSES
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.stages import run_training
from bench_plugins.methods.erm import ERM
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import CPU, Plain, one, toy_experiment


class Evaluated(NoEvaluations):
    """Remembers what was evaluated."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, epoch):
        self.seen.append((epoch, model))
        return {}


def trained(method, task=None, evaluator=None):
    meter = Meter(evaluator or NoEvaluations())
    run_training(method, task or toy_task(), meter)
    return meter


# Rates


@dataclass
class Cosine(Method):
    """It has a schedule of torch's for its optimiser, and says so."""

    says_so: bool = True

    def setup(self):
        self.rates = []
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, self.task.epochs)

    def learning_rate(self, epoch, step):
        return None if self.says_so else super().learning_rate(epoch, step)

    def end_epoch(self, epoch):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.schedule.step()


def test_a_schedule_of_the_methods_own_is_followed():
    """It was trained at a constant 0.1, and its row was that of ERM."""
    method = Cosine()
    meter = trained(method, toy_task(lr=0.1, epochs=3))
    assert method.rates == pytest.approx([0.1, 0.075, 0.025])
    assert meter.about == {"schedule": "the method's own"}


def test_a_schedule_that_is_not_told_of_is_refused():
    with pytest.raises(PluginError, match=r"the learning rates that CosineAnnealingLR sets would be replaced"):
        trained(Cosine(says_so=False), toy_task(lr=0.1, epochs=3))


class Warm(ERM):
    """A schedule that is over after the first epoch."""

    def setup(self):
        self.schedule = LambdaLR(self.optimizer, lambda epoch: 0.01 if epoch == 0 else 1.0)


class LowersOnce(ERM):
    """Without a schedule that could be seen."""

    def end_epoch(self, epoch):
        if epoch == 1:
            self.optimizer.param_groups[0]["lr"] = 0.05


@pytest.mark.parametrize("method", [Warm, LowersOnce])
def test_a_rate_is_never_replaced_in_silence(method, tmp_path, monkeypatch):
    """Nor by a resume, which puts the changed rate back."""

    monkeypatch.setattr(Checkpoints, "due", True)
    for _ in range(2):
        with pytest.raises(PluginError, match="would be replaced by the recipe's"):
            run_training(method(), toy_task(lr=0.1, epochs=4), Meter(NoEvaluations(), checkpoint=tmp_path / "c.pt"))


@pytest.mark.parametrize("rate", [-0.01, math.nan, math.inf, "0.1"])
def test_what_is_no_rate_is_refused(rate):
    class Odd(ERM):
        def learning_rate(self, epoch, step):
            return rate

    with pytest.raises(PluginError, match="`learning_rate` must return a finite number of at least 0, or None, not"):
        trained(Odd())


def test_rates_left_to_the_method_at_first_begin_later_at_the_recipes():
    class Sometimes(ERM):
        def setup(self):
            self.seen = []

        def learning_rate(self, epoch, step):
            return None if epoch == 0 else self.task.lr(epoch)

        def begin_epoch(self, epoch):
            self.seen.append(self.optimizer.param_groups[0]["lr"])
            if epoch == 0:
                self.optimizer.param_groups[0]["lr"] = 0.02

    method = Sometimes()
    trained(method, toy_task(lr=0.1, epochs=4, milestones=(0.5,)))
    assert method.seen == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("how", ["another optimizer", "another group", "another group with its rate"])
def test_what_is_made_after_a_milestone_has_the_present_rate(how):
    class Later(ERM):
        def setup(self):
            self.seen = []

        def begin_epoch(self, epoch):
            if epoch == 2:
                more = [torch.nn.Parameter(torch.zeros(1))]
                if how == "another optimizer":
                    self.optimizer = self.task.optimizer(self.model)
                else:
                    own = {"lr": 0.01} if how.endswith("its rate") else {}
                    self.optimizer.add_param_group({"params": more} | own)
            self.seen.append(self.optimizer.param_groups[-1]["lr"])

    method = Later()
    trained(method, toy_task(lr=0.1, epochs=4, milestones=(0.5,)))
    assert method.seen == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_no_rate_is_asked_for_after_the_last_step():
    """A table of rates, one for each step, is long enough."""

    class Table(ERM):
        def learning_rate(self, epoch, step):
            return ([0.1] * self.task.steps_of(epoch))[step]

    trained(Table())


def test_a_rate_for_each_step_needs_to_be_told_of_the_steps():
    class Quiet(ERM):
        def fit(self, task, meter):
            self.begin(task)
            for epoch in meter.epochs(self):
                for batch in self.batches(epoch):
                    self.update(batch)
            return self.evaluated()

    trained(Quiet())
    with pytest.raises(PluginError, match="changes from step to step, so `fit` must tell"):
        trained(Quiet(), toy_task(schedule="cyclical", max_lr=0.6))


@dataclass
class WarmUp(Method):
    """Its rate rises with each step of the first epoch."""

    def setup(self):
        self.rates = []

    def learning_rate(self, epoch, step):
        return 0.1 * min(1.0, (step + 1) / 5) if epoch == 0 else 0.1

    def update(self, batch):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return super().update(batch)


def test_a_rate_of_the_methods_own_is_asked_for_before_each_step():
    method = WarmUp()
    trained(method, toy_task(epochs=2))
    assert method.rates[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


def test_groups_of_parameters_keep_their_ratio_in_a_training():
    @dataclass
    class TwoRates(Method):
        def restart(self):
            self.model = self.task.new_model()
            first, *rest = self.model.parameters()
            self.optimizer = self.task.optimizer([{"params": [first], "lr": 0.001}, {"params": rest, "lr": 0.5}])
            self.rates = []

        def end_epoch(self, epoch):
            self.rates.append([group["lr"] for group in self.optimizer.param_groups])

    method = TwoRates()
    trained(method, toy_task(lr=0.1, gamma=0.1, milestones=(0.5,), epochs=2))
    assert method.rates == [pytest.approx([0.001, 0.5]), pytest.approx([0.0001, 0.05])]


# What is evaluated


@dataclass
class Averaged(Method):
    """A moving average of the parameters is evaluated."""

    def setup(self):
        self.average = copy.deepcopy(self.model)
        self.begun = []

    def begin_epoch(self, epoch):
        self.begun.append(epoch)

    def end_epoch(self, epoch):
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(new, 0.5)

    def evaluated(self):
        return self.average


def test_what_the_method_says_is_evaluated():
    method, evaluator = Averaged(), Evaluated()
    meter = trained(method, toy_task(epochs=3), evaluator)
    assert [epoch for epoch, _ in evaluator.seen] == [1, 2, 3]
    assert {id(model) for _, model in evaluator.seen} == {id(method.average)} == {id(meter.evaluated)}
    assert method.begun == [0, 1, 2]
    plain, mean = Method(), None
    plain.begin(toy_task(epochs=3))
    mean = [p.detach().clone() for p in plain.model.parameters()]
    for epoch in range(3):
        for batch in plain.batches(epoch):
            plain.update(batch)
        mean = [0.5 * m + 0.5 * p.detach() for m, p in zip(mean, plain.model.parameters(), strict=True)]
    for expected, found in zip(mean, method.average.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_average_of_the_recipe_is_of_what_the_method_says():
    method, evaluator = Averaged(), Evaluated()
    trained(method, toy_task(epochs=2, average_from=0.5), evaluator)
    states = []
    again = Averaged()
    again.begin(toy_task(epochs=2))
    for epoch in range(2):
        for batch in again.batches(epoch):
            again.update(batch)
        again.end_epoch(epoch)
        states.append([p.clone() for p in again.average.parameters()])
    for one_, two, found in zip(*states, evaluator.seen[-1][1].parameters(), strict=True):
        torch.testing.assert_close(found, (one_ + two) / 2)


class Estimator(nn.Module):
    """Class means of the inputs, which has no parameter: the logits are the negative squared distances."""

    def __init__(self, split, classes):
        super().__init__()
        means = [split.x[split.y == c].mean(0) for c in range(classes)]
        self.register_buffer("means", torch.stack(means))

    def forward(self, x):
        return -(x.unsqueeze(-2) - self.means).square().sum(-1)


@dataclass
class Nearest(Method):
    """The nearest class mean: a fit without steps, for a model without parameters."""

    differentiable = False

    def restart(self):
        self.model = nn.Identity()

    def setup(self):
        self.training_epochs = 1

    def fit(self, task, meter):
        self.begin(task)
        for _ in meter.epochs(self):
            self.model = Estimator(task.train, len(task.classes))
        return self.evaluated()


RECIPE = {"protocol": "group_fairness", "lr": 0.05, "epochs": 2, "batch_size": 16, "val_size": 40, "test_size": 60}


def experiment(method, protocol=None, **recipe):
    from bench.recipe import Recipe

    return toy_experiment(Recipe(**RECIPE | recipe), protocol or GroupFairness(), method, "shared", {}, {}, ("a", "b"))


def test_a_training_without_steps_and_a_model_without_parameters_are_recorded(store):
    result = one(experiment(Nearest), store)
    assert result.status == "ok"
    assert (result.costs.steps, result.costs.parameters, result.costs.seconds_per_step) == (0, 0, None)
    assert result.history["epoch"] == [1] and not [name for name in result.history if name.startswith("train/")]
    made = experiment(Nearest)
    from bench.runs.build import splits_of

    splits = splits_of(made, 0)
    model = Estimator(splits.train, 2)
    right = (model(splits.tests["test"].x.float()).argmax(-1) == splits.tests["test"].y).double().mean().item()
    assert result.selected["last"].metrics["test"]["accuracy"] == pytest.approx(right)


def test_a_protocol_that_takes_gradients_is_not_for_a_model_without(store):
    class Attacking(GroupFairness):
        name = "attacking"
        needs_gradient = True

    result = one(experiment(Nearest, Attacking()), store)
    assert result.status == "not applicable"
    assert "the protocol attacking takes the gradient of the trained model" in result.error


# Costs


def test_what_is_not_an_epoch_is_timed_apart(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("bench.training.task.time.perf_counter", lambda: clock[0])

    @dataclass
    class Slow(Method):
        def training_data(self, task):
            clock[0] += 2.0
            return super().training_data(task)

        def setup(self):
            clock[0] += 3.0

        def begin_epoch(self, epoch):
            clock[0] += 5.0

        def fit(self, task, meter):
            model = super().fit(task, meter)
            clock[0] += 7.0
            return model

    meter = trained(Slow(), toy_task(epochs=2))
    assert (meter.seconds, meter.outside_seconds) == (10.0, {"setup": 5.0, "end": 7.0})


def test_all_seconds_of_a_training_are_its_cost():
    costs = Costs.read(
        {"train_seconds": 10.0, "steps": 1, "seconds_per_step": 10.0, "parameters": 1, "peak_memory_bytes": None}
        | {"peak_process_bytes": None, "stacked": 1, "threads": 1, "outside_seconds": {"setup": 5.0, "end": 7.0}}
    )
    assert costs.all_seconds == 22.0


# Training data


@dataclass
class Doubled(Method):
    """Trains on the second half of its data, and on copies of the first five samples, moved a little."""

    def training_data(self, task):
        half = torch.arange(len(task.train) // 2, len(task.train))
        kept = task.train.select(half).with_origin(half)
        made = task.train.select(torch.arange(5))
        made = replace(made, x=made.x + 0.01).with_origin(torch.full((5,), -1))
        return Split.cat([kept, made])


def test_training_data_of_the_methods_own_are_trained_on_and_told():
    method, shown = Doubled(), []

    class Seen:
        def __call__(self, samples):
            shown.append(samples)

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    task = toy_task(epochs=1)
    meter = Meter(NoEvaluations(), watch=Seen())
    run_training(method, task, meter)
    assert len(method.task.train) == 40 and meter.samples == 40
    assert sorted(shown[0].index.tolist()) == list(range(35, 70))  # positions in what it was given
    assert torch.equal(task.train.y[shown[0].index], shown[0].y)
    assert meter.about == {"training samples": "40, of which 5 were made"}


def test_training_data_without_their_origin_are_refused():
    @dataclass
    class Silent(Method):
        def training_data(self, task):
            return task.train.select(torch.arange(10))

    with pytest.raises(PluginError, match=r"must say where each sample comes from: split\.with_origin"):
        trained(Silent())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda split: split.x, "must be a bench.Split, not Tensor"),
        (lambda split: replace(split, x=split.x / 0), "inputs that are not finite"),
        (lambda split: replace(split, y=split.y + 7), "a class outside"),
        (lambda split: replace(split, x=split.x[:, :1]), "inputs of another shape"),
        (lambda split: split.select(torch.arange(0)), "is empty"),
    ],
)
def test_training_data_that_break_a_rule_of_all_data_are_refused(wrong, told):
    class Wrong(Method):
        def training_data(self, task):
            return wrong(task.train)

    with pytest.raises(PluginError, match=f"`training_data`: the split that it returns .*{told}"):
        trained(Wrong())


def test_a_budget_in_steps_holds_with_training_data_of_another_size():
    """Doubled data make half as many epochs, and the milestone at half of the steps is reached."""

    class Doubled(ERM):
        def training_data(self, task):
            once = task.train.with_origin(torch.arange(len(task.train)))
            return Split.cat([once, once])

    method = Doubled()
    task = toy_task(epochs=None, steps=12, batch_size=14, lr=0.1, milestones=(0.5,))  # 70 samples
    meter = trained(method, task)
    assert (meter.steps, method.training_epochs, task.epochs) == (12, 2, 3)
    assert method.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize("when", ["setup", "begin_epoch"])
def test_other_data_in_the_task_are_refused(when):
    class Replaces(ERM):
        def setup(self):
            self.change("setup")

        def begin_epoch(self, epoch):
            self.change("begin_epoch")

        def change(self, now):
            if now == when:
                self.task = replace(self.task, train=self.task.train.select(torch.arange(20)))

    with pytest.raises(PluginError, match=r"has put other data into self\.task.*let `training_data` return"):
        trained(Replaces())


@pytest.mark.parametrize(
    ("name", "number"), [("preparation_epochs", -2), ("training_epochs", 0), ("training_epochs", 2.5)]
)
def test_numbers_of_epochs_that_are_none_are_refused(name, number):
    class Odd(ERM):
        def setup(self):
            setattr(self, name, number)

    with pytest.raises(PluginError, match=f"{name} must be a whole number of at least [01], not {number}"):
        trained(Odd())


def singles(split: Split) -> list[Split]:
    return [split.select(torch.tensor(run)) for run in range(len(split.y))]


def test_training_data_of_stacked_runs_are_counted_and_told_by_run():
    class Resampled(Plain):
        def training_data(self, task):
            order = torch.stack([torch.arange(20), torch.arange(20) + 20])
            runs = [split.select(rows) for split, rows in zip(singles(task.train), order, strict=True)]
            made = Split.stack(runs)
            return made.with_origin(torch.where(torch.arange(20) < torch.tensor([[3], [5]]), -1, order))

        def weights(self, batch, losses):
            return 1.0 + batch.index / 20

    meter = trained(Resampled(), toy_task((0, 1), stacked=True))
    assert meter.about == {"training samples": "20, of which 3 to 5 were made"}
    origins = [meter.arrays(run)["train/origin"].tolist() for run in (0, 1)]
    assert origins == [[-1] * 3 + list(range(3, 20)), [-1] * 5 + list(range(25, 40))]


# Diagnostics, and what is told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mine": torch.zeros(2)}, "one number, or one for each stacked run"),
        ({"mine": 0.5}, "name -> tensor"),
        (None, "must return a dictionary"),
        ({"loss": torch.zeros(())}, "must not return 'loss': the record has a value of that name"),
    ],
)
def test_diagnostics_that_a_record_cannot_hold_are_refused(values, told):
    class Odd(ERM):
        def diagnostics(self):
            return values

    with pytest.raises(PluginError, match=f"`diagnostics` .*{told}"):
        trained(Odd())


def test_diagnostics_may_begin_later(store):
    class Late(ERM):
        def end_epoch(self, epoch):
            self.late = {"late": torch.tensor(float(epoch))} if epoch > 0 else {}

        def diagnostics(self):
            return self.late

    history = one(experiment(Late), store).history
    assert len({len(column) for column in history.values()}) == 1
    assert [value for value in history["train/late"] if value == value] == [1.0]


def test_about_tells_of_every_difference_whatever_the_method_adds():
    class Told(ERM):
        def setup(self):
            self.preparation_epochs = 2
            self.task = replace(self.task, recipe=replace(self.task.recipe, lr=0.3))

        def about(self):
            return {"why": "because"}

    assert trained(Told()).about == {"preparation epochs": "2", "recipe.lr": "0.3", "why": "because"}


def test_an_optimizer_is_told_as_it_began_or_at_least_that_it_is_not_the_recipes():
    class Own(ERM):
        def restart(self):
            super().restart()
            self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1)

        def end_epoch(self, epoch):
            self.optimizer.param_groups[0]["lr"] *= 0.5

    class Hidden(ERM):
        def fit(self, task, meter):
            self.begin(task)
            optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
            for epoch in meter.epochs(self):
                for batch in self.batches(epoch):
                    optimizer.zero_grad()
                    self.losses(batch).mean().backward()
                    optimizer.step()
            return self.evaluated()

    assert trained(Own()).about == {"optimizer": "SGD (lr 0.1)"}
    assert trained(Hidden()).about == {"optimizer": "none of the recipe's"}


@pytest.mark.parametrize("about", [["a"], None])
def test_an_about_that_is_no_dictionary_is_refused(about):
    with pytest.raises(PluginError, match="`about` must return a dictionary"):
        trained(type("Odd", (ERM,), {"about": lambda self: about})())


def test_weights_that_are_not_finite_are_a_divergence():
    with pytest.raises(DivergedError):
        trained(type("Odd", (ERM,), {"update": lambda self, batch: (torch.ones(len(batch.y)), batch.y / 0 * 0)})())


# Averages


def test_there_is_no_average_of_what_has_no_parameters_or_a_state_of_another_kind():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return 1

        def set_extra_state(self, state):
            pass

    for module, told in ((nn.Identity(), "Identity has none"), (Extra(3, 2), "Extra has other state too")):
        kind = type("Odd", (ERM,), {"evaluated": lambda self, module=module: module})
        with pytest.raises(NotApplicableError, match=f"averages parameters .average_from., and {told}"):
            trained(kind(), toy_task(average_from=0.5))


def test_the_average_of_another_module_is_resumed(tmp_path, monkeypatch):
    """`evaluated` is not the trained model."""

    class Moving(ERM):
        def setup(self):
            self.average = AveragedModel(self.model)

        def end_epoch(self, epoch):
            self.average.update_parameters(self.model)

        def evaluated(self):
            return self.average

    class Stops(Meter):
        def save(self):
            super().save()
            if self._epoch == 3:
                raise KeyboardInterrupt

    def ended(kind, path):
        meter = kind(NoEvaluations(), checkpoint=path)
        run_training(Moving(), toy_task(epochs=4, average_from=0.5), meter)
        return meter.evaluated.state_dict()

    monkeypatch.setattr(Checkpoints, "due", True)
    with pytest.raises(KeyboardInterrupt):
        ended(Stops, tmp_path / "c.pt")
    resumed, whole = ended(Meter, tmp_path / "c.pt"), ended(Meter, None)
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


# One forward pass


def test_the_logits_of_a_step_are_computed_once_and_reach_all_parts():
    passes, steps = [], []

    @dataclass
    class Confident(Method):
        def forward(self, x):
            passes.append(1)
            return super().forward(x)

        def weights(self, batch, losses):
            steps.append((batch.epoch, batch.number))
            return batch.logits.detach().softmax(-1).amax(-1)

        def objective(self, batch, losses, weights):
            return (weights * losses).mean() + 0.01 * batch.logits.square().mean()

    trained(Confident(), toy_task(epochs=2))
    assert len(passes) == len(steps) == 10
    assert steps == [(epoch, number) for epoch in range(2) for number in range(5)]


def test_features_reach_a_method_that_asks_for_them():
    seen = []

    @dataclass
    class Featured(Method):
        uses_features = True

        def weights(self, batch, losses):
            head = self.model[2]
            seen.append(torch.allclose(head(batch.features), batch.logits))
            return torch.ones_like(losses)

    trained(Featured(), toy_task(epochs=1))
    assert seen == [True] * 5

    @dataclass
    class Undeclared(Featured):
        uses_features = False

    with pytest.raises(PluginError, match="uses_features = True"):
        trained(Undeclared(), toy_task(epochs=1))


def test_a_step_with_other_inputs_has_another_forward_pass():
    @dataclass
    class Shifted(Method):
        def losses(self, batch):
            return super().losses(batch._replace(x=batch.x + 1))

    method = Shifted()
    method.begin(toy_task())
    batch = next(method.batches(0))
    expected = method.task.loss(method.model(batch.x + 1), batch.y)
    assert torch.equal(method.losses(method.as_step(batch)), expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("lead", [(), (3,)])
def test_labels_may_be_probabilities(loss, lead):
    """The expected loss over classes drawn by them; one-hot labels give the loss of the class."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(*lead, 6, 4, generator=g)
    p = torch.rand(*lead, 6, 4, generator=g).softmax(-1)
    each = [LOSSES[loss](logits, torch.full((*lead, 6), c)) for c in range(4)]
    torch.testing.assert_close(LOSSES[loss](logits, p), sum(p[..., c] * each[c] for c in range(4)))
    y = torch.randint(0, 4, (*lead, 6), generator=g)
    torch.testing.assert_close(LOSSES[loss](logits, nn.functional.one_hot(y, 4).float()), LOSSES[loss](logits, y))


# What it declares


def test_stacking_has_to_be_declared(store):
    with pytest.raises(Exception, match="cannot train stacked runs"):
        run(experiment(Method), [0, 1], store, CPU, stacked=True)
    assert [result.ok for result in run(experiment(ERM), [0, 1], store, CPU, stacked=True)] == [True, True]


def test_an_optimizer_that_is_not_the_recipes_is_told(store):
    @dataclass
    class Own(Method):
        """Its optimiser is another one than the recipe's."""

        def restart(self):
            self.model = self.task.new_model()
            self.optimizer = torch.optim.RMSprop(self.model.parameters(), lr=0.01, momentum=0.5)

    result = one(experiment(Own), store)
    assert result.about.used == {"optimizer": "RMSprop (lr 0.01, momentum 0.5)"}
    assert one(experiment(ERM), store).about.used == {}


def test_the_rate_that_is_told_is_the_first_one():
    """It was what the schedule had come to at the end."""

    @dataclass
    class Annealed(Cosine):
        def restart(self):
            self.model = self.task.new_model()
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)

    assert trained(Annealed(), toy_task(epochs=3)).about["optimizer"] == "SGD (lr 0.5)"


def test_the_watch_of_a_protocol_needs_steps():
    class Never:
        def __call__(self, samples):
            raise AssertionError

        def state_dict(self):
            return {}

    meter = Meter(NoEvaluations(), watch=Never())
    with pytest.raises(NotApplicableError, match="looks at the samples of each step, and the method makes none"):
        run_training(Nearest(), toy_task(), meter)


# What is drawn from the generators of the process


class Drawing(ERM):
    """Draws from all of them, before the training and in it."""

    name = "drawing"

    def setup(self):
        self.drawn = [_draws()]

    def begin_epoch(self, epoch):
        self.drawn.append(_draws())


def _draws():
    return [torch.rand(()).item(), np.random.rand(), random.random()]


def test_what_a_method_draws_from_the_generators_of_the_process_depends_on_its_seed_alone():
    drawn = []
    for ambient, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(ambient)
        np.random.seed(ambient)
        random.seed(ambient)
        method = Drawing()
        trained(method, toy_task((seed,)))
        drawn.append(method.drawn)
    assert drawn[0] == drawn[1]
    assert all(one != other for row in zip(drawn[1], drawn[2], strict=True) for one, other in zip(*row, strict=True))
