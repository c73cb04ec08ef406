"""L2RW against its Algorithm 1 written out naively, and where its weights are known."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.autograd import grad

from bench import Split, Task
from bench.meta import optimizer_step
from bench.testing import check_method, train
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.l2rw import L2RW
from tests.literal import (
    MODELS,
    Logits,
    NothingRead,
    cross_entropy,
    descend,
    distance,
    optimizer_of,
    task,
    trained,
)


def naive(task: Task, logits: Logits, option: L2RW) -> tuple[list[Tensor], list[Tensor]]:
    """Algorithm 1, differentiated through the virtual step: the parameters, and the weights of each step."""
    theta = [p.detach().requires_grad_() for p in task.new_model().parameters()]
    optimizer, validation, seen = optimizer_of(task, theta), task.val_batches(), []
    for epoch in range(task.epochs):
        optimizer.param_groups[0]["lr"] = task.lr(epoch)
        for batch in task.batches(epoch):
            losses, size = cross_entropy(logits(theta, batch.x), batch.y), len(batch.y)
            start = 0.0 if option.start == "zero" else 1 / size
            eps = torch.full((size,), start, dtype=torch.float64, requires_grad=True)
            delta = grad(weighted(eps, losses), theta, create_graph=True)
            if option.look_ahead == "gradient":
                virtual = [p - task.lr(epoch) * d for p, d in zip(theta, delta, strict=True)]
            else:
                virtual, _ = optimizer_step(optimizer)(theta, delta)
            clean = next(validation)
            meta = cross_entropy(logits(virtual, clean.x), clean.y)
            (slope,) = grad(torch.stack(meta).sum() / len(meta), eps)
            w = [max(-s, 0.0) for s in slope.tolist()]
            w = [wi / (sum(w) + (1 if sum(w) == 0 else 0)) for wi in w]
            descend(optimizer, theta, grad(weighted(w, losses), theta))
            seen.append(torch.tensor(w, dtype=torch.float64))
    return theta, seen


def weighted(w: Sequence[float] | Tensor, losses: Sequence[Tensor]) -> Tensor:
    return torch.stack([wi * loss for wi, loss in zip(w, losses, strict=True)]).sum()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [{}, {"start": "uniform"}], ids=str)
@pytest.mark.parametrize("look_ahead", ["gradient", "optimizer"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_l2rw_is_algorithm_1(name, options, look_ahead, optimizer):
    new_model, logits = MODELS[name]
    method = L2RW(**options, look_ahead=look_ahead)
    small = task(new_model, optimizer=optimizer, lr=0.1 if optimizer == "sgd" else 0.01)
    model, weights = trained(method, small)
    theta, expected = naive(small, logits, method)
    assert len(weights) == 6
    assert any((w == 0).any() and (w > 1).any() for w in weights)
    assert distance([w / w.shape[-1] for w in weights], expected) < 1e-10
    assert distance(list(model.parameters()), theta) < 1e-10


def test_l2rw_moves_the_running_statistics_once_a_step():
    """To those of a model with the same parameters that sees the training batches alone."""
    small = task(MODELS["conv"][0], epochs=1)
    method, reference = L2RW(), small.new_model()
    method.begin(small)
    for batch in small.batches(0):
        with torch.no_grad():
            for own, p in zip(reference.parameters(), method.model.parameters(), strict=True):
                own.copy_(p)
        reference(batch.x)
        method.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(method.model.buffers(), reference.buffers(), strict=True))


# Samples that are all alike but for their class: all who have the validation data's class help alike, the others harm


def alike(train_y: list[int], val_y: int, **recipe: object) -> Task:
    x = torch.linspace(-1, 1, 16)
    splits = [
        Split(x.expand(len(y), 16), torch.tensor(y), torch.zeros(len(y), dtype=torch.int64))
        for y in (train_y, [val_y] * 12)
    ]
    plain = task(momentum=0.0, nesterov=False, weight_decay=0.0, **recipe)
    return dataclasses.replace(plain, train=splits[0], val=splits[1], groups=("all",))


@pytest.mark.parametrize("start", ["zero", "uniform"])
def test_l2rw_gives_all_the_weight_to_the_samples_that_help(start):
    small = alike([0, 1, 0, 0, 1, 1, 2, 0], val_y=0)
    _, weights = trained(L2RW(start=start), small)
    for epoch, w in enumerate(weights):
        y = next(small.batches(epoch)).y
        torch.testing.assert_close(w, torch.where(y == 0, 2.0, 0.0).double(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("start", ["zero", "uniform"])
def test_l2rw_stands_still_where_every_sample_harms(start):
    small = alike([1] * 8, val_y=0)
    model, weights = trained(L2RW(start=start), small)
    assert all(torch.equal(w, torch.zeros(8, dtype=torch.float64)) for w in weights)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), small.new_model().parameters(), strict=True))


def test_l2rw_trains_as_erm_where_all_samples_help_alike():
    small = alike([0] * 8, val_y=0)
    model, weights = trained(L2RW(), small)
    assert max((w - 1).abs().max() for w in weights) < 1e-12
    assert distance(list(model.parameters()), list(train(ERM(), small).parameters())) < 1e-12


@pytest.mark.parametrize(("y", "expected"), [(0, 1.0), (1, 0.0)])
def test_l2rw_takes_one_sample_or_leaves_it(y, expected):
    _, weights = trained(L2RW(), alike([y] * 3, val_y=0, batch_size=1))
    assert torch.stack(weights).flatten().tolist() == [expected] * 6


def test_l2rw_does_not_depend_on_the_learning_rate_of_its_virtual_step():
    first = [trained(L2RW(), task(lr=lr))[1][0] for lr in (1e-30, 0.1)]
    assert torch.equal(*first)
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    found = [trained(L2RW(look_ahead=kind), task(**plain))[1] for kind in ("gradient", "optimizer")]
    assert distance(*found) < 1e-12


@pytest.mark.parametrize("options", [{}, {"start": "uniform"}, {"look_ahead": "optimizer"}], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_l2rw_reads_no_value(options, optimizer):
    small = dataclasses.replace(task(MODELS["conv"][0], optimizer=optimizer), check=False)
    method = L2RW(**options)
    method.begin(small)
    first, second, _ = small.batches(0)
    method.update(first)
    with NothingRead():
        method.update(second)


@pytest.mark.parametrize("options", [{"start": "uniform"}, {"look_ahead": "optimizer"}], ids=str)
def test_l2rw_keeps_the_contract_with_its_options(options):
    check_method(L2RW, options)
