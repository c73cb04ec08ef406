"""Batched corruptions against the public ones, image by image, on real images and with the same random numbers."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Generator, Tensor

from bench import DataError, OptionError
from bench.images.corruptions import COMMON, CORRUPTIONS, EXTRA, SEVERITIES
from bench.images.corruptions.base import CHUNK, CIFAR, IMAGENET, IMAGENET_64, nominal_size, to_levels
from bench.images.corruptions.weather import texture
from tools.imagenet_c import authors, our_constants, package, package_constants, public

LEVEL = 1 / 255
EXACT = 0.002
MEAN = {
    "jpeg_compression": 0.12,  # libjpeg's cosines have 13 bits; a coefficient rounded otherwise changes 64 pixels
    "glass_blur": 0.06,  # bytes between the blurs, of values that are bytes but for the last bit
    "motion_blur": 0.26,  # rounded to bytes as in ImageMagick, which the package leaves out
    "snow": 0.06,  # the layer is, before and after its blur
}
"""Mean absolute difference of values, in levels of 255; without an entry, that of single precision."""
MOST = 1.0
"""The same of any one image."""


def photographs(size: int) -> np.ndarray:
    """[20, size, size, 3] bytes: pieces of scikit-learn's two photographs."""
    pieces = [
        image[row : row + 2 * size, column : column + 2 * size]
        for image in load_sample_images().images
        for row in (0, 200)
        for column in (0, 120, 240, 360, 440)
    ]
    return np.stack([np.asarray(Image.fromarray(piece).resize((size, size), Image.Resampling.BOX)) for piece in pieces])


def cifar(count: int = 20) -> np.ndarray:
    """[count, 32, 32, 3] bytes: the first test images of CIFAR-10."""
    path = Path(os.environ.get("BENCH_DATA", "."), "cifar-10-batches-bin/test_batch.bin")
    if not path.exists():
        pytest.skip("BENCH_DATA has no cifar-10-batches-bin/test_batch.bin")
    records = np.fromfile(path, np.uint8, count * 3073).reshape(count, 3073)
    return records[:, 1:].reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)


IMAGES: dict[str, Callable[[], np.ndarray]] = {
    "32 pixels": lambda: photographs(32),
    "64 pixels": lambda: photographs(64),
    "80 pixels": lambda: photographs(80)[::5],
    "CIFAR-10": cifar,
}


def as_bytes(images: np.ndarray) -> Tensor:
    """[N, 3, H, W] uint8"""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def batch(images: np.ndarray) -> Tensor:
    return as_bytes(images) / 255


# The same random numbers, in the order in which the public code asks for them


class Replay:
    """Stands for `numpy.random`: what is drawn next, in place of a standard normal or uniform draw."""

    def __init__(self, values: Iterator[Any]) -> None:
        self.values = values

    def normal(self, loc: float = 0.0, scale: float = 1.0, size: Any = None) -> Any:
        return loc + scale * self.given(size)

    def uniform(self, low: float, high: float, size: Any = ()) -> Any:
        return low + (high - low) * self.given(size)

    def random(self, size: Any) -> Any:
        return self.given(size)

    def poisson(self, mean: np.ndarray) -> np.ndarray:
        return self.given(mean.shape)

    def randint(self, low: int, high: int | None = None, size: Any = ()) -> Any:
        return self.given(size)

    def default_rng(self, _: Any = None) -> "Replay":
        return self

    def given(self, size: Any) -> np.ndarray:
        value = np.asarray(next(self.values))
        assert value.shape == tuple(size)
        return value


def plane(x: Tensor) -> np.ndarray:
    """[C, H, W] -> [H, W, C]"""
    return x.permute(1, 2, 0).double().numpy()


def salt(u: np.ndarray) -> Iterator[np.ndarray]:
    """Whether a value is replaced, and whether by 1."""
    yield 2 * np.minimum(u, 1 - u)
    yield 1 - u


