"""What is done to images: corruptions, augmentations, attacks."""

import torch
from torch import Generator, Tensor, nn

from bench.images.attacks import universal_perturbation
from bench.images.corruptions import CORRUPTIONS
from bench.images.corruptions.base import CIFAR
from bench.images.operations import autocontrast, equalize, histogram, look_up, posterize, rotate, solarize, warp
from bench_plugins.datasets.cifar import flip_and_translate
from tests.gpu import each
from tests.gpu.common import CPU, exact, images, unwaiting

LEVEL = 1 / 255


@each(CORRUPTIONS)
def check_corruption_is_that_of_a_cpu(device: torch.device, name: str) -> str:
    """From the same draws, up to a level where a value is rounded otherwise, and to more where that moves an edge."""
    given, corruption = images(40, 3, 32).x, CORRUPTIONS[name]
    x, constants = given / 255, corruption.constants[CIFAR][4]
    drawn = corruption.draw(x, constants, Generator().manual_seed(0))
    here, there = corruption.apply(x, constants, drawn), corruption.apply(x.to(device), constants, moved(drawn, device))
    far = float((here - there.cpu()).abs().mean())
    assert far < 0.1 * LEVEL, f"{far / LEVEL:.2g} levels of 255 off in the mean"
    found = corruption(given.to(device), 5, Generator(device).manual_seed(0))
    assert found.device.type == device.type and found.dtype == torch.uint8
    return f"{far / LEVEL:.1e} levels off in the mean" if far else "bit for bit"


def moved(drawn: object, device: torch.device) -> object:
    if isinstance(drawn, tuple):
        return tuple(moved(part, device) for part in drawn)
    return drawn.to(device) if isinstance(drawn, Tensor) else drawn


def check_operations_on_images_are_those_of_a_cpu(device: torch.device) -> str:
    x = images(40, 3, 32).x / 255
    degrees, bits, threshold = torch.linspace(-180, 180, 40), torch.arange(40) % 9, torch.linspace(0, 256, 40)
    with exact():
        here, there = (_changed(*(t.to(place) for t in (x, degrees, bits, threshold))) for place in (CPU, device))
    far = max(float((a - b.cpu()).abs().mean()) for a, b in zip(here, there, strict=True))
    assert far < 0.1 * LEVEL, f"{far / LEVEL:.2g} levels off in the mean"
    return f"{far / LEVEL:.1e} levels off in the mean" if far else "bit for bit"


def _changed(x: Tensor, degrees: Tensor, bits: Tensor, threshold: Tensor) -> list[Tensor]:
    counts = histogram(x)
    tables = autocontrast(counts), equalize(counts), posterize(bits), solarize(threshold)
    return [warp(x, rotate(degrees, 32, 32)), *(look_up(x, table) for table in tables)]


def check_an_augmentation_waits_for_nothing_and_repeats_itself(device: torch.device) -> None:
    x = (images(128, 4, 32).x / 255).to(device)
    first = flip_and_translate(x, Generator(device).manual_seed(0))
    generator = Generator(device).manual_seed(0)
    with unwaiting(device):
        second = flip_and_translate(x, generator)
    assert second.device.type == device.type and torch.equal(first, second)
    assert not torch.equal(x, second)


def check_an_attack_is_that_of_a_cpu(device: torch.device) -> str:
    """The signs of a gradient are the same but where it is nearly 0."""
    torch.manual_seed(0)
    model, split = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)), images(200, 5, 8)
    found = []
    with exact():
        for place in (CPU, device):
            delta = universal_perturbation(
                model.to(place), split.to(place), 8 / 255, 20, Generator().manual_seed(0), batch_size=50
            )
            assert delta.device.type == place.type
            found.append(delta.cpu())
    assert found[0].abs().max() > 0
    far = float((found[0] - found[1]).abs().mean() / found[0].abs().mean())
    assert far < 0.05, f"perturbations differ by {far:.1e} of their size"
    return f"up to {far:.1e}" if far else "bit for bit"
