"""Methods that train, look, and train again: cRT, DFR and JTT against loops and scikit-learn."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import NotApplicableError, OptionError, Split, Task
from bench.models.heads import features, output_layers
from bench.models.predict import predict
from bench.testing import check_method, toy_task, train
from bench.training.checkpoints import Checkpoints
from bench.training.meter import Meter
from bench.training.weights import drawn_order, label_balanced
from bench_plugins.methods.classifier_retraining import ClassifierRetraining
from bench_plugins.methods.deep_feature_reweighting import DeepFeatureReweighting
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.jtt import JTT
from tests.claims import gains, worst_group_accuracy
from tests.literal import new_conv
from tests.literal import task as three_classes

TWO_STAGE = [ClassifierRetraining, DeepFeatureReweighting, JTT]


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[name]) for name, v in a.state_dict().items())


@pytest.mark.parametrize("method", TWO_STAGE)
def test_it_keeps_the_contract(method):
    check_method(method)


def interrupted(epoch: int) -> type[Meter]:
    class Interrupted(Meter):
        def epochs(self, method):
            for now in super().epochs(method):
                if now == epoch:
                    raise KeyboardInterrupt
                yield now

    return Interrupted


@pytest.mark.parametrize(
    ("method", "options", "first", "last"),
    [
        (ClassifierRetraining, {"epochs": 2}, -2, 1),
        (DeepFeatureReweighting, {}, -1, 0),
        (JTT, {"identification_epochs": 2}, -1, 2),
    ],
)
def test_resumed_at_any_epoch_it_ends_at_the_same_bits(method, options, first, last, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    task = toy_task(optimizer="adam", lr=0.01)
    expected = train(method(**options), task)
    for epoch in range(first, last + 1):
        checkpoint = tmp_path / f"{epoch}.pt"
        with pytest.raises(KeyboardInterrupt):
            train(method(**options), task, checkpoint, interrupted(epoch))
        assert equal(train(method(**options), task, checkpoint), expected)


def test_without_a_head_those_that_train_one_are_not_applicable():
    task = dataclasses.replace(toy_task(), new_model=lambda: nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1)))
    for method in (ClassifierRetraining, DeepFeatureReweighting):
        with pytest.raises(NotApplicableError, match="does not give its logits"):
            train(method(), task)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (ClassifierRetraining, {"epochs": 0}, "classifier_retraining: epochs must be at least 1, not 0"),
        (DeepFeatureReweighting, {"repeats": 0}, "deep_feature_reweighting: repeats must be at least 1, not 0"),
        (
            DeepFeatureReweighting,
            {"strengths": ()},
            "deep_feature_reweighting: strengths must have an entry, and none is given",
        ),
        (
            DeepFeatureReweighting,
            {"strengths": (1.0, 0.0)},
            "deep_feature_reweighting: strengths must be above 0, not 0",
        ),
        (JTT, {"identification_epochs": 0}, "jtt: identification_epochs must be at least 1, not 0"),
        (JTT, {"upweight": 0.5}, "jtt: upweight must be at least 1, not 0.5"),
    ],
)
def test_bad_options_are_refused(method, options, message):
    with pytest.raises(OptionError, match=f"^{message}$"):
        method(**options)


def test_jtt_identifies_within_the_recipes_epochs():
    with pytest.raises(OptionError, match="jtt: identification_epochs must be at most 3, the recipe's epochs, not 4"):
        train(JTT(identification_epochs=4), toy_task())


# Classifier re-training


class JsonRecord(ClassifierRetraining):
    """Keeps copies of the model before and after the head starts anew."""

    def end_epoch(self, epoch: int) -> None:
        if epoch == -1:
            self.trained = {k: v.clone() for k, v in self.model.state_dict().items()}
        super().end_epoch(epoch)
        if epoch == -1:
            self.anew = {k: v.clone() for k, v in self.model.state_dict().items()}


def imbalanced_conv(**recipe: Any) -> Task:
    """Three classes of 13, 6 and 3 samples, for a network with BatchNorm in float64."""
    task = three_classes(new_conv, **recipe)
    y = torch.tensor([0] * 13 + [1] * 6 + [2] * 3)
    return dataclasses.replace(task, train=Split(task.train.x, y, y))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_crt_trains_by_erm_and_then_moves_the_head_alone(optimizer):
    task, method = imbalanced_conv(optimizer=optimizer), JsonRecord(epochs=3)
    model = train(method, task)
    assert (method.preparation_epochs, method.training_epochs) == (2, 3)
    erm = train(ERM(), task).state_dict()
    assert all(torch.equal(v, erm[name]) for name, v in method.trained.items())
    head = {"9.weight", "9.bias"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, method.trained[name]) == (name not in head)
        assert torch.equal(method.anew[name], task.new_model().state_dict()[name]) or name not in head


@pytest.mark.parametrize(("epochs", "rates"), [(1, [0.1]), (4, [0.1, 0.1, 0.01, 0.01]), (5, [0.1] * 3 + [0.01] * 2)])
def test_crt_is_a_linear_model_trained_on_the_features(epochs, rates):
    """Two epochs, of which the second has a tenth of the learning rate: so it is again over the head's epochs."""
    task = imbalanced_conv()
    model = train(ClassifierRetraining(epochs), task)
    x, initial = features(model, model[-1], task.train, 22), task.new_model()[-1]
    w, b = initial.weight.detach().requires_grad_(), initial.bias.detach().requires_grad_()
    optimizer = torch.optim.SGD([w, b], 0.1, 0.9, weight_decay=0.01, nesterov=True)
    for epoch, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        for batch in drawn_order(label_balanced(task.train.y), task.streams, epoch).split(8):
            optimizer.zero_grad()
            F.cross_entropy(x[batch] @ w.T + b, task.train.y[batch]).backward()
            optimizer.step()
    torch.testing.assert_close(model[-1].weight, w, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(model[-1].bias, b, rtol=1e-10, atol=1e-12)


def test_crt_begins_a_cyclical_schedule_again():
    """Stretched over the second training, its cycles would be cut: each epoch would begin one."""
    task = toy_task(epochs=8, schedule="cyclical", max_lr=0.3, cycle=4)
    method = ClassifierRetraining(epochs=4)
    method.begin(task)
    rates = [task.lr(method.recipe_epoch(epoch)) for epoch in range(4)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.2])


