"""The built-in methods against closed forms, and FORML against its Algorithm 1 written out naively."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import grad

from bench import DataError, Method, OptionError, RandomStreams, Recipe, Split, Task
from bench.testing import toy_task, train
from bench_plugins.methods.class_balanced import ClassBalanced
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.forml import FORML
from bench_plugins.methods.importance_weighted import ImportanceWeighted
from bench_plugins.methods.random import Random


def task_of(y: Sequence[int], group: Sequence[int] = (), seed: int = 0) -> Task:
    """A task with these classes and groups, and nothing to learn from."""
    g = torch.tensor(group or y)
    split = Split(torch.zeros(len(y), 1), torch.tensor(y), g)
    classes, groups = (tuple(f"{kind}{i}" for i in range(int(t.max()) + 1)) for kind, t in (("c", split.y), ("g", g)))
    return Task(split, split, classes, groups, Recipe(), lambda: nn.Linear(1, 2), RandomStreams((seed,)))


def weights(method: Method, task: Task) -> list[float]:
    """The weights that it gives to the whole training split."""
    method.task = task
    method.setup()
    batch = task.train.batch(torch.arange(len(task.train)))
    found: list[float] = method.weights(batch, torch.zeros(len(batch.y))).tolist()
    return found


# ERM: the training loop itself


@pytest.mark.parametrize("recipe", [{}, {"epochs": None, "steps": 7}, {"milestones": (0.5,), "weight_decay": 0.1}])
def test_erm_is_the_plain_training_loop(recipe):
    task = toy_task(**recipe)
    model = task.new_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=task.recipe.weight_decay)
    for epoch in range(task.epochs):
        optimizer.param_groups[0]["lr"] = task.lr(epoch)
        for batch in task.batches(epoch):
            optimizer.zero_grad()
            F.cross_entropy(model(batch.x), batch.y).backward()
            optimizer.step()
    for found, expected in zip(train(ERM(), task).parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_erm_weighs_all_alike_and_is_the_baseline():
    assert weights(ERM(), task_of([0, 0, 1])) == [1, 1, 1]
    assert (ERM.baseline, ERM.uses_val, ERM.uses_groups) == (True, False, False)


# Class-balanced


def test_class_balanced_weights_by_class_or_group():
    task = task_of(y=[0, 0, 0, 1], group=[0, 1, 1, 1])
    rare, common = 1 / (1 - 0.9), 1 / (1 - 0.9**3)
    mean = (rare + common) / 2
    assert weights(ClassBalanced(beta=0.9), task) == pytest.approx([common / mean] * 3 + [rare / mean])
    assert weights(ClassBalanced(beta=0.9, by="group"), task) == pytest.approx([rare / mean] + [common / mean] * 3)


@pytest.mark.parametrize("beta", [1.0, -0.1])
def test_class_balanced_refuses_a_beta_outside_its_range(beta):
    with pytest.raises(OptionError, match=r"^class_balanced: beta must be in \[0, 1\), not"):
        ClassBalanced(beta=beta)


@pytest.mark.parametrize("method", [ClassBalanced, ImportanceWeighted])
@pytest.mark.parametrize(("by", "uses_groups"), [("group", True), ("class", False)])
def test_static_weights_say_whether_they_use_groups(method, by, uses_groups):
    assert method(by=by).uses_groups == uses_groups


# Importance weighting


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2 / 3] * 3 + [2]),  # (1/2) / (3/4) and (1/2) / (1/4)
        ({"target": (3.0, 1.0)}, [1] * 4),
        ({"target": (0.9, 0.1)}, [1.2] * 3 + [0.4]),
        ({"target": (1.0, 0.0)}, [4 / 3] * 3 + [0]),
        ({"ratio": (10.0, 1.0)}, [10] * 3 + [1]),
        ({"ratio": (10.0, 1.0), "normalize": True}, [40 / 31] * 3 + [4 / 31]),
        ({"by": "group"}, [2, 2 / 3, 2 / 3, 2 / 3]),
    ],
)
def test_importance_weights_are_target_over_source(options, expected):
    task = task_of(y=[0, 0, 0, 1], group=[0, 1, 1, 1])
    assert weights(ImportanceWeighted(**options), task) == pytest.approx(expected)


def test_importance_weights_normalised_train_as_torchs_weighted_loss():
    logits, y = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 1])
    w = torch.tensor(weights(ImportanceWeighted(ratio=(10.0, 1.0), normalize=True), task_of(y.tolist())))
    expected = F.cross_entropy(logits, y, weight=torch.tensor([10.0, 1.0]))
    torch.testing.assert_close((w * F.cross_entropy(logits, y, reduction="none")).mean(), expected)


@pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("option", ["target", "ratio"])
def test_importance_weights_of_the_wrong_number_are_refused(option, values):
    with pytest.raises(OptionError, match=rf"{option} needs 2 numbers, one for each class \(.*\), not 1"):
        weights(ImportanceWeighted(**{option: values}), task_of([0, 0, 1]))


@pytest.mark.parametrize(
    ("values", "message"),
    [((-1.0, 2.0), "must be at least 0, not -1"), ((0.0, 0.0), "must have an entry above 0, not 0,0")],
)
@pytest.mark.parametrize("option", ["target", "ratio"])
def test_importance_weights_that_are_no_proportions_are_refused(option, values, message):
    with pytest.raises(OptionError, match=f"^importance_weighted: {option} {message}$"):
        ImportanceWeighted(**{option: values})


# Random


def drawn(distribution: str, seed: int = 0) -> Tensor:
    return torch.tensor(weights(Random(distribution), task_of([0, 1] * 2000, seed=seed)))


@pytest.mark.parametrize("distribution", ["softmax", "rectified", "uniform"])
def test_random_weights_repeat_differ_by_seed_and_have_mean_one(distribution):
    w = drawn(distribution)
    assert torch.equal(w, drawn(distribution))
    assert not torch.equal(w, drawn(distribution, seed=1))
    assert w.min() >= 0
    assert w.mean().item() == pytest.approx(1, abs=0.03 if distribution == "uniform" else 1e-5)


def test_random_weights_have_their_distributions():
    """4,000 draws: the bounds are four standard errors away."""
    logarithm = drawn("softmax").log()
    assert logarithm.std().item() == pytest.approx(1, abs=4 / math.sqrt(8000))
    rectified = drawn("rectified")
    assert (rectified == 0).float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(4000))
    assert rectified.square().mean().item() == pytest.approx(math.pi, rel=0.15)  # (1/2) / (1/sqrt(2 pi))^2
    uniform = drawn("uniform")
    assert 0.1 <= uniform.min() < 0.11 < 1.89 < uniform.max() <= 1.9


# FORML


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Net(nn.Module):
    """Two layers in float64; splits hold float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.first(x.double()).tanh())
        return logits