def shuffles(offsets: Tensor) -> Iterator[tuple[int, int]]:
    """[iterations, 2, H', W'], from the last pixel to the first: to the right, and down."""
    for down, right in offsets.flatten(2).flip(2).tolist():
        yield from zip(right, down, strict=True)


def wibbles(u: np.ndarray) -> Iterator[np.ndarray]:
    step = len(u)
    while step >= 2:
        half = step // 2
        yield from (u[half::step, half::step], u[::step, half::step], u[half::step, ::step])
        step = half


def share(angle: Tensor, first: float) -> float:
    return (angle.item() - first) / 90


DRAWN: dict[str, Callable[[Any, int], Iterator[Any]]] = {
    "gaussian_noise": lambda z, i: iter([plane(z[i])]),
    "speckle_noise": lambda z, i: iter([plane(z[i])]),
    "shot_noise": lambda counts, i: iter([plane(counts[i])]),
    "impulse_noise": lambda u, i: salt(plane(u[i])),
    "glass_blur": lambda offsets, i: shuffles(offsets[:, i]),
    "motion_blur": lambda angle, i: iter([share(angle[i], -45)]),
    "snow": lambda d, i: iter([d[0][i, 0].double().numpy(), share(d[1][i], -135)]),
    "frost": lambda d, i: iter([0, 0, 0]),
    "fog": lambda u, i: wibbles(u[i].double().numpy()),
    "elastic_transform": lambda d, i: iter([(part.double().numpy() + 1) / 2 for part in (d[0][i], *d[1][i])]),
    "spatter": lambda z, i: iter([z[i].double().numpy()]),
}


def freeze(ice: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """This ice [H, W, 3] is the photograph, of which the public code takes the upper left corner."""
    photograph = np.pad(255 * ice[..., ::-1], ((0, 1), (0, 1), (0, 0)))
    monkeypatch.setattr(cv2, "imread", lambda _: photograph)
    monkeypatch.setattr(cv2, "resize", lambda image, **_: image)


@pytest.mark.parametrize("all_severities", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one", "all"])
@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_is_the_public_corruption(name, images, all_severities, monkeypatch):
    """Values, not yet rounded to bytes; each severity of all images, or of every fifth."""
    given = IMAGES[images]()
    x, corruption = batch(given), CORRUPTIONS[name]
    size = nominal_size(x)
    theirs = getattr(public(our_constants(size)), name)
    off = []
    for severity in SEVERITIES:
        chosen = corruption.constants[size][severity - 1]
        drawn = corruption.draw(x, chosen, Generator().manual_seed(severity))
        found = corruption.apply(x, chosen, drawn).clamp(0, 1)
        assert (found - x).abs().mean() > LEVEL / 4  # not the image itself
        for i in range(0 if all_severities else severity - 1, len(given), 1 if all_severities else len(SEVERITIES)):
            with monkeypatch.context() as patched:
                if name == "frost":
                    freeze(plane(drawn[i]), patched)
                if name in DRAWN:
                    patched.setattr(np, "random", Replay(DRAWN[name](drawn, i)))
                expected = np.asarray(theirs(Image.fromarray(given[i]), severity), np.float64)
            off.append(np.abs(255 * plane(found[i]) - expected).mean())
    assert np.mean(off) <= MEAN.get(name, EXACT)
    assert max(off) <= (MOST if name in MEAN else EXACT)


def test_the_public_code_asks_for_no_other_random_numbers(monkeypatch):
    """Each value that is drawn is used: a `Replay` ends where the public code does."""
    given = photographs(32)[:1]
    x, theirs = batch(given), public(our_constants(CIFAR))
    for name, values in DRAWN.items():
        chosen = CORRUPTIONS[name].constants[CIFAR][4]
        drawn = CORRUPTIONS[name].draw(x, chosen, Generator().manual_seed(0))
        replay = Replay(values(drawn, 0))
        with monkeypatch.context() as patched:
            if name == "frost":
                freeze(plane(drawn[0]), patched)
            patched.setattr(np, "random", replay)
            getattr(theirs, name)(Image.fromarray(given[0]), 5)
        assert list(replay.values) == [], name


@pytest.mark.skipif(not importlib.util.find_spec("imagenet_c"), reason="needs `pip install --no-deps imagenet-c`")
@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in ("motion_blur", "snow", "frost")])
def test_the_public_code_is_the_authors_own(name, monkeypatch):
    """Of the same seed; without what needs ImageMagick, and the photographs, which are not in that package."""
    seeded = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda _: seeded(0))  # scikit-image's
    chosen = our_constants(CIFAR)
    for image in map(Image.fromarray, photographs(32)[::5]):
        for severity in SEVERITIES:
            found = []
            for code in (public(chosen), authors(chosen, 32)):
                np.random.seed(severity)
                found.append(np.asarray(getattr(code, name)(image, severity), np.float64))
            assert np.abs(found[0] - found[1]).max() < 1e-4


