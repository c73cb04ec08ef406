"""DeepAugment: its distortions, the preparation of its autoencoder, and what it is for, on digits."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from bench import NotApplicableError, OptionError
from bench.testing import check_method, toy_task, train
from bench.training.checkpoints import Checkpoints
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench_plugins.methods import deep_augment
from bench_plugins.methods.augmix import AugMix
from bench_plugins.methods.deep_augment import (
    Autoencoder,
    DeepAugment,
    DeepAugmentAugMix,
    choose,
    distort_signal,
    distort_weight,
)
from bench_plugins.methods.erm import ERM
from tests.literal import NothingRead
from tests.plugins.methods.test_augmix import batch_of, begun, image_task, robustness_gains, some_digits


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[name]) for name, v in a.state_dict().items())


# The distortions


def test_choices_are_as_frequent_as_asked_and_alike():
    torch.manual_seed(0)
    parts = [torch.full((40_000, 1), float(i)) for i in range(4)]
    for rate in (0.0, 0.3, 1.0):
        counts = choose(parts[0], parts[1:], rate, 1).flatten().long().bincount(minlength=4) / 40_000
        expected = torch.tensor([1 - rate, rate / 3, rate / 3, rate / 3])
        torch.testing.assert_close(counts, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("dims", [1, 2])
def test_a_choice_is_made_for_whole_filters_or_channels(dims):
    torch.manual_seed(0)
    shape = (30, 20, 3, 3)
    chosen = choose(torch.zeros(shape), [torch.ones(shape)], 0.5, dims).flatten(dims)
    assert torch.equal(chosen.amin(-1), chosen.amax(-1))
    assert 0.3 < chosen.mean() < 0.7


def kinds(found: Tensor, known: list[Tensor], dims: int) -> Tensor:
    """How many of the entries over the first dimensions are each of the known ones, and how many none of them."""
    equal = torch.stack([(found - k).flatten(dims).abs().amax(-1) < 1e-6 for k in known])
    return torch.cat([equal.sum(tuple(range(1, dims + 1))), (~equal.any(0)).sum().view(1)])


def test_filters_are_zeroed_negated_transposed_or_convolved():
    torch.manual_seed(0)
    w = torch.randn(400, 5, 3, 3)
    found = distort_weight(w, 0.8)
    assert (kinds(found, [w, torch.zeros_like(w), -w, w.transpose(2, 3)], 1) > 50).all()
    assert torch.equal(distort_weight(w, 0.0), w)


@pytest.mark.parametrize("turned", [lambda on: on.transpose(2, 3), lambda on: on[..., :6].flip(-1)], ids=["8x8", "8x6"])
def test_signals_are_zeroed_negated_turned_convolved_or_have_another_activation(turned):
    torch.manual_seed(0)
    h = torch.randn(40, 20, 8, 8)
    expected = turned(h.relu())
    h = h[..., : expected.shape[-1]]
    known = [h.relu(), torch.zeros_like(h), -h.relu(), expected, nn.GELU()(h), h.tanh(), h.abs()]
    assert (kinds(distort_signal(h, 0.8), known, 2) > 40).all()
    assert torch.equal(distort_signal(h, 0.0), h.relu())


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 32, 32), (3, 3, 7, 10)])
def test_the_autoencoder_keeps_the_shape(shape):
    x = torch.rand(shape)
    made = Autoencoder(shape[1], 4)(x)
    assert made.shape == x.shape and made.min() >= 0 and made.max() <= 1


# Preparation


def test_the_autoencoder_begins_as_the_seed_says():
    """And it draws nothing from the generator of the process, which goes on as after any other method's beginning."""
    found, after = [], []
    for seed, kind in ((0, DeepAugment), (0, DeepAugment), (1, DeepAugment), (1, ERM)):
        method = kind()
        method.begin(image_task((seed,)))
        found.append(getattr(method, "autoencoder", None))
        after.append(torch.rand(()).item())
    assert same(found[0], found[1]) and not same(found[0], found[2])
    assert after[0] == after[1] != after[2] == after[3]