def new_net() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def forml_task(**recipe: Any) -> Task:
    """Three groups, two classes, two steps of batches of 8."""

    def split(n: int, seed: int) -> Split:
        x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
        return Split(x.float(), torch.arange(n) % 2, torch.arange(n) % 3)

    settings: dict[str, Any] = {"optimizer": "sgd", "lr": 0.3, "momentum": 0.9, "epochs": None, "steps": 2}
    settings |= {"batch_size": 8, "val_batch_size": 12, "min_per_group": 3} | recipe
    return Task(
        split(20, 0), split(40, 1), ("no", "yes"), ("a", "b", "c"), Recipe(**settings), new_net, RandomStreams((0,))
    )


@dataclasses.dataclass
class Naive:
    """Algorithm 1 of FORML, sample by sample and differentiated through the virtual step."""

    task: Task
    option: FORML

    def logits(self, theta: Sequence[Tensor], x: Tensor) -> Tensor:
        w1, b1, w2, b2 = theta
        return torch.stack([w2 @ torch.tanh(w1 @ row.double() + b1) + b2 for row in x])

    def loss(self, z: Tensor, y: Tensor) -> Tensor:
        return z.exp().sum().log() - z[y]

    def normalised(self, w: Tensor, index: list[int]) -> list[Tensor]:
        """exp(w_i) / sum_j exp(w_j), times the number of terms in the sum where equal weights train as ERM."""
        score = 1 / w**2 if self.option.weighting == "inverse_square_l1" else w.exp()
        over = index if self.option.normalize == "batch" else range(len(w))
        total = torch.stack([score[j] for j in over]).sum()
        return [score[i] / total * (len(over) if self.option.scale == "sum" else 1) for i in index]

    def training(self, theta: Sequence[Tensor], w: Tensor, batch: Any) -> Tensor:
        """Lines 5, 6 and 11: the mean over the batch."""
        terms = []
        z = self.logits(theta, batch.x)
        for zi, yi, s in zip(z, batch.y, self.normalised(w, batch.index.tolist()), strict=True):
            terms.append(self.loss(s * zi, yi) if self.option.weighting == "logits" else s * self.loss(zi, yi))
        return torch.stack(terms).mean()

    def meta(self, theta: Sequence[Tensor], batch: Any) -> Tensor:
        """Lines 8 and 9."""
        losses = [self.loss(z, y) for z, y in zip(self.logits(theta, batch.x), batch.y, strict=True)]
        if self.option.meta_loss == "cross_entropy":
            return torch.stack(losses).mean()
        groups = []
        for g in range(3):
            own = torch.stack([loss for loss, of in zip(losses, batch.group.tolist(), strict=True) if of == g])
            groups.append(own.max() if self.option.meta_loss == "max_loss_discrepancy" else own.mean())
        if self.option.meta_loss == "pairwise_loss_discrepancy":
            return torch.stack([(a - b).abs() for a, b in itertools.combinations(groups, 2)]).mean()
        return torch.stack(groups).max() - torch.stack(groups).min()

    def run(self) -> tuple[list[Tensor], Tensor]:
        """The parameters and w after the whole training."""
        o, recipe = self.option, self.task.recipe
        theta = [p.detach().requires_grad_() for p in self.task.new_model().parameters()]
        w = torch.full((20,), 1.0 if o.weighting == "inverse_square_l1" else 0.0)
        counted = {"all": None, "positive": self.task.val.y == 1, "negative": self.task.val.y == 0}[o.condition]
        validation = self.task.val_batches(counted)
        velocity = [torch.zeros_like(p) for p in theta]
        for batch in self.task.batches(0):
            w.requires_grad_()
            delta = grad(self.training(theta, w, batch), theta, create_graph=True)
            sign = -1 if o.reverse_model else 1
            virtual = [p - sign * recipe.lr * d for p, d in zip(theta, delta, strict=True)]
            (slope,) = grad(self.meta(virtual, next(validation)), w)
            step = -slope if o.reverse_weights else slope
            if o.weighting == "inverse_square_l1":  # the penalty of the weights that took part
                part = torch.zeros(20).index_fill(0, batch.index, 1.0) if o.normalize == "batch" else torch.ones(20)
                step = step + (1e-3 if o.l1 is None else o.l1) * part * w.detach().sign()
            rate = recipe.lr if o.weight_lr is None else o.weight_lr
            w = (w - rate * step).detach()
            final = grad(self.training(theta, w, batch), theta)
            velocity = [recipe.momentum * v + d for v, d in zip(velocity, final, strict=True)]
            theta = [(p - recipe.lr * v).detach().requires_grad_() for p, v in zip(theta, velocity, strict=True)]
        return theta, w


