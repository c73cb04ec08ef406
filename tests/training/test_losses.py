"""Losses against loops and torch; schedule and budget of a recipe as a task sees them."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn

from bench import Files, Method, NotApplicableError, RandomStreams, Recipe, Split, Task
from bench.registry import installed
from bench.runs import runner
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.store.results import ResultStore
from bench.testing import toy_task, train
from bench.training.losses import LOSSES, cross_entropy, hinge, jensen_shannon, require_cross_entropy

CYCLICAL = {"schedule": "cyclical", "max_lr": 0.01}
LOGITS = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(14).view(2, 7) % 4


def task(n: int, **recipe: object) -> Task:
    zeros = torch.zeros(n).long()
    split = Split(torch.zeros(n, 1), zeros, zeros)
    return Task(split, split, ("a",), ("a",), Recipe(**recipe), lambda: nn.Linear(1, 1), RandomStreams((0,)))


def test_cross_entropy_is_torchs_also_stacked():
    expected = [F.cross_entropy(z, y, reduction="none") for z, y in zip(LOGITS, Y, strict=True)]
    assert torch.equal(cross_entropy(LOGITS[0], Y[0]), expected[0])
    torch.testing.assert_close(cross_entropy(LOGITS, Y), torch.stack(expected))


def test_hinge_equals_a_loop():
    for run in range(2):
        for z, y, found in zip(LOGITS[run].tolist(), Y[run].tolist(), hinge(LOGITS, Y)[run].tolist(), strict=True):
            worst = max(value for k, value in enumerate(z) if k != y)
            assert found == pytest.approx(max(0.0, 1 - (z[y] - worst)), abs=1e-6)


@pytest.mark.parametrize("z", [-3.0, -0.5, 0.0, 0.5, 1.0, 3.0])
def test_hinge_of_two_classes_is_the_usual_one(z):
    logits = torch.tensor([[0.0, z]])
    assert hinge(logits, torch.tensor([1])).item() == max(0.0, 1 - z)
    assert hinge(logits, torch.tensor([0])).item() == max(0.0, 1 + z)


def test_hinge_has_the_gradient_of_the_margin():
    logits = torch.tensor([[1.0, 0.5, -2.0], [5.0, 0.0, 0.0]], requires_grad=True)
    hinge(logits, torch.tensor([0, 0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1, 1, 0], [0, 0, 0]]


def logits(views: int, samples: int = 5, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(views, samples, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_jensen_shannon_is_a_slow_loop():
    z = logits(3)
    for i, found in enumerate(jensen_shannon(z).tolist()):
        p = [[math.exp(v) / sum(math.exp(u) for u in view[i].tolist()) for v in view[i].tolist()] for view in z]
        mean = [sum(column) / 3 for column in zip(*p, strict=True)]
        divergences = [sum(a * math.log(a / m) for a, m in zip(view, mean, strict=True)) for view in p]
        assert found == pytest.approx(sum(divergences) / 3, rel=1e-12)


def test_jensen_shannon_of_two_is_the_square_of_scipys_distance():
    z = logits(2)
    expected = [jensenshannon(*z[:, i].softmax(-1).numpy()) ** 2 for i in range(z.shape[1])]
    assert jensen_shannon(z).tolist() == pytest.approx(expected, rel=1e-10)


def test_jensen_shannon_is_nothing_for_identical_views_and_at_most_log_3():
    same = logits(1).expand(3, -1, -1)
    assert jensen_shannon(same).abs().max() < 1e-15
    far = (1e4 * torch.eye(4)[:3]).unsqueeze(1).requires_grad_()
    found = jensen_shannon(far)
    assert found.item() == pytest.approx(math.log(3))
    found.backward()
    assert far.grad is not None and far.grad.isfinite().all()


def test_another_loss_than_cross_entropy_is_refused_where_it_is_needed():
    require_cross_entropy("some", Recipe())
    with pytest.raises(NotApplicableError, match=r"^some changes the cross-entropy, and the recipe's loss is hinge$"):
        require_cross_entropy("some", Recipe(loss="hinge"))


@pytest.mark.parametrize("name", LOSSES)
def test_a_task_takes_its_recipes_loss(name):
    found: Tensor = task(4, loss=name).loss(LOGITS, Y)
    assert torch.equal(found, {"cross_entropy": cross_entropy, "hinge": hinge}[name](LOGITS, Y))


def test_the_learning_rate_falls_at_60_120_and_160_of_200_epochs():
    t = task(4, epochs=200, lr=0.1, milestones=(0.3, 0.6, 0.8))
    expected = {0: 0.1, 59: 0.1, 60: 0.01, 119: 0.01, 120: 1e-3, 159: 1e-3, 160: 1e-4, 199: 1e-4}
    assert {epoch: t.lr(epoch) for epoch in expected} == pytest.approx(expected)


def test_a_shorter_training_keeps_the_shape_of_the_schedule():
    t = task(4, epochs=10, lr=1.0, milestones=(0.3, 0.6, 0.8), gamma=0.5)
    assert [t.lr(epoch) for epoch in range(10)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


@pytest.mark.parametrize("epochs", [1, 7, 100, 300])
def test_milestones_fall_on_the_exact_epoch(epochs):
    """Also where rounding is in the way: 0.55 * 100 = 55.00000000000001."""
    for percent in range(1, 100):
        t = task(4, epochs=epochs, lr=1.0, milestones=(percent / 100,))
        first = math.ceil(Fraction(percent, 100) * epochs)
        assert [e for e in range(epochs) if t.lr(e) < 1][:1] == ([first] if first < epochs else [])


def triangle(it: int, stepsize: float, base: float, top: float) -> float:
    """As the paper's section 3.1 has it."""
    cycle = math.floor(1 + it / (2 * stepsize))
    x = abs(it / stepsize - 2 * cycle + 1)
    return base + (top - base) * max(0, 1 - x)