def error(method: DeepAugment, x: Tensor) -> float:
    with torch.no_grad():
        return float((method.autoencoder(x) - x).square().mean())


@pytest.fixture(scope="module")
def prepared() -> DeepAugment:
    """After the training on 600 digits, with the defaults."""
    method, (digits, _) = DeepAugment(), some_digits(600, 0)
    train(method, dataclasses.replace(image_task(epochs=1), train=digits))
    return method


def test_the_autoencoder_learns_to_reconstruct(prepared):
    """Images that it did not see, much better than at its start, or than their mean image."""
    _, others = some_digits(600, 0)
    x = others.x / 255
    assert error(prepared, x) < 0.2 * error(begun(DeepAugment()), x)
    assert error(prepared, x) < 0.25 * (x - x.mean(0)).square().mean()


def test_distorted_images_differ_and_correlate(prepared):
    torch.manual_seed(0)
    x = some_digits(600, 0)[0].x / 255
    found = torch.cat([prepared.distorted(part) for part in x.split(50)])
    changed = torch.cat([torch.arange(50) < 25] * 12)
    assert torch.equal(found[~changed], x[~changed])
    found, x = found[changed], x[changed]
    assert found.min() >= 0 and found.max() <= 1
    assert ((found - prepared.autoencoder(x)).abs().flatten(1).amax(1) > 0.05).float().mean() > 0.8
    pairs = torch.stack([found, x], 1).flatten(2)
    correlation = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])
    assert 0.5 < correlation.mean() < 0.98


def test_filters_are_distorted_for_the_batch_and_signals_for_each_image(monkeypatch, prepared):
    torch.manual_seed(0)
    x = some_digits(1, 0)[0].x.expand(40, -1, -1, -1) / 255
    plain = prepared.autoencoder(x[:1]).detach()

    def spread() -> tuple[float, float]:
        """Between the 20 distorted images, and from what is reconstructed."""
        found = prepared.distorted(x)[:20]
        return float(found.std(0).amax()), float((found - plain).abs().amax())

    assert min(spread()) > 0.1
    monkeypatch.setattr(deep_augment, "distort_signal", lambda h, rate: h.relu())
    between, off = spread()
    assert between < 1e-5 and off > 0.1
    monkeypatch.setattr(deep_augment, "distort_weight", lambda w, rate: w)
    assert max(spread()) < 1e-5


def test_without_distortion_images_are_reconstructed(prepared):
    x = torch.rand(8, 1, 8, 8)
    method = copy.copy(prepared)
    method.rate, method.share = 0.0, 0.5
    found = method.distorted(x)
    torch.testing.assert_close(found[:4], prepared.autoencoder(x[:4]).detach())
    assert torch.equal(found[4:], x[4:])


def test_preparation_is_paid_for_and_changes_the_autoencoder_alone():
    method, meter, task = DeepAugment(autoencoder_epochs=2), Meter(NoEvaluations()), image_task()
    models, encoders = [], []

    def noted(epoch: int) -> None:
        models.append(copy.deepcopy(method.model))
        encoders.append(copy.deepcopy(method.autoencoder))

    method.end_epoch = noted  # type: ignore[method-assign]
    with torch.random.fork_rng([]):
        method.fit(task, meter)
    assert meter.steps == (2 + 3) * 3
    assert [row["step"] for row in meter.history] == [9, 12, 15]
    assert [same(model, task.new_model()) for model in models] == [True, True, False, False, False]
    assert [same(one, encoders[-1]) for one in encoders] == [False, True, True, True, True]


class Interrupted(DeepAugmentAugMix):
    """Stops at the end of an epoch, before its checkpoint."""

    stop = -1

    def end_epoch(self, epoch):
        if epoch == self.stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [-2, -1, 0, 1])