def check_against_algorithm_1(**options: Any) -> None:
    method = FORML(**{"weight_lr": 3.0} | options)
    model = train(method, forml_task())
    theta, w = Naive(forml_task(), method).run()
    assert (w - w[0]).abs().max() > 1e-6  # the weights did move
    torch.testing.assert_close(method.w, w, rtol=1e-9, atol=1e-12)
    for found, expected in zip(model.parameters(), theta, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def choices(**options: Sequence[object]) -> list[dict[str, object]]:
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


META = ("max_loss_discrepancy", "mean_loss_discrepancy", "pairwise_loss_discrepancy", "cross_entropy")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "options",
    [
        *choices(meta_loss=META),
        *choices(weighting=("loss", "logits", "inverse_square_l1"), normalize=("batch", "set"), scale=("sum", "mean")),
        *choices(reverse_model=(False, True), reverse_weights=(False, True), normalize=("batch", "set")),
        *choices(condition=("positive", "negative"), meta_loss=META),
        *choices(
            weighting=("inverse_square_l1",), l1=(0.05,), normalize=("batch", "set"), reverse_weights=(False, True)
        ),
        {"weight_lr": None},
    ],
    ids=lambda options: ",".join(map(str, options.values())),
)
def test_forml_is_algorithm_1(options):
    check_against_algorithm_1(**options)