def test_the_cyclical_rate_by_hand():
    t = task(10, epochs=4, batch_size=4, schedule="cyclical", lr=1.0, max_lr=4.0, cycle=2)  # 3 updates an epoch
    rates = [[t.lr(epoch, step) for step in range(3)] for epoch in range(-1, 4)]
    assert rates == [pytest.approx(r) for r in ([1, 2, 3], [1, 2, 3], [4, 3, 2], [1, 2, 3], [4, 3, 2])]


@pytest.mark.parametrize("cycle", [0.4, 1, 1.5, 4, 20])
def test_the_cyclical_rate_is_the_papers(cycle):
    t = task(28, epochs=10, batch_size=4, schedule="cyclical", lr=1e-3, max_lr=6e-3, cycle=cycle)
    for it in range(70):
        expected = triangle(it, stepsize=7 * cycle / 2, base=1e-3, top=6e-3)
        assert t.lr(*divmod(it, 7)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("recipe", [{"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adam"}])
def test_every_update_is_made_with_its_own_rate(recipe):
    t, same = (
        toy_task(schedule="cyclical", lr=0.02, max_lr=0.2, cycle=1.5, **({"momentum": 0.0} | recipe)) for _ in range(2)
    )
    model = t.new_model()
    optimizer, it = t.optimizer(model), 0
    for epoch in range(3):
        for batch in t.batches(epoch):
            optimizer.param_groups[0]["lr"] = triangle(it, stepsize=5 * 1.5 / 2, base=0.02, top=0.2)
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x), batch.y).backward()
            optimizer.step()
            it += 1
    torch.testing.assert_close(train(Method(), same).state_dict(), model.state_dict(), rtol=1e-5, atol=1e-6)


def with_dropout() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))


def by_hand(task: Task, masked: set[int]) -> list[Tensor]:
    """The parameters after plain descent, with masks in these epochs."""
    model = with_dropout()
    optimizer = task.optimizer(model)
    for epoch in range(task.epochs):
        torch.manual_seed(task.streams.seed("train", epoch))
        for batch in task.batches(epoch):
            hidden = F.dropout(model[0](batch.x), 0.5, training=epoch in masked)
            optimizer.zero_grad()
            task.loss(model[2](hidden), batch.y).mean().backward()
            optimizer.step()
    return list(model.parameters())


@pytest.mark.parametrize(("dropout", "masked"), [("correct", {0, 1, 2}), ("faithful", {0})])
def test_faithful_dropout_ends_with_the_first_epoch(dropout, masked):
    t = replace(toy_task(dropout=dropout, epochs=3), new_model=with_dropout)
    found = list(train(Method(), t).parameters())
    torch.testing.assert_close(found, by_hand(t, masked))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, by_hand(t, {0, 1, 2} ^ masked ^ {0}))


