"""Diagnostics of weights beside loops over samples, scipy and closed forms."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from bench import Batch, Files, Method
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.runs.runner import run
from bench.store.results import ResultStore
from bench.testing import toy_task, train
from bench.training.checkpoints import Checkpoints
from bench.training.diagnostics import MAX_LABELS, Diagnostics, Samples, churn, correlation, entropy, gradient_norm
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from tests.experiments import kept_arrays


@dataclass
class Drawn(Method):
    """A weight for each sample that changes with each epoch, and keeps what was seen."""

    capturable = True

    def setup(self):
        g = torch.Generator().manual_seed(0)
        self.w = torch.rand(self.task.train.y.shape, generator=g)
        self.seen = []

    def update(self, batch):
        losses, weights = super().update(batch)
        self.seen.append((batch, losses, weights))
        return losses, weights

    def weights(self, batch: Batch, losses):
        return self.w.gather(-1, batch.index)

    def end_epoch(self, epoch):
        self.w.copy_(self.w.roll(1, -1))


def trained(method, task, meter=Meter, **more):
    """The meter after a training."""
    found = meter(NoEvaluations(), **more)
    with torch.random.fork_rng([]):
        method.fit(task, found)
    return found


def test_shares_and_losses_of_classes_and_groups_beside_a_loop():
    method = Drawn()
    history = trained(method, toy_task(epochs=1)).history
    samples = [
        (y, g, loss, weight)
        for batch, losses, weights in method.seen
        for y, g, loss, weight in zip(*(t.tolist() for t in (batch.y, batch.group, losses, weights)), strict=True)
    ]
    assert len(samples) == 70
    for what, place in (("class", 0), ("group", 1)):
        for label in (0, 1):
            own = [sample for sample in samples if sample[place] == label]
            share = sum(s[3] for s in own) / sum(s[3] for s in samples)
            loss = sum(s[2] for s in own) / len(own)
            assert history[0]["train"][f"weight_share/{what}{label}"] == [pytest.approx(share, rel=1e-12)]
            assert history[0]["train"][f"loss/{what}{label}"] == [pytest.approx(loss, rel=1e-12)]


def test_entropy_and_correlation_beside_scipy():
    g = torch.Generator().manual_seed(0)
    weights, losses = torch.rand(2, 3, 40, generator=g).unbind()
    for i in range(3):
        w, loss = weights[i].double().numpy(), losses[i].double().numpy()
        assert entropy(weights)[i].item() == pytest.approx(stats.entropy(w, base=40), rel=1e-12)
        assert correlation(weights, losses)[i].item() == pytest.approx(stats.pearsonr(w, loss).statistic, rel=1e-12)


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_equal_weights(weight):
    weights, losses = torch.full((7,), weight), torch.arange(7.0)
    assert entropy(weights).item() == pytest.approx(1, abs=1e-12)
    assert correlation(weights, losses).isnan()
    assert correlation(losses, -losses).item() == pytest.approx(-1, abs=1e-12)


def test_entropy_of_one_sample_is_0_and_of_what_is_no_distribution_undefined():
    assert entropy(torch.tensor([0.0, 3.0, 0.0])) == 0
    assert entropy(torch.tensor([1.0, -1.0, 3.0])).isnan()
    assert entropy(torch.zeros(3)).isnan()


def test_churn_is_the_share_of_the_weight_that_moves():
    before = torch.tensor([1.0, 1.0, 1.0, 1.0, math.nan])
    assert churn(before, 5 * before) == 0
    assert churn(before, torch.tensor([2.0, 1.0, 1.0, 0.0, 9.0])) == 0.25
    assert churn(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 8.0])) == 1
    assert churn(before * math.nan, before).isnan()


def test_churn_is_that_since_the_evaluation_before():
    method = Drawn()
    values = [row["train"]["weight_churn"][0] for row in trained(method, toy_task(epochs=4, evaluate_every=2)).history]
    w = torch.rand(70, generator=torch.Generator().manual_seed(0)).double().numpy()
    assert math.isnan(values[0])
    second, fourth = np.roll(w, 1) / w.sum(), np.roll(w, 3) / w.sum()
    assert values[1] == pytest.approx(np.abs(second - fourth).sum() / 2, rel=1e-6)


def samples(weights, index):
    batch = Batch(torch.zeros(len(index), 3), *(torch.zeros(len(index), dtype=torch.int64) for _ in range(2)), index)
    return Samples.of(batch, torch.zeros(len(index)), torch.tensor(weights))


def test_weights_of_samples_that_are_drawn_twice_or_not_at_all():
    diagnostics, task = Diagnostics(), toy_task()
    task = replace(task, train=task.train.select(torch.arange(4)))
    diagnostics([samples([1.0, 3.0], torch.tensor([0, 2])), samples([2.0], torch.tensor([0]))], task)
    torch.testing.assert_close(diagnostics.weights, torch.tensor([1.5, math.nan, 3, math.nan]), equal_nan=True)
    diagnostics([samples([5.0], torch.tensor([3]))], task)
    torch.testing.assert_close(diagnostics.weights, torch.tensor([1.5, math.nan, 3, 5]), equal_nan=True)


def test_the_gradient_norm_is_that_of_the_last_update():
    @dataclass
    class Watching(Method):
        def end_epoch(self, epoch):
            self.norm = torch.cat([p.grad.flatten() for p in self.model.parameters()]).double().norm().item()

    method = Watching()
    history = trained(method, toy_task()).history
    assert history[-1]["train"]["gradient_norm"] == [pytest.approx(method.norm, rel=1e-12)]
    assert gradient_norm(nn.Linear(2, 3), stacked=False).isnan()


def test_a_plain_step_moves_the_parameters_by_the_norm_times_the_rate():
    task = toy_task(epochs=None, steps=1, lr=0.5, momentum=0.0)
    before = torch.cat([p.detach().flatten() for p in task.new_model().parameters()])
    method = Method()
    (row,) = trained(method, task).history
    after = torch.cat([p.detach().flatten() for p in method.model.parameters()])
    assert row["train"]["gradient_norm"][0] == pytest.approx((after - before).norm().item() / 0.5, rel=1e-5)


def same(a, b):
    """Equal histories, in which NaN is equal to itself."""
    return repr(a) == repr(b)


@dataclass
class Weighted(Method):
    """Weights that a recorded update sees."""

    capturable = True

    def weights(self, batch, losses):
        return losses.detach() / losses.detach().mean(-1, keepdim=True)


@pytest.mark.parametrize("stacked", [False, True])
def test_recorded_updates_leave_the_same_diagnostics(stacked):
    task = toy_task((0, 1) if stacked else (0,), stacked)
    plain = trained(Weighted(), task)
    method = Weighted()
    replayed = trained(method, replace(task, capture=True))
    assert method.capture.captured
    assert same(plain.history, replayed.history)


def test_stacked_runs_have_the_diagnostics_of_single_runs():
    stacked = trained(Weighted(), toy_task((0, 1), stacked=True)).history
    for seed in (0, 1):
        for row, single in zip(stacked, trained(Weighted(), toy_task((seed,))).history, strict=True):
            assert row["train"].keys() == single["train"].keys()
            for name, (value,) in single["train"].items():
                assert row["train"][name][seed] == pytest.approx(value, rel=1e-3, abs=1e-5, nan_ok=True), name


def test_a_resumed_training_has_the_same_diagnostics(tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    whole, checkpoint = trained(Weighted(), toy_task(epochs=4)), tmp_path / "checkpoint.pt"

    @dataclass
    class Stopped(Weighted):
        def end_epoch(self, epoch):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Stopped(), toy_task(epochs=4), checkpoint)
    resumed = trained(Weighted(), toy_task(epochs=4), checkpoint=checkpoint)
    assert same(whole.history, resumed.history)
    assert np.array_equal(whole.arrays(0)["train/weight"], resumed.arrays(0)["train/weight"])


def test_many_classes_have_no_columns_of_their_own():
    task = replace(toy_task(epochs=1), classes=tuple(map(str, range(MAX_LABELS + 1))))
    (row,) = trained(Method(), task).history
    assert {name for name in row["train"] if "/" in name} == {
        f"{part}/group{g}" for part in ("loss", "weight_share") for g in (0, 1)
    }


def test_groups_that_are_the_classes_are_recorded_once():
    (row,) = trained(Method(), replace(toy_task(epochs=1), groups=("no", "yes"))).history
    assert not [name for name in row["train"] if "group" in name]


def test_the_last_weights_are_kept_with_class_and_group_where_they_differ():
    assert trained(Method(), toy_task()).arrays(0) == {}
    task = toy_task((0, 1), stacked=True)
    method = Drawn()
    kept = trained(method, task).arrays(1)
    last = method.w[1].roll(-1)  # it was turned once more after the last step
    assert np.array_equal(kept["train/weight"], last.numpy().astype(np.float16))
    assert np.array_equal(kept["train/y"], task.train.y[1]) and np.array_equal(kept["train/group"], task.train.group[1])
    assert [kept[f"train/{part}"].dtype for part in ("weight", "y", "group")] == ["float16", "uint8", "uint8"]


def test_a_kept_weight_beyond_float16_is_its_largest_number():
    @dataclass
    class Heavy(Drawn):
        def weights(self, batch, losses):
            return super().weights(batch, losses) * 1e6

    method = Heavy()
    kept = trained(method, toy_task()).arrays(0)["train/weight"]
    expected = (method.w.roll(-1) * 1e6).clamp(max=65504).numpy().astype(np.float16)
    assert np.array_equal(kept, expected) and kept.max() == 65504


def test_probes_are_kept_at_the_epochs_that_are_asked_for(tmp_path):
    """Moons: a grid, on which a model's probability of class 1 is drawn as it changes."""
    options = {"recipe.epochs": 5, "recipe.evaluate_every": 4, "recipe.evaluate_at": (1, 3), "recipe.select": "ece"}
    experiment = resolve(Request("moons", "erm", model="logistic", options=options), Files(tmp_path))
    store = ResultStore(tmp_path / "results")
    store.check_writable()
    results = run(experiment, [0, 1], store, torch.device("cpu"), stacked=True)
    for result in results:
        assert result.history["epoch"] == [1, 3, 4, 5]
        kept = kept_arrays(result, store)
        names = {name for name in kept if name.startswith("grid/")}
        assert names == {f"grid/{n}" for n in ("x", "last", "best_val_ece", "positive/1", "positive/3")}
        assert kept["grid/last"].dtype == np.float16
        positive = kept["grid/positive/3"]
        assert positive.dtype == np.float16 and positive.shape == kept["grid/last"].shape[:1]
        fraction = result.history["grid/fraction_positive"][1]
        assert (positive.astype(float) > 0.5).mean() == pytest.approx(fraction, abs=0.01)  # but where float16 is 0.5
    columns = kept["grid/x"].reshape(50, 50, 2)  # row by row
    assert (columns[:, 0, 0] == columns[0, 0, 0]).all() and (np.diff(columns[0, :, 0]) > 0).all()
    train_x = experiment.dataset.train.x
    assert (columns[0, 0] < train_x.amin(0).numpy()).all() and (columns[-1, -1] > train_x.amax(0).numpy()).all()
