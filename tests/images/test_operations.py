"""Batched image operations against PIL, one image at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from bench import NotApplicableError, Split
from bench.images.operations import (
    OPERATIONS,
    autocontrast,
    check_images,
    equalize,
    histogram,
    look_up,
    operate,
    posterize,
    rotate,
    shear_x,
    shear_y,
    solarize,
    translate,
    warp,
)

LEVEL = 1 / 255


def images(height: int = 17, width: int = 22) -> Tensor:
    """[6, 3, H, W] bytes: noise, noise of few levels, one level, two levels, dark noise, a gradient; and mixtures."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (3, height, width), generator=g)
    ramp = torch.arange(height * width).view(height, width) * 255 // (height * width)
    gradient = torch.stack([ramp, 255 - ramp, ramp // 2 + 40])
    few, dark, two = noise // 37 * 30 + 20, noise // 5, torch.where(noise < 200, 31, 77)
    return torch.stack([noise, few, torch.full_like(noise, 99), two, dark, gradient])


def pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).byte().numpy(), "RGB" if len(image) == 3 else None)


def by_pil(x: Tensor, change: Callable[[int, Image.Image], Image.Image]) -> Tensor:
    changed = [np.asarray(change(i, pil(image))) for i, image in enumerate(x)]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).float() / 255


# Affine maps: PIL rounds down to bytes, so up to one level apart

ANGLES = torch.tensor([0.0, 7.3, -21.9, 63.0, 133.7, -170.1])
SHARES = torch.tensor([0.0, 0.13, -0.27, 0.31, -1.1, 0.6])
PIXELS = torch.tensor([0.0, 3.0, -1.0, 2.37, -6.81, 40.0])


def affine(*entries: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, entries, Image.Resampling.BILINEAR)


GEOMETRIC = {
    "rotate": (lambda h, w: rotate(ANGLES, h, w), lambda i: lambda im: im.rotate(ANGLES[i].item(), 2)),
    "shear_x": (lambda h, w: shear_x(SHARES), lambda i: affine(1, SHARES[i].item(), 0, 0, 1, 0)),
    "shear_y": (lambda h, w: shear_y(SHARES), lambda i: affine(1, 0, 0, SHARES[i].item(), 1, 0)),
    "translate": (
        lambda h, w: translate(PIXELS, -PIXELS / 2),
        lambda i: affine(1, 0, -PIXELS[i].item(), 0, 1, PIXELS[i].item() / 2),
    ),
}


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("size", [(17, 22), (16, 16), (8, 5)])
def test_warp_is_pils_affine_transform(name, size):
    ours, theirs = GEOMETRIC[name]
    x = images(*size)
    found = warp(x / 255, ours(*size))
    expected = by_pil(x, lambda i, image: theirs(i)(image))
    assert (found - expected).abs().max() < LEVEL + 1e-4
    assert (found[1] - x[1] / 255).abs().max() > 0.1  # something did move


