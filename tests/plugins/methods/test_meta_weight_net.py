"""Meta-Weight-Net against its Algorithm 1 written out naively, and where its weights are known."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.autograd import grad

from bench import OptionError, Task
from bench.meta import optimizer_step
from bench.testing import check_method, toy_task, train
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.meta_weight_net import MetaWeightNet
from tests.literal import (
    MODELS,
    Double,
    Logits,
    NothingRead,
    cross_entropy,
    descend,
    distance,
    optimizer_of,
    task,
    trained,
)


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def v(loss: float, net: Sequence[Tensor]) -> Tensor:
    """One neuron of the hidden layer after the other."""
    weight, bias, out_weight, out_bias = net
    total = out_bias[0]
    for k in range(len(weight)):
        total = total + out_weight[k] * (loss * weight[k] + bias[k]).clamp_min(0)
    return 1 / (1 + (-total).exp())


def weights(losses: Sequence[Tensor], net: Sequence[Tensor], normalize: bool) -> list[Tensor]:
    """Of the losses' values; with sum 1, or to be averaged over the batch."""
    found = [v(loss.item(), net) for loss in losses]
    return [w / (torch.stack(found).sum() if normalize else len(found)) for w in found]


@dataclasses.dataclass
class Naive:
    """Algorithm 1, differentiated through the virtual step."""

    task: Task
    logits: Logits
    option: MetaWeightNet

    def run(self) -> "Naive":
        o, task = self.option, self.task
        self.theta = [p.detach().requires_grad_() for p in task.new_model().parameters()]
        drawn = task.streams.draw(o.initial_theta, "method").split([o.hidden] * 3 + [1])
        self.net = [part.clone().requires_grad_() for part in drawn]
        optimizer, validation = optimizer_of(task, self.theta), task.val_batches()
        kind = torch.optim.Adam if o.meta_optimizer == "adam" else torch.optim.SGD
        self.optimizer = kind(self.net, o.meta_lr, weight_decay=o.meta_weight_decay, foreach=False)
        self.weights = []
        for epoch in range(task.epochs):
            optimizer.param_groups[0]["lr"] = task.lr(epoch)
            for batch in task.batches(epoch):
                losses = cross_entropy(self.logits(self.theta, batch.x), batch.y)
                delta = grad(self.weighted(losses), self.theta, create_graph=True)
                if o.look_ahead == "gradient":
                    virtual = [p - task.lr(epoch) * d for p, d in zip(self.theta, delta, strict=True)]
                else:
                    virtual, _ = optimizer_step(optimizer)(self.theta, delta)
                clean = next(validation)
                meta = torch.stack(cross_entropy(self.logits(virtual, clean.x), clean.y)).mean()
                descend(self.optimizer, self.net, grad(meta, self.net))
                descend(optimizer, self.theta, grad(self.weighted(losses), self.theta))
        return self

    def weighted(self, losses: Sequence[Tensor]) -> Tensor:
        w = weights(losses, self.net, self.option.normalize)
        self.weights.append(torch.stack(w).detach() * len(losses))
        return torch.stack([wi * loss for wi, loss in zip(w, losses, strict=True)]).sum()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("look_ahead", ["gradient", "optimizer"])
@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("adam", 0.01)])
@pytest.mark.parametrize(("meta_optimizer", "meta_lr"), [("adam", 0.1), ("sgd", 30.0)])
def test_meta_weight_net_is_algorithm_1(name, normalize, look_ahead, optimizer, lr, meta_optimizer, meta_lr):
    new_model, logits = MODELS[name]
    small = task(new_model, optimizer=optimizer, lr=lr)
    method = MetaWeightNet(meta_optimizer, meta_lr, 1e-4, normalize, hidden=7, look_ahead=look_ahead)
    model, found = trained(method, small)
    expected = Naive(small, logits, method).run()
    assert max(w.std() for w in found) > 1e-3
    assert distance(found, expected.weights[1::2]) < 1e-10  # those of the real steps
    assert distance(list(model.parameters()), expected.theta) < 1e-10
    start = small.streams.draw(method.initial_theta, "method")
    steps = [torch.cat([t.detach() for t in theta]) - start for theta in (method.theta, expected.net)]
    assert steps[1].norm() > 0.05
    assert distance([steps[0]], [steps[1]]) < 1e-10
    for own, other in zip(method.theta, expected.net, strict=True):
        state = method.theta_optimizer.state[own], expected.optimizer.state[other]
        assert all(distance([state[0][key]], [state[1][key]]) < 1e-10 for key in state[1])


