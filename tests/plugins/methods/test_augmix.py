"""AugMix against PIL, slow loops, scipy and closed forms; and what it is for, on digits."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import Files, Method, NotApplicableError, OptionError, Split, Task
from bench.images import mixtures
from bench.models.predict import predict
from bench.streams import derive
from bench.testing import check_method, toy_task, train
from bench.training.losses import jensen_shannon
from bench_plugins.datasets.digits import load_digits
from bench_plugins.methods.augmix import AugMix
from bench_plugins.methods.erm import ERM
from tests.literal import NothingRead

DIGITS = load_digits(Files(Path()))


# Small tasks of 8x8 images


def some_digits(n: int, seed: int) -> tuple[Split, Split]:
    """n digits, and all others."""
    order = torch.randperm(len(DIGITS.train), generator=torch.Generator().manual_seed(seed))
    return DIGITS.train.select(order[:n]), DIGITS.train.select(order[n:])


def new_cnn(seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(derive(seed, "init"))
        layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
        layers += [nn.Conv2d(16, 32, 3, 2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(32 * 4 * 4, 10))


def image_task(
    seeds: Sequence[int] = (0,), stacked: bool = False, val_seed: int = 1, regroup: bool = False, **recipe: Any
) -> Task:
    """`bench.testing.toy_task` on 40 digits for training and 20 for validation."""
    assert not stacked
    (seed,) = seeds
    digits, _ = some_digits(40, 10 + seed)
    return dataclasses.replace(
        toy_task(seeds, **recipe),
        train=dataclasses.replace(digits, group=(digits.group + regroup) % 10),
        val=some_digits(20, 1000 * val_seed + seed)[0],
        classes=DIGITS.classes,
        groups=DIGITS.classes,
        new_model=lambda: new_cnn(seed),
    )


def begun(method: Method, **recipe: Any) -> Method:
    method.begin(image_task(**recipe))
    method.model.train()
    return method


def batch_of(x: Tensor) -> Any:
    batch = image_task().train.batch(torch.arange(len(x)))
    return batch._replace(x=x)


# The mixtures


@pytest.mark.parametrize(("width", "alpha", "depth"), [(3, 1.0, 3), (2, 0.5, 1), (4, 5.0, 2)])
def test_mixtures_have_the_moments_of_algorithm_1(monkeypatch, width, alpha, depth):
    """If each operation adds 1, a mixture of x is x + (1 - m) sum_i w_i depth_i, with moments known in closed form."""
    monkeypatch.setattr(mixtures, "operate", lambda x, kind, strength: x + 1)
    torch.manual_seed(0)
    method, n = AugMix(width=width, alpha=alpha, depth=depth), 40_000
    start = torch.rand(n, 1, 1, 1)
    found = (method.mixtures(start) - start).flatten().double()
    mean, variance = (1 + depth) / 2, (depth**2 - 1) / 12
    of_weights = (alpha + 1) / (width * alpha + 1)  # E sum w^2
    of_skip = (alpha + 1) / (2 * (2 * alpha + 1))  # E (1 - m)^2
    for power, expected in ((1, mean / 2), (2, of_skip * (variance * of_weights + mean**2))):
        moment = found**power
        assert moment.mean().item() == pytest.approx(expected, abs=4 * moment.std().item() / math.sqrt(n))


@pytest.mark.parametrize(("width", "alpha"), [(1, 1.0), (3, 1.0), (2, 0.5), (4, 5.0)])
def test_chains_are_weighed_by_a_dirichlet(monkeypatch, width, alpha):
    """If the first chain alone adds 1, a mixture of x is x + (1 - m) w_1, where w_1 is from Beta(a, (k - 1) a)."""
    torch.manual_seed(0)
    method, n = AugMix(width=width, alpha=alpha), 40_000
    monkeypatch.setattr(method, "chains", lambda x: torch.cat([x[:n] + 1, x[n:]]))
    found = method.mixtures(torch.zeros(n, 1, 1, 1)).flatten().double()
    of_weight = (alpha + 1) / (width * (width * alpha + 1))
    of_skip = (alpha + 1) / (2 * (2 * alpha + 1))
    for power, expected in ((1, 1 / (2 * width)), (2, of_skip * of_weight)):
        moment = found**power
        assert moment.mean().item() == pytest.approx(expected, abs=4 * moment.std().item() / math.sqrt(n))


def test_operations_are_drawn_alike_with_strengths_up_to_the_severity(monkeypatch):
    drawn = []
    monkeypatch.setattr(mixtures, "operate", lambda x, kind, strength: drawn.append((kind, strength)) or x)
    torch.manual_seed(0)
    AugMix(severity=4.0).mixtures(torch.zeros(3000, 1, 1, 1))
    kind, strength = (torch.cat(part) for part in zip(*drawn, strict=True))
    assert len(kind) == 3 * 3 * 3000
    torch.testing.assert_close(kind.bincount() / len(kind), torch.full((9,), 1 / 9), rtol=0, atol=0.01)
    assert 0.399 < strength.max() <= 0.4 and -0.4 <= strength.min() < -0.399
    assert strength.mean().item() == pytest.approx(0, abs=0.006)
    assert strength.abs().mean().item() == pytest.approx(0.2, abs=0.003)


@pytest.mark.parametrize("shape", [(50, 1, 8, 8), (50, 3, 12, 9)])
def test_mixtures_are_images_of_their_own(shape):
    torch.manual_seed(0)
    x = torch.rand(shape).mul(255).round() / 255
    found = AugMix(severity=10.0).mixtures(x)
    assert found.shape == x.shape and found.min() >= 0 and found.max() <= 1 + 1e-6
    assert ((found - x).abs().flatten(1).amax(1) > 1e-3).float().mean() > 0.9


# The loss


def test_the_loss_is_cross_entropy_of_the_clean_image_and_12_times_the_divergence(monkeypatch):
    """In one pass: BatchNorm sees the three views together, once."""
    method, x = begun(AugMix()), torch.rand(6, 1, 8, 8)
    first, second = torch.rand(2, 6, 1, 8, 8)
    monkeypatch.setattr(method, "mixtures", lambda pair: torch.cat([first, second]), raising=True)
    batch, reference = batch_of(x), new_cnn(0).train()
    z = reference(torch.cat([x, first, second])).view(3, 6, 10)
    expected = F.cross_entropy(z[0], batch.y, reduction="none") + 12 * jensen_shannon(z)
    torch.testing.assert_close(method.losses(batch), expected)
    for own, other in zip(method.model.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(own, other)


def test_where_the_operations_change_nothing_the_losses_are_erms():
    """At severity 0, of an image of one level that 4 bits hold."""
    x = (16 * torch.arange(12) / 255).view(12, 1, 1, 1).expand(-1, 1, 8, 8)
    methods = [begun(method) for method in (AugMix(severity=0.0), ERM())]
    for method in methods:
        method.model.eval()  # of more views, BatchNorm has other statistics
    torch.testing.assert_close(*(method.losses(batch_of(x)) for method in methods), rtol=1e-5, atol=1e-5)


def test_without_operations_it_trains_as_erm(monkeypatch):
    monkeypatch.setattr(mixtures, "operate", lambda x, kind, strength: x)
    task = image_task()
    plain = dataclasses.replace(task, new_model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    torch.manual_seed(0)
    start = plain.new_model().state_dict()

    def new_model() -> nn.Module:
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        model.load_state_dict(start)
        return model

    same_start = dataclasses.replace(plain, new_model=new_model)
    found, expected = train(AugMix(), same_start), train(ERM(), same_start)
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# The rules


@pytest.mark.parametrize("options", [{}, {"severity": 10.0, "width": 2, "depth": 1}], ids=str)
def test_augmix_keeps_the_contract(options):
    check_method(AugMix, options)


def test_an_update_reads_no_value():
    method = begun(AugMix())
    with NothingRead():
        method.update(batch_of(torch.rand(6, 1, 8, 8)))


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (toy_task, r"needs images \[C, H, W\], not inputs of shape \[3\]"),
        (image_task, "changes the cross-entropy"),
    ],
)
def test_what_augmix_cannot_use_is_told(task: Callable[..., Task], reason):
    with pytest.raises(NotApplicableError, match=f"augmix {reason}"):
        train(AugMix(), task(loss="hinge"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"severity": -1.0}, r"severity must be in \[0, 10\], not -1"),
        ({"severity": 10.1}, r"severity must be in \[0, 10\], not 10.1"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"alpha": 0.0}, "alpha must be above 0, not 0"),
        ({"consistency": -1.0}, "consistency must be at least 0, not -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=f"^augmix: {message}$"):
        AugMix(**options)


# What it is for


def corrupted(x: Tensor, kind: str) -> Tensor:
    """Images [N, 1, 8, 8] with Gaussian noise (standard deviation 0.2), blurred by a 3x3 mean, or moved by one pixel in
    one of four directions.
    """
    g = torch.Generator().manual_seed(0)
    if kind == "noise":
        return (x + 0.2 * torch.randn(x.shape, generator=g)).clamp(0, 1)
    if kind == "blur":
        return F.avg_pool2d(x, 3, 1, 1)
    padded = F.pad(x, (1, 1, 1, 1))
    moved = [padded[..., i : i + 8, j : j + 8] for i, j in ((0, 1), (2, 1), (1, 0), (1, 2))]
    direction = torch.randint(4, (1, len(x)), generator=g)
    return torch.stack(moved).gather(0, direction[..., None, None, None].expand(-1, -1, *x.shape[1:]))[0]


CORRUPTIONS = ("noise", "blur", "shift")


def accuracies(method: Method, seed: int) -> Tensor:
    """On clean test images and under each corruption, after 15 epochs on 600 digits."""
    digits, test = some_digits(600, seed)
    task = image_task((seed,), optimizer="adam", lr=3e-3, epochs=15, batch_size=50)
    model = train(method, dataclasses.replace(task, train=digits))
    clean = test.x / 255
    found = []
    for x in (clean, *(corrupted(clean, kind) for kind in CORRUPTIONS)):
        right = predict(model, dataclasses.replace(test, x=x), 500).argmax(-1) == test.y
        found.append(right.float().mean())
    return torch.stack(found)


def robustness_gains(method: Callable[[], Method]) -> Tensor:
    """[5 seeds, clean and corruptions]: accuracy beyond ERM's with the same seed."""
    return torch.stack([accuracies(method(), seed) - accuracies(ERM(), seed) for seed in range(5)])


@pytest.mark.slow
def test_augmix_is_more_robust_than_erm_to_corruptions_that_it_never_saw():
    """As Hendrycks et al. 2020 find on CIFAR-C, in the small: in the mean over the corruptions, for each seed."""
    gains = robustness_gains(AugMix)
    assert gains[:, 1:].mean() > 0.01
    assert (gains[:, 1:].mean(1) > 0).sum() >= 4
    _, noise, blur, shift = gains.mean(0)
    assert blur > 0.05 and shift > 0.05
    assert noise < 0  # which the paper does not find on CIFAR-C