def test_turning_by_quarters_is_exact():
    x = torch.rand(4, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    found = warp(x, rotate(torch.tensor([0.0, 90.0, 180.0, 270.0]), 9, 9))
    expected = torch.stack([image.rot90(i, (1, 2)) for i, image in enumerate(x)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_translation_moves_right_and_down_and_brings_in_black():
    x = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    found = warp(x, translate(torch.tensor([2.0]), torch.tensor([1.0])))
    torch.testing.assert_close(found[..., 1:, 2:], x[..., :-1, :-2], rtol=0, atol=1e-6)
    assert (found[..., :1, :] == 0).all() and (found[..., :2] == 0).all()


# Tables: exact, but for autocontrast, which PIL rounds down

BITS = torch.tensor([1, 2, 3, 4, 6, 8])
THRESHOLDS = torch.tensor([0.0, 31.0, 99.0, 99.5, 180.2, 256.0])

TABLES = {
    "autocontrast": (autocontrast, lambda i, image: ImageOps.autocontrast(image), LEVEL),
    "equalize": (equalize, lambda i, image: ImageOps.equalize(image), 0.0),
    "posterize": (lambda _: posterize(BITS), lambda i, image: ImageOps.posterize(image, BITS[i].item()), 0.0),
    "solarize": (lambda _: solarize(THRESHOLDS), lambda i, image: ImageOps.solarize(image, THRESHOLDS[i].item()), 0.0),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("size", [(17, 22), (64, 48), (8, 8)])
def test_look_up_is_pils_operation(name, size):
    ours, theirs, tolerance = TABLES[name]
    x = images(*size)
    found = look_up(x / 255, ours(histogram(x / 255)))
    assert (found - by_pil(x, theirs)).abs().max() < tolerance + 1e-6


def test_of_no_bits_nothing_is_left():
    assert (posterize(torch.tensor([0])) == 0).all()


@pytest.mark.parametrize("off", [-0.4, 0.4])
def test_a_histogram_counts_the_nearest_bytes(off):
    x = images()
    counts = histogram((x + off) / 255)
    assert counts.shape == (6, 3, 256)
    for image, found in zip(x, counts, strict=True):
        assert found.flatten().tolist() == pil(image).histogram()


def test_images_of_another_size_are_equalised_from_256_pixels_on():
    """PIL's step is (pixels below the highest level) // 255."""
    for width, changed in ((15, False), (17, True)):
        x = torch.arange(16 * width).view(1, 1, 16, width).remainder(200) / 255
        found = look_up(x, equalize(histogram(x)))
        assert bool((found != x).any()) == changed


def test_each_image_of_a_batch_is_as_it_is_alone():
    x = images() / 255
    table, maps = equalize(histogram(x)), rotate(ANGLES, 17, 22)
    for i in range(len(x)):
        assert torch.equal(look_up(x, table)[i], look_up(x[i : i + 1], table[i : i + 1])[0])
        assert torch.equal(warp(x, maps)[i], warp(x[i : i + 1], maps[i : i + 1])[0])


def test_what_is_no_image_is_refused():
    y = torch.zeros(4, dtype=torch.int64)
    check_images(Split(torch.zeros(4, 1, 8, 8), y, y), "it")
    check_images(Split.stack([Split(torch.zeros(4, 1, 8, 8), y, y)] * 2), "it")
    for shape in ([3], [8, 8]):
        with pytest.raises(NotApplicableError, match=rf"it needs images \[C, H, W\], not inputs of shape \{shape}"):
            check_images(Split(torch.zeros(4, *shape), y, y), "it")


def operation_by_pil(image: Image.Image, name: str, strength: float) -> Image.Image:
    (width, height), plain = image.size, abs(strength)
    maps = {
        "shear_x": (1, 0.3 * strength, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.3 * strength, 1, 0),
        "translate_x": (1, 0, -width / 3 * strength, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, -height / 3 * strength),
    }
    if name in maps:
        return image.transform(image.size, Image.Transform.AFFINE, maps[name], Image.Resampling.BILINEAR)
    if name == "rotate":
        return image.rotate(30 * strength, Image.Resampling.BILINEAR)
    arguments = {"posterize": (4 - int(4 * plain),), "solarize": (256 * (1 - plain),)}.get(name, ())
    changed: Image.Image = getattr(ImageOps, name)(image, *arguments)
    return changed


@pytest.mark.parametrize("strength", [0.0, 0.27, -0.27, 0.93, -0.61])
def test_each_operation_is_pils(strength):
    """All nine in one batch of one image; up to one level, to which PIL rounds down."""
    bytes_ = torch.randint(256, (3, 21, 32), generator=torch.Generator().manual_seed(0)).byte() // 2 + 30
    image = Image.fromarray(bytes_.permute(1, 2, 0).numpy())
    n = len(OPERATIONS)
    found = operate((bytes_ / 255).expand(n, -1, -1, -1), torch.arange(n), torch.full((n,), strength))
    for name, one in zip(OPERATIONS, found, strict=True):
        expected = torch.from_numpy(np.array(operation_by_pil(image, name, strength))).permute(2, 0, 1) / 255
        assert (one - expected).abs().max() < 1 / 255 + 1e-4, name


def test_no_operation_is_among_the_corruptions_of_cifar_c():
    assert not set(OPERATIONS) & {"contrast", "color", "brightness", "sharpness"}
    assert len(OPERATIONS) == 9