@pytest.mark.parametrize("method", ["ant", "shared_adversarial"])
def test_methods_that_change_the_models_mode_put_it_back(method):
    seen = []

    class Watched(installed().find("methods", method).value):
        def update(self, batch):
            before = self.model.training
            found = super().update(batch)
            seen.append((before, self.model.training))
            return found

    train(Watched(), toy_task(images=True, dropout="faithful", epochs=2))
    assert set(seen) == {(False, False), (True, True)}


@pytest.mark.parametrize(("options", "replayed"), [({}, True), (CYCLICAL, False), ({"dropout": "faithful"}, False)])
def test_updates_are_replayed_unless_each_has_its_own_rate(options, replayed, tmp_path):
    given = {f"recipe.{name}": value for name, value in ({"steps": 8} | options).items()}
    experiment = resolve(Request("digits", "erm", options=given), Files(tmp_path))
    for result in runner.run(experiment, [0, 1], ResultStore(tmp_path), torch.device("cpu"), stacked=True):
        assert (result.status, result.costs.captured) == ("ok", replayed)


def test_the_budget_in_epochs():
    t = task(10, epochs=3, batch_size=4)  # 4 + 4 + 2
    assert (t.steps, t.epochs) == (9, 3)
    assert [[len(b.y) for b in t.batches(epoch)] for epoch in range(3)] == [[4, 4, 2]] * 3


def test_a_budget_in_steps_ends_inside_the_last_epoch():
    t = task(10, epochs=None, steps=7, batch_size=4)
    assert (t.steps, t.epochs) == (7, 3)
    assert [[len(b.y) for b in t.batches(epoch)] for epoch in range(3)] == [[4, 4, 2], [4, 4, 2], [4]]


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_epochs_of_a_budget_in_steps(steps, epochs):
    t = task(10, epochs=None, steps=steps, batch_size=4)
    assert t.epochs == epochs
    assert sum(len(list(t.batches(epoch))) for epoch in range(epochs)) == steps


def test_a_tail_of_one_is_no_step():
    t = task(9, epochs=2, batch_size=4)  # 4 + 4, and one left out
    assert (t.steps, t.epochs, len(list(t.batches(1)))) == (4, 2, 2)


@pytest.mark.parametrize(
    ("recipe", "kind", "settings"),
    [
        ({"optimizer": "sgd", "momentum": 0.9, "nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "adam"}, torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ({"optimizer": "adamw"}, torch.optim.AdamW, {"betas": (0.9, 0.999)}),
    ],
)
def test_the_optimiser_is_the_recipes(recipe, kind, settings):
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    optimizer = task(4, lr=0.5, weight_decay=0.25, **recipe).optimizer(model)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in settings} == settings
    assert (group["lr"], group["weight_decay"], group["params"]) == (0.5, 0.25, [model.weight])


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_parameter_may_get_its_first_gradient_later_than_others(nesterov):
    """As a head that a pretraining leaves alone: torch's fused descent fails there, and the plain one is the truth."""
    g = torch.Generator().manual_seed(0)
    begun = [torch.randn(5, generator=g) for _ in range(2)]
    ours, plain = ([nn.Parameter(values.clone()) for values in begun] for _ in range(2))
    optimizers = [
        task(4, lr=0.5, optimizer="sgd", momentum=0.9, weight_decay=0.25, nesterov=nesterov).optimizer(ours),
        torch.optim.SGD(plain, 0.5, 0.9, weight_decay=0.25, nesterov=nesterov, fused=False, foreach=False),
    ]
    for step in range(4):
        for which in (0, 1) if step >= 2 else (0,):
            gradient = torch.randn(5, generator=g)
            for parameters in (ours, plain):
                parameters[which].grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_the_first_step_is_that_of_torch_to_the_bit():
    begun = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    ours, torchs = nn.Parameter(begun.clone()), nn.Parameter(begun.clone())
    optimizer = task(4, lr=0.3, optimizer="sgd", momentum=0.9, weight_decay=0.25).optimizer([ours])
    other = torch.optim.SGD([torchs], 0.3, 0.9, weight_decay=0.25, fused=True)
    for _ in range(3):
        for parameter, each in ((ours, optimizer), (torchs, other)):
            parameter.square().sum().backward()
            each.step()
            each.zero_grad()
    assert torch.equal(ours, torchs)
