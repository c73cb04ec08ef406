"""Data parameters against their equations written out sample by sample, and what they find in noisy labels."""

import math

import pytest
import torch

from bench import Batch, NotApplicableError, OptionError
from bench.testing import check_method, toy_task, train
from bench_plugins.methods.data_parameters import DataParameters
from bench_plugins.methods.erm import ERM
from tests.claims import accuracy, gains, task

LEVELS = ["both", "class", "instance"]


def begun(**options: object) -> tuple[DataParameters, Batch, list[list[float]]]:
    """A method with other temperatures than the first ones, a batch, and its logits."""
    method, small = DataParameters(**options), toy_task()
    method.begin(small)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for table in method.log_sigma.values():
            table.copy_(0.5 * torch.randn(table.shape, generator=generator))
    batch = next(small.batches(0))
    return method, batch, method.model(batch.x).double().tolist()


def tables(method: DataParameters) -> dict[str, list[float]]:
    return {name: table.double().tolist() for name, table in method.log_sigma.items()}


def used(method: DataParameters, batch: Batch, i: int) -> dict[str, int]:
    """Level -> place in its table of what sample i of the batch uses."""
    places = {"class": int(batch.y[i]), "instance": int(batch.index[i])}
    return {name: places[name] for name in method.log_sigma}


def probabilities(z: list[float], sigma: float) -> list[float]:
    total = sum(math.exp(value / sigma) for value in z)
    return [math.exp(value / sigma) / total for value in z]


@pytest.mark.parametrize("level", LEVELS)
def test_the_losses_are_those_of_logits_over_the_sum_of_the_temperatures(level):
    method, batch, logits = begun(level=level)
    log, expected = tables(method), []
    for i, z in enumerate(logits):
        sigma = sum(math.exp(log[name][place]) for name, place in used(method, batch, i).items())
        expected.append(-math.log(probabilities(z, sigma)[batch.y[i]]))
    losses, weights = method.update(batch)
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(weights, torch.ones(len(batch.y)))


@pytest.mark.parametrize("level", LEVELS)
def test_a_step_follows_the_gradient_by_hand(level):
    """d loss / d sigma* = (z_y - sum_j p_j z_j) / sigma*^2, and d sigma* / d log sigma = sigma of each part."""
    lr, decay = {"class": 0.3, "instance": 0.7}, {"class": 0.05, "instance": 0.02}
    parts = [part for part in lr if level in ("both", part)]
    options = {f"{part}_lr": lr[part] for part in parts} | {f"{part}_weight_decay": decay[part] for part in parts}
    method, batch, logits = begun(level=level, **options)
    log, expected = tables(method), tables(method)
    for i, z in enumerate(logits):
        places = used(method, batch, i)
        sigma = sum(math.exp(log[name][place]) for name, place in places.items())
        mean = sum(p * value for p, value in zip(probabilities(z, sigma), z, strict=True))
        for name, place in places.items():
            slope = (z[batch.y[i]] - mean) / sigma**2 * math.exp(log[name][place]) + decay[name] * log[name][place]
            expected[name][place] -= lr[name] * slope / len(logits)
    method.update(batch)
    for name, found in tables(method).items():
        assert found == pytest.approx(expected[name], rel=1e-5)
        assert found != pytest.approx(log[name], rel=1e-5)


def test_a_samples_temperature_moves_only_when_it_is_in_the_batch():
    method, batch, _ = begun(level="instance")
    before = method.log_sigma["instance"].clone()
    method.update(batch)
    moved = (method.log_sigma["instance"] != before).nonzero().squeeze(1)
    assert torch.equal(moved, batch.index.sort().values)


@pytest.mark.parametrize(("level", "first"), [("both", 1.001), ("class", 1.0), ("instance", 1.0)])
def test_the_first_temperature_is_about_1_for_all(level, first):
    method, small = DataParameters(level=level), toy_task()
    method.begin(small)
    batch = next(small.batches(0))
    expected = small.loss(method.model(batch.x) / first, batch.y)
    torch.testing.assert_close(method.losses(batch), expected, rtol=1e-6, atol=0)


def test_temperatures_that_stay_at_1_train_as_erm():
    found, expected = train(DataParameters(level="class", class_lr=0.0), toy_task()), train(ERM(), toy_task())
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))


def test_temperatures_keep_within_their_bounds():
    method, _, _ = begun(level="both", class_lr=1e6, instance_lr=1e6, bound=3.0)
    for batch in toy_task().batches(0):
        method.update(batch)
    for name, initial in (("class", 1.0), ("instance", 0.001)):
        sigma = method.log_sigma[name].exp()
        torch.testing.assert_close(sigma.aminmax(), (torch.tensor(initial / 3), torch.tensor(3.0)))


def test_decay_alone_draws_the_temperatures_to_1():
    """With logits all alike no temperature has a slope of its own."""
    method, batch, _ = begun(level="instance", instance_lr=1.0, instance_weight_decay=0.5)
    before = method.log_sigma["instance"].detach()[batch.index].clone()
    with torch.no_grad():
        for parameter in method.model.parameters():
            parameter.zero_()
    method.update(batch)
    factor = 1 - 0.5 / len(batch.y)
    torch.testing.assert_close(method.log_sigma["instance"].detach()[batch.index], factor * before)


@pytest.mark.parametrize("option", ["class_lr", "instance_lr", "class_weight_decay", "instance_weight_decay", "bound"])
def test_values_out_of_range_are_refused(option):
    valid = "above 1" if option == "bound" else "at least 0"
    with pytest.raises(OptionError, match=f"^data_parameters: {option} must be {valid}, not -0.1$"):
        DataParameters(**{option: -0.1})


@pytest.mark.parametrize(("level", "other"), [("class", "instance"), ("instance", "class")])
@pytest.mark.parametrize("option", ["lr", "weight_decay"])
def test_options_of_a_level_that_is_not_learned_are_refused(level, other, option):
    DataParameters(level=level, **{f"{level}_{option}": 0.1})
    with pytest.raises(OptionError, match=f"^data_parameters: {other}_{option} has no effect with level={level}$"):
        DataParameters(level=level, **{f"{other}_{option}": 0.1})


def test_another_loss_than_the_cross_entropy_is_not_applicable():
    with pytest.raises(NotApplicableError, match="data_parameters changes the cross-entropy"):
        DataParameters().begin(toy_task(loss="hinge"))


@pytest.mark.parametrize("level", LEVELS[1:])
def test_the_contract_with_options(level):
    check_method(DataParameters, {"level": level, f"{level}_lr": 2.0})


# Noisy labels


def test_the_class_that_wrong_labels_name_gets_the_highest_temperature():
    for seed in range(5):
        small, _ = task(seed, "noise")
        method = DataParameters()
        train(method, small)
        assert method.log_sigma["class"].argmax() == 0


def test_samples_with_a_wrong_label_get_high_temperatures():
    """Those with label 0 far from its corner, by temperatures of samples alone."""
    small, _ = task(0, "noise")
    method = DataParameters(level="instance", instance_lr=1.5)
    train(method, small)
    wrong = (small.train.y == 0) & (small.train.x.norm(dim=1) > 3)
    log = method.log_sigma["instance"]
    assert wrong.sum() > 50
    assert log[wrong].mean() > 0.3 > 0 > log[~wrong].mean()


def test_noisy_labels_harm_less():
    found = gains(DataParameters, "noise", accuracy)
    assert found.mean() > 0
    assert (found > 0).sum() >= 4