def test_crt_draws_whole_epochs_after_a_recipe_that_is_cut_short():
    task = toy_task(epochs=None, steps=7)
    meter = Meter(Evaluated())
    ClassifierRetraining(epochs=2).fit(task, meter)
    assert meter.steps == 7 + 2 * 5
    assert [row["epoch"] for row in meter.history] == [1, 2]


class Evaluated:
    """An evaluator that finds nothing."""

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


# Deep feature reweighting


def pipeline(strength: float, classes: int, pool: Any, x: Any, y: Any) -> Callable[[Any], Any]:
    """scikit-learn's decision function [n, C], of two classes that of the second beside 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(pool)
    fitted = LogisticRegression(C=strength, l1_ratio=1, solver="liblinear", max_iter=1000, random_state=0)
    model = fitted if classes == 2 else OneVsRestClassifier(fitted)
    model.fit(scaler.transform(x), y)

    def decide(x: Any) -> Any:
        z = model.decision_function(scaler.transform(x))
        return np.stack([0 * z, z], 1) if classes == 2 else z

    return decide


def dfr(task: Task, x: Any, strengths: tuple[float, ...], repeats: int) -> tuple[float, Any]:
    """DFR on features [N, D] with scikit-learn and loops: the strength, and the mean decision function [N, C]."""
    y, group, classes = task.val.y.numpy(), task.val.group.numpy(), len(task.classes)
    pairs = sorted({*zip(group.tolist(), y.tolist(), strict=True)})
    cells = [np.flatnonzero((group == g) & (y == c)) for g, c in pairs]

    def decision(strength: float, cells: list[Any], repeats: int) -> Any:
        (generator,), total = task.streams.generators("method", "subsets"), 0
        for _ in range(repeats):
            size, chosen = min(len(cell) for cell in cells), []
            for cell in cells:
                chosen += cell[torch.randperm(len(cell), generator=generator).numpy()][:size].tolist()
            total += pipeline(strength, classes, x[np.concatenate(cells)], x[chosen], y[chosen])(x)
        return total / repeats

    (generator,) = task.streams.generators("method", "halves")
    halves = [cell[torch.randperm(len(cell), generator=generator).numpy()] for cell in cells]
    first, second = ([h[: -(-len(h) // 2)] for h in halves], [h[-(-len(h) // 2) :] for h in halves])
    best = (-1.0, 0.0)
    for strength in strengths:
        predicted = decision(strength, first, 1).argmax(1)
        worst = min(float((predicted[cell] == y[cell]).mean()) for cell in second)
        best = max(best, (worst, strength), key=lambda found: found[0])
    return best[1], decision(best[1], cells, repeats)


def one_output() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), *output_layers(8, 2))


DFR_TASKS = {
    "two outputs": toy_task(),
    "one output": dataclasses.replace(toy_task(), new_model=one_output),
    "three classes": three_classes(),
}


@pytest.mark.parametrize("name", DFR_TASKS)
@pytest.mark.parametrize("strengths", [(0.3,), (1.0, 0.1, 0.03)])
def test_dfr_is_scikit_learns_regression_on_the_features(name, strengths):
    task, method = DFR_TASKS[name], DeepFeatureReweighting(repeats=3, strengths=strengths)
    model = train(method, task)
    erm = train(ERM(), task)
    last = method.head
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, erm.state_dict()[n])}
    assert {model.get_submodule(n.rpartition(".")[0]) for n in changed} == {last}
    x = features(model, last, task.val, 500).double().numpy()
    strength, expected = dfr(task, x, strengths, 3)
    found = predict(model, task.val, 500).double().numpy()
    assert method.diagnostics()["strength"].item() == pytest.approx(strength)
    assert (found.argmax(1) == expected.argmax(1)).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_dfr_evaluates_the_retrained_model_alone():
    meter = Meter(Evaluated())
    DeepFeatureReweighting().fit(toy_task(evaluate_every=2), meter)
    assert [(row["epoch"], row["step"]) for row in meter.history] == [(1, 15)]


def test_dfr_chooses_the_strength_by_the_worst_cell_of_the_other_half():
    """Among thirty features of which one tells the class, so that the choice differs by seed."""
    strengths, chosen = (1.0, 0.3, 0.1, 0.03), set()
    for seed in range(5):
        task, method = toy_task([seed]), DeepFeatureReweighting(strengths=strengths)
        method.begin(task)
        x = torch.randn(60, 30, generator=torch.Generator().manual_seed(seed)).double()
        x[:, 0] += 2 * task.val.y
        chosen.add(method.chosen_strength(x))
        assert method.chosen_strength(x) == dfr(task, x.numpy(), strengths, 1)[0]
    assert len(chosen) > 1


@pytest.mark.parametrize(("y", "enough"), [([0, 0, 1, 1], True), ([0, 0, 0, 1], False), ([0, 0, 0, 0], False)])
def test_dfr_needs_two_validation_samples_of_each_class(y, enough):
    task = toy_task()
    small = dataclasses.replace(task, val=Split(task.val.x[:4], torch.tensor(y), torch.zeros(4, dtype=torch.int64)))
    with nullcontext() if enough else pytest.raises(NotApplicableError, match="needs validation samples of every"):
        train(DeepFeatureReweighting(), small)


def test_dfr_needs_a_bias():
    task = dataclasses.replace(toy_task(), new_model=lambda: nn.Linear(3, 2, bias=False))
    with pytest.raises(NotApplicableError, match="with a bias"):
        train(DeepFeatureReweighting(), task)


# Just train twice


@pytest.mark.parametrize("epochs", [1, 2])
def test_jtt_is_algorithm_1(epochs):
    """ERM for some epochs, its errors one by one, and a training from scratch on samples drawn by their copies."""
    task, method = toy_task(weight_decay=0.01, milestones=(0.5,)), JTT(epochs, upweight=5.0)
    found = train(method, task)

    def trained(epochs: int, batches: Callable[[int], Iterator[Tensor]]) -> nn.Module:
        model = task.new_model()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
        for epoch in range(epochs):
            optimizer.param_groups[0]["lr"] = task.lr(epoch)
            for batch in batches(epoch):
                optimizer.zero_grad()
                F.cross_entropy(model(task.train.x[batch]), task.train.y[batch]).backward()
                optimizer.step()
        return model

    first = trained(epochs, lambda epoch: (batch.index for batch in task.batches(epoch)))
    wrong = [int(first(x).argmax()) != y for x, y in zip(task.train.x, task.train.y.tolist(), strict=True)]
    assert 0 < sum(wrong) < 70
    assert method.error_set.tolist() == wrong
    assert method.diagnostics()["error_set"].item() == pytest.approx(sum(wrong) / 70)
    copies = torch.tensor([5.0 if w else 1.0 for w in wrong], dtype=torch.float64)
    expected = trained(3, lambda epoch: drawn_order(copies, task.streams, epoch).split(16))
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("upweight", [1.0, 20.0])
def test_jtt_draws_the_error_set_as_often_as_in_the_upsampled_data(upweight):
    """500 epochs of 70 samples: the bound is four standard errors away."""
    method = JTT(upweight=upweight)
    method.begin(toy_task())
    method.error_set[:10] = True
    drawn = torch.cat([torch.cat([b.index for b in method.batches(epoch)]) for epoch in range(3, 503)])
    share = 10 * upweight / (10 * upweight + 60)
    found = (drawn < 10).double().mean().item()
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / len(drawn)) ** 0.5)


def test_jtt_takes_its_errors_in_evaluation_mode():
    task = dataclasses.replace(
        toy_task(), new_model=lambda: nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.9), nn.Linear(64, 2))
    )
    method = JTT(identification_epochs=3)
    initial = task.new_model().state_dict()
    fixed = dataclasses.replace(task, new_model=lambda: loaded(task.new_model(), initial))
    train(method, fixed)
    erm = train(ERM(), fixed)
    assert torch.equal(method.error_set, predict(erm, task.train, 500).argmax(-1) != task.train.y)


def loaded(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    model.load_state_dict(state)
    return model


# What the papers claim


@pytest.mark.parametrize(
    ("method", "kind"),
    [(DeepFeatureReweighting, "spurious"), (JTT, "spurious"), (ClassifierRetraining, "imbalance")],
)
def test_it_helps_the_worst_group_or_the_rare_class(method, kind):
    found = gains(method, kind, worst_group_accuracy)
    assert found.mean() > 0
    assert (found > 0).sum() >= 4


@pytest.mark.parametrize("method", [ClassifierRetraining, DeepFeatureReweighting])
def test_the_last_layer_is_not_for_an_average_of_models(method):
    with pytest.raises(
        NotApplicableError, match=r"not of an average of models: it cannot be used with recipe\.average_from"
    ):
        train(method(), toy_task(average_from=0.5))


def test_a_training_that_diverges_before_the_regression_is_told_as_such():
    with pytest.raises(AssertionError, match=r"not finite"):
        train(DeepFeatureReweighting(), toy_task(lr=1e39))
