"""The universal perturbation against closed forms on linear models, and on a network for digits."""

import pytest
import torch
from torch import Generator, Tensor, nn

from bench import Files, NotApplicableError, OptionError, Split
from bench.images.attacks import perturbed, universal_perturbation
from bench.models.predict import predict
from bench_plugins.datasets.digits import load_digits
from bench_plugins.models.mlp import mlp


def grey(n: int, classes: int = 1) -> Split:
    """Images [n, 1, 4, 4] of values around 1/2, so that small perturbations meet no bound."""
    x = torch.randint(120, 136, (n, 1, 4, 4), generator=Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(n) % classes
    return Split(x, y, y)


def linear(classes: int) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))


def attack(model: nn.Module, split: Split, seed: int = 0, **options: float) -> Tensor:
    given = {"eps": 0.05, "steps": 30} | options
    return universal_perturbation(model, split, generator=Generator().manual_seed(seed), **given)


def test_of_a_linear_model_and_one_class_it_is_the_corner_of_the_ball():
    """Every loss falls with the margin w . x, so the worst is -eps sign(w)."""
    model = linear(2)
    margin = model[1].weight[0] - model[1].weight[1]
    delta = attack(model, grey(50))
    torch.testing.assert_close(delta, -0.05 * margin.sign().view(1, 4, 4), rtol=0, atol=1e-7)


def test_a_step_is_the_sign_of_the_gradient_of_the_clipped_losses():
    """The losses of class 1 are above beta and move nothing."""
    model, split = linear(2), grey(40, classes=2)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([3.0, -3.0]))
    margin = model[1].weight[0] - model[1].weight[1]
    delta = attack(model, split, steps=1, step=0.5, beta=3.0)
    torch.testing.assert_close(delta, -0.025 * margin.sign().view(1, 4, 4), rtol=0, atol=1e-7)
    both = attack(model, split, steps=1, step=0.5, beta=30.0)
    torch.testing.assert_close(both, -delta, rtol=0, atol=1e-7)  # class 1, misclassified, pulls harder


@pytest.mark.parametrize("step", [0.1, 1.0, 5.0])
def test_it_stays_in_the_ball_and_is_that_of_the_generator(step):
    model, split = linear(5), grey(60, classes=5)
    found = attack(model, split, step=step, batch_size=7)
    assert 0.01 < found.abs().max() <= 0.05
    assert torch.equal(found, attack(model, split, step=step, batch_size=7))
    assert not torch.equal(found, attack(model, split, seed=1, step=step, batch_size=7))


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (attack(model, grey(30, classes=3)) for _ in range(2))
    assert torch.equal(first, second)  # no dropout, no batch statistics
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_one_perturbation_misleads_a_network_more_than_noise_of_its_size(tmp_path):
    split = load_digits(Files(tmp_path)).train
    torch.manual_seed(0)
    model = mlp((1, 8, 8), 10, hidden=(64,))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for batch in list(split.in_order(64)) * 6:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch.x), batch.y).backward()
        optimizer.step()
    delta = attack(model, split, eps=0.2, steps=40)
    noise = 0.2 * torch.randn(delta.shape, generator=Generator().manual_seed(0)).sign()

    def accuracy(change: Tensor) -> float:
        x = (255 * perturbed(split.x / 255, change)).round().byte()
        return (predict(model, Split(x, split.y, split.group), 512).argmax(-1) == split.y).float().mean().item()

    clean, noisy, attacked = (accuracy(change) for change in (torch.zeros_like(delta), noise, delta))
    assert clean > 0.9
    assert attacked < noisy - 0.2


@pytest.mark.parametrize("options", [{"eps": -0.1}, {"eps": 2.0}, {"steps": 0}, {"step": 0.0}, {"beta": 0.0}], ids=str)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(OptionError, match=r"the attack needs eps in \[0, 1\]"):
        attack(linear(2), grey(4), **options)


def test_what_is_no_image_is_refused():
    y = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(NotApplicableError, match=r"the universal perturbation needs images"):
        attack(linear(2), Split(torch.zeros(4, 16), y, y))