class Constant(MetaWeightNet):
    """Its network gives 1/4, whatever the loss."""

    def initial_theta(self, generator: Generator) -> Tensor:
        theta = torch.zeros(3 * self.hidden + 1)
        theta[-1] = torch.tensor(1 / 3).log()
        return theta


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("normalize", "constant"), [(False, 0.25), (True, 1.0)])
def test_meta_weight_net_with_a_constant_network_trains_as_erm_at_that_multiple(normalize, constant):
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    model, found = trained(Constant(meta_lr=0.0, normalize=normalize), task(**plain))
    erm = train(ERM(), task(**plain, lr=0.1 * constant))
    assert max((w - constant).abs().max() for w in found) < 1e-12
    assert distance(list(model.parameters()), list(erm.parameters())) < 1e-12


@pytest.mark.usefixtures("float64")
def test_meta_weight_net_normalised_gives_one_sample_its_whole_weight():
    _, found = trained(MetaWeightNet(normalize=True), task(batch_size=1, epochs=None, steps=3))
    assert torch.cat(found).tolist() == [1, 1, 1]


@pytest.mark.usefixtures("float64")
def test_meta_weight_net_draws_its_network_as_linear_layers():
    drawn = MetaWeightNet(hidden=10_000).initial_theta(Generator().manual_seed(0))
    hidden, out = drawn[:20_000], drawn[20_000:]
    for part, bound in ((hidden, 1.0), (out, 0.01)):
        assert 0.99 * bound < part.abs().max() < bound
        assert part.mean().item() == pytest.approx(0, abs=4 * bound / (3 * len(part)) ** 0.5)
        assert part.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def toy(seeds: Sequence[int], stacked: bool) -> Task:
    plain = toy_task(seeds, stacked)
    return dataclasses.replace(plain, new_model=lambda: nn.Sequential(Double(), plain.new_model()).double())


def test_meta_weight_net_gives_each_stacked_run_a_network_of_its_own():
    tasks = toy((0, 1, 2), stacked=True), *(toy((seed,), stacked=False) for seed in (0, 1, 2))
    torch.set_default_dtype(torch.float64)
    try:
        methods = [MetaWeightNet(meta_lr=0.1) for _ in tasks]
        found = [trained(method, task)[1] for method, task in zip(methods, tasks, strict=True)]
    finally:
        torch.set_default_dtype(torch.float32)
    for run, single in enumerate(methods[1:]):
        assert distance([part[run] for part in methods[0].theta], list(single.theta)) < 1e-10
        assert distance([w[run] for w in found[0]], found[1 + run]) < 1e-10
    assert all(distance(list(a.theta), list(b.theta)) > 0.1 for a, b in itertools.pairwise(methods[1:]))


@pytest.mark.parametrize("look_ahead", ["gradient", "optimizer"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_meta_weight_net_reads_no_value_and_updates_its_state_in_place(look_ahead, optimizer):
    small = dataclasses.replace(task(MODELS["conv"][0], optimizer=optimizer), check=False)
    method = MetaWeightNet(look_ahead=look_ahead, normalize=True)
    method.begin(small)
    first, second, _ = small.batches(0)
    method.update(first)
    held = [*method.theta, *method.theta_optimizer.state[method.theta[0]].values()]
    before = [t.clone() for t in held]
    with NothingRead():
        method.update(second)
    assert held == [*method.theta, *method.theta_optimizer.state[method.theta[0]].values()]
    assert not any(torch.equal(a, b) for a, b in zip(held, before, strict=True))


@pytest.mark.parametrize(
    "options", [{"normalize": True, "meta_optimizer": "sgd"}, {"look_ahead": "optimizer"}], ids=str
)
def test_meta_weight_net_keeps_the_contract_with_its_options(options):
    check_method(MetaWeightNet, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, not 0"),
        ({"meta_lr": -1.0}, "meta_lr must be at least 0, not -1"),
        ({"meta_weight_decay": -1.0}, "meta_weight_decay must be at least 0, not -1"),
    ],
)
def test_meta_weight_net_refuses_values_that_make_no_network(options, message):
    with pytest.raises(OptionError, match=f"^meta_weight_net: {message}$"):
        MetaWeightNet(**options)