def test_a_training_interrupted_anywhere_ends_where_it_would_have(monkeypatch, tmp_path, stop):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(Interrupted, "stop", stop)
    whole, resumed = (DeepAugmentAugMix(autoencoder_epochs=3) for _ in range(2))
    train(whole, image_task())
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(autoencoder_epochs=3), image_task(), tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint").exists()
    train(resumed, image_task(), tmp_path / "checkpoint")
    assert same(resumed.model, whole.model) and same(resumed.autoencoder, whole.autoencoder)


# Training


def test_with_no_share_it_trains_as_erm():
    assert same(train(DeepAugment(share=0.0), image_task()), train(ERM(), image_task()))


def test_with_no_share_and_augmix_it_trains_as_augmix():
    assert same(train(DeepAugmentAugMix(share=0.0, severity=5.0), image_task()), train(AugMix(5.0), image_task()))


def test_the_loss_is_that_of_the_distorted_batch(monkeypatch):
    method, erm = begun(DeepAugment()), begun(ERM())
    made = torch.rand(6, 1, 8, 8)
    monkeypatch.setattr(method, "distorted", lambda x: made)
    torch.testing.assert_close(method.losses(batch_of(torch.rand(6, 1, 8, 8))), erm.losses(batch_of(made)))


# The rules


@pytest.mark.parametrize("method", [DeepAugment, DeepAugmentAugMix])
def test_with_all_of_each_batch_distorted_the_contract_is_kept(method):
    check_method(method, {"share": 1.0, "autoencoder_epochs": 1, "channels": 4})


@pytest.mark.parametrize("kind", [DeepAugment, DeepAugmentAugMix])
def test_an_update_reads_no_value(kind):
    method, batch = begun(kind()), batch_of(torch.rand(6, 1, 8, 8))
    method.update(batch)  # the optimisers' first step
    with NothingRead():
        method.update(batch)
        method.prepare(batch)


def test_what_deep_augment_cannot_use_is_told():
    train(DeepAugment(autoencoder_epochs=1), image_task(loss="hinge"))
    with pytest.raises(NotApplicableError, match="deep_augment needs images"):
        train(DeepAugment(), toy_task())
    with pytest.raises(NotApplicableError, match="augmix changes the cross-entropy"):
        train(DeepAugmentAugMix(), image_task(loss="hinge"))


@pytest.mark.parametrize("method", [DeepAugment, DeepAugmentAugMix])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.1}, r"share must be in \[0, 1\], not 1.1"),
        ({"rate": -0.1}, r"rate must be in \[0, 1\], not -0.1"),
        ({"channels": 0}, "channels must be at least 1, not 0"),
        ({"autoencoder_epochs": -1}, "autoencoder_epochs must be at least 0, not -1"),
    ],
)
def test_options_out_of_range_are_refused(method, options, message):
    with pytest.raises(OptionError, match=f"^{method.name}: {message}$"):
        method(**options)


def test_options_of_augmix_are_checked_too():
    with pytest.raises(OptionError, match=r"^deep_augment_augmix: severity must be in \[0, 10\], not 11$"):
        DeepAugmentAugMix(severity=11.0)


# What it is for


@pytest.mark.slow
def test_by_itself_it_is_about_as_robust_as_erm():
    """Hendrycks et al. 2021 find gains on ImageNet-C; this light version has none that holds from seed to seed."""
    gains = robustness_gains(DeepAugment)[:, 1:].mean(1)
    assert gains.mean().abs() < 0.02
    assert 0 < (gains > 0).sum() < 5


@pytest.mark.slow
def test_with_augmix_it_is_more_robust_than_erm():
    """In the mean over corruptions that it never saw, for each seed. So is AugMix without it."""
    gains = robustness_gains(DeepAugmentAugMix)[:, 1:].mean(1)
    assert gains.mean() > 0.01
    assert (gains > 0).sum() >= 4