@pytest.mark.parametrize("weighting", ["loss", "logits", "inverse_square_l1"])
@pytest.mark.parametrize("normalize", ["batch", "set"])
def test_forml_with_equal_weights_trains_as_erm(weighting, normalize):
    task = toy_task(weight_decay=0.01)
    found = train(FORML(weighting=weighting, normalize=normalize, weight_lr=0.0), task)
    for a, b in zip(found.parameters(), train(ERM(), task).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_forml_leaves_the_dropout_masks_of_training_as_they_are():
    task = toy_task()
    dropout = dataclasses.replace(
        task, new_model=lambda: nn.Sequential(task.new_model()[0], nn.Dropout(), nn.Linear(8, 2))
    )
    models = []
    for method in (ERM(), FORML(weight_lr=0.0)):
        torch.manual_seed(0)  # of the last layer
        models.append(train(method, dropout))
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def one_step(**options: Any) -> Tensor:
    """w after one step with a tiny virtual one, scaled to order one."""
    method = FORML(weight_lr=1e6, **options)
    train(method, forml_task(steps=1, lr=1e-6))
    return method.w


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("meta_loss", META)
def test_forml_reversed_in_either_place_moves_the_weights_the_other_way(meta_loss):
    w = one_step(meta_loss=meta_loss)
    assert w.abs().max() > 1e-3
    torch.testing.assert_close(one_step(meta_loss=meta_loss, reverse_weights=True), -w, rtol=0, atol=0)
    torch.testing.assert_close(one_step(meta_loss=meta_loss, reverse_model=True), -w, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_forml_moves_the_weights_of_the_batch_alone_unless_it_normalises_over_the_set():
    members = next(forml_task().batches(0)).index.sort().values
    assert torch.equal(one_step().nonzero().squeeze(1), members)
    assert one_step(normalize="set").count_nonzero() == 20


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("meta_loss", META[:3])
def test_forml_leaves_the_weights_where_groups_fare_alike(meta_loss):
    """Three groups with the same samples, all of them in every validation batch."""
    one = forml_task().val.select(torch.arange(4))
    alike = Split.cat([dataclasses.replace(one, group=torch.full_like(one.y, g)) for g in range(3)])
    task = dataclasses.replace(forml_task(), val=alike)
    method = FORML(meta_loss=meta_loss, weight_lr=1.0)
    train(method, task)
    assert method.w.abs().max() < 1e-12


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("condition", "counts"), [("positive", (False, True)), ("negative", (True, False))])
def test_forml_sees_only_the_validation_samples_of_its_condition(condition, counts):
    def w(changed: int | None) -> Tensor:
        task = forml_task()
        x = task.val.x.clone()
        x[task.val.y == changed if changed is not None else []] += 1
        method = FORML(condition=condition, weight_lr=1.0)
        train(method, dataclasses.replace(task, val=dataclasses.replace(task.val, x=x)))
        return method.w

    assert tuple(not torch.equal(w(None), w(label)) for label in (0, 1)) == counts


@pytest.mark.usefixtures("float64")
def test_forml_takes_the_models_learning_rate_with_its_schedule_for_the_weights():
    def w(weight_lr: float | None, **recipe: Any) -> Tensor:
        method = FORML(weight_lr=weight_lr)
        train(method, forml_task(**recipe))
        return method.w

    budget = {"steps": None, "epochs": 2}
    assert torch.equal(w(None, **budget), w(0.3, **budget))
    assert not torch.equal(w(None, milestones=(0.5,), **budget), w(0.3, milestones=(0.5,), **budget))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1": 1e-3}, "l1 has no effect with weighting=loss"),
        ({"weighting": "logits", "l1": 0.0}, "l1 has no effect with weighting=logits"),
        ({"weighting": "inverse_square_l1", "l1": -1.0}, "l1 must be at least 0, not -1"),
        ({"weight_lr": -1.0}, "weight_lr must be at least 0, not -1"),
        (
            {"reverse_model": True, "look_ahead": "optimizer"},
            "with reverse_model the virtual step is a plain one: it needs look_ahead=gradient",
        ),
    ],
)
def test_forml_refuses_options_that_mean_nothing(options, message):
    with pytest.raises(OptionError, match=f"^forml: {message}$"):
        FORML(**options)


def test_forml_refuses_a_condition_it_cannot_meet():
    three = dataclasses.replace(forml_task(), classes=("a", "b", "c"))
    with pytest.raises(OptionError, match="condition=positive needs two classes, not 3"):
        train(FORML(condition="positive"), three)
    with pytest.raises(DataError, match="validation data hold 0"):  # under class fairness the other class is a group
        train(FORML(condition="positive"), task_of([0, 1] * 300))