# What is drawn: its distribution


def drawn(name: str, x: Tensor, severity: int = 3) -> Any:
    corruption = CORRUPTIONS[name]
    chosen = corruption.constants[nominal_size(x)][severity - 1]
    return corruption.draw(x, chosen, Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise", "spatter"])
def test_noise_is_standard_normal(name):
    z = drawn(name, torch.zeros(64, 3, 32, 32))
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02 and abs((z.abs() < 1).float().mean() - 0.6827) < 0.01


def test_photons_are_counted_as_poisson_has_it():
    counts = drawn("shot_noise", torch.full((64, 3, 32, 32), 0.3))  # 100 for a value of 1
    assert abs(counts.mean() - 30) < 0.1 and abs(counts.var() - 30) < 0.5


@pytest.mark.parametrize(("name", "least"), [("motion_blur", -45), ("snow", -135)])
def test_directions_are_uniform(name, least):
    d = drawn(name, torch.zeros(4000, 1, 4, 4))
    degrees = d[1] if name == "snow" else d
    shares = ((degrees - least) / 90).sort().values - torch.arange(4000) / 4000
    assert shares.abs().max() < 0.04  # Kolmogorov and Smirnov


@pytest.mark.parametrize(("severity", "values"), [(3, [-1, 0]), (5, [-2, -1, 0, 1])])
def test_neighbours_are_uniform(severity, values):
    offsets = drawn("glass_blur", torch.zeros(20, 3, 64, 64), severity if severity == 5 else 1)
    found, counts = offsets.unique(return_counts=True)
    assert found.tolist() == values
    assert (counts / offsets.numel() * len(values) - 1).abs().max() < 0.02


def test_ice_has_the_colours_and_the_grain_of_the_public_photographs():
    """Of all five, at the scale of CIFAR-10-C."""
    files = [package() / "frost" / f"frost{i}.{'png' if i < 4 else 'jpg'}" for i in range(1, 6)]
    crops = [crop for file in files for crop in crops_of(cv2.resize(cv2.imread(str(file)), (0, 0), fx=0.2, fy=0.2))]
    theirs = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
    ours = texture(torch.zeros(1000, 3, 32, 32), None, Generator().manual_seed(0))
    for statistic in (lambda x: x.mean((0, 2, 3)), lambda x: x.std((2, 3)).mean(0), lambda x: x.mean((1, 2, 3)).std()):
        torch.testing.assert_close(statistic(ours), statistic(theirs), rtol=0, atol=0.03)
    for distance in (1, 2, 4, 8):
        assert abs(correlation(ours, distance) - correlation(theirs, distance)) < 0.06


def crops_of(photograph: np.ndarray, number: int = 200) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(number):
        row, column = (rng.integers(n - 32) for n in photograph.shape[:2])
        yield photograph[row : row + 32, column : column + 32]


def correlation(x: Tensor, distance: int) -> float:
    grey = x.mean(1)
    grey = grey - grey.mean((1, 2), keepdim=True)
    covariance = (grey[..., distance:] * grey[..., :-distance]).mean((1, 2))
    return (covariance / grey.square().mean((1, 2))).mean().item()


# The whole


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_are_those_of_the_generator_and_the_input_stays(name):
    x = as_bytes(photographs(32))
    before = x.clone()
    first, same, other = (CORRUPTIONS[name](x, 5, Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(x, before) and first.shape == x.shape and first.dtype == torch.uint8
    assert torch.equal(first, same)
    assert torch.equal(first, other) == (name not in DRAWN)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_parts_of_a_batch_are_corrupted_one_after_the_other(name, monkeypatch):
    x, corruption = as_bytes(photographs(32))[:7], CORRUPTIONS[name]
    monkeypatch.setattr("bench.images.corruptions.base.CHUNK", 3 * x[0].numel())
    found, generator = corruption(x, 4, Generator().manual_seed(3)), Generator().manual_seed(3)
    monkeypatch.setattr("bench.images.corruptions.base.CHUNK", CHUNK)
    assert torch.equal(found, torch.cat([corruption(part, 4, generator) for part in x.split(3)]))


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (33, 20)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_other_shapes(name, channels, shape):
    x, corruption = batch(photographs(64))[:3, :channels, : shape[0], : shape[1]], CORRUPTIONS[name]
    for severity in (1, 5):
        chosen = corruption.constants[nominal_size(x)][severity - 1]
        found = corruption.apply(x, chosen, corruption.draw(x, chosen, Generator().manual_seed(0)))
        assert found.shape == x.shape and found.isfinite().all()


@pytest.mark.parametrize(
    "name", ["jpeg_compression", "brightness", "contrast", "pixelate", "zoom_blur", "defocus_blur"]
)
def test_a_grey_image_is_corrupted_as_one_of_equal_channels(name):
    x = as_bytes(photographs(32))[:, :1]
    grey = CORRUPTIONS[name](x, 4, Generator()).expand(-1, 3, -1, -1).int()
    colour = CORRUPTIONS[name](x.expand(-1, 3, -1, -1), 4, Generator()).int()
    assert (grey - colour).abs().max() <= 1


def test_there_are_fifteen_and_four_with_five_severities_at_three_sizes():
    assert (len(COMMON), len(EXTRA), len(CORRUPTIONS)) == (15, 4, 19)
    for corruption in CORRUPTIONS.values():
        assert list(corruption.constants) == [CIFAR, IMAGENET_64, IMAGENET]
        assert {len(five) for five in corruption.constants.values()} == {5}
    sides = [nominal_size(torch.zeros(1, 1, side, 8)) for side in (8, 32, 33, 64, 65, 224)]
    assert sides == [CIFAR, CIFAR, IMAGENET_64, IMAGENET_64, IMAGENET, IMAGENET]


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "elastic_transform"])
def test_the_constants_of_imagenet_are_those_of_the_package(name):
    """But for elastic_transform, of which the package has another version."""
    for ours, theirs in zip(our_constants(IMAGENET)[name], package_constants()[name], strict=True):
        assert np.array_equal(ours, theirs)


def test_bytes_are_bytes():
    levels = torch.arange(256)
    assert torch.equal(to_levels(levels / 255), levels.short())
    assert to_levels(torch.tensor([-1.0, 0.999 / 255, 1.5])).tolist() == [0, 0, 255]


@pytest.mark.parametrize("severity", [0, 6, 2.5])
def test_other_severities_are_refused(severity):
    with pytest.raises(OptionError, match=f"is 1, 2, 3, 4 or 5, not {severity}"):
        CORRUPTIONS["fog"](torch.zeros(1, 3, 8, 8).byte(), severity, Generator())


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 2, 8, 8), (0, 3, 8, 8)])
def test_what_are_no_images_are_refused(shape):
    with pytest.raises(DataError, match=rf"need images \[N, C, H, W\] as uint8, with C 1 or 3, not \[{shape[0]}, "):
        CORRUPTIONS["fog"](torch.zeros(shape).byte(), 1, Generator())


def test_floats_are_refused():
    with pytest.raises(DataError, match=r"as uint8, with C 1 or 3, not \[1, 3, 8, 8\] torch.float32"):
        CORRUPTIONS["fog"](torch.zeros(1, 3, 8, 8), 1, Generator())
