"""Spatter: drops of water, with the light and shade of their edges, or of mud.

Water follows OpenCV's operations on bytes step by step: `Canny`, `distanceTransform`, `blur`, `equalizeHist`,
`filter2D`. Planes are [B, H, W]; those of bytes hold whole numbers, as floats.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.images.corruptions.base import CIFAR, IMAGENET, IMAGENET_64, Corruption
from bench.images.corruptions.filters import correlate, gaussian
from bench.images.corruptions.weather import luma
from bench.images.operations import LEVELS, histogram, look_up

WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))
UNIT = 2**16  # distances are whole numbers of 1/65536 pixel
SIDE, DIAGONAL, KNIGHT = UNIT, round(1.4 * UNIT), round(2.1969 * UNIT)
FARTHEST = 20

Constants = tuple[float, float, float, float, float, bool]


def liquid(x: Tensor, constants: object, generator: Generator) -> Tensor:
    """Draw the noise that becomes drops: a number of the standard normal distribution for each pixel.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B, H, W].
    """
    return torch.randn(len(x), *x.shape[-2:], generator=generator, device=x.device)


def spatter(x: Tensor, constants: Constants, noise: Tensor) -> Tensor:
    """Cover images with drops of water, or with mud.

    Departure: an image on which the noise leaves no water stays as it is; the public code divides by zero.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: mean, standard deviation and smoothing of the noise, the threshold above which it is liquid, the
            strength of the water (of mud, the standard deviation of its smoothing, in pixels), and whether it is mud.
        noise: [B, H, W], what `liquid` gives.

    Returns:
        [B, C, H, W].
    """
    mean, std, sigma, threshold, strength, muddy = constants
    layer = gaussian(mean + std * noise, sigma)
    colour = torch.tensor(MUD if muddy else WATER, device=x.device).view(1, 3, 1, 1)
    if x.shape[1] == 1:
        colour = luma(colour)
    if muddy:
        cover = gaussian((layer > threshold).to(x.dtype), strength)
        cover = cover.where(cover >= 0.8, 0).unsqueeze(1)
        return x * (1 - cover) + colour * cover
    drops = (255 * layer.where(layer >= threshold, 0)).floor() % LEVELS  # bytes, which start again at 0
    light = drops * relief(distance_to(edges(drops, 50, 150)))
    light = light / light.amax((1, 2), keepdim=True).clamp_min(1)
    return x + strength * light.unsqueeze(1) * colour


def relief(distance: Tensor) -> Tensor:
    """The light and the shade of drops: light on one side of what is far from edges, shade on the other.

    Args:
        distance: [B, H, W], what `distance_to` gives for the edges of the drops.

    Returns:
        [B, H, W], bytes as floats.
    """
    near = means(distance).div(UNIT, rounding_mode="floor")
    kernels = torch.tensor(RELIEF).expand(len(near), -1, -1)
    lit = correlate(equalized(near).unsqueeze(1), kernels, (-1, -1), "reflect")[:, 0]
    return means(lit.clamp(0, 255)).round()


def means(plane: Tensor) -> Tensor:
    """Means over 3 x 3 pixels, with the image mirrored without the pixels at its edge.

    Args:
        plane: [B, H, W].

    Returns:
        [B, H, W] float64, so that sums of distances are exact.
    """
    mirrored = F.pad(plane.double().unsqueeze(1), (1,) * 4, mode="reflect")
    return F.avg_pool2d(mirrored, 3, stride=1)[:, 0]


def equalized(plane: Tensor) -> Tensor:
    """Planes whose histogram is as flat as possible, as `equalizeHist` of OpenCV makes them.

    Args:
        plane: [B, H, W], bytes as numbers of any type.

    Returns:
        [B, H, W], bytes as floats.
    """
    x = plane.float().unsqueeze(1) / 255
    counts = histogram(x)
    first = counts.gather(-1, (counts > 0).long().argmax(-1, keepdim=True))
    rest = plane[0].numel() - first
    table = (((counts.cumsum(-1) - first).clamp_min(0) * (255 / rest.clamp_min(1))).round()).where(
        rest > 0, torch.arange(LEVELS, device=x.device)
    )
    return (255 * look_up(x, table)[:, 0]).round()


def distance_to(marked: Tensor) -> Tensor:
    """The distance of each pixel to the nearest marked one.

    It is measured along steps to the eight neighbours and of a knight in chess, of length 1, 1.4 and 2.1969 (Borgefors
    1986), as `distanceTransform` of OpenCV does for `DIST_L2` with a mask of 5: a pass down and a pass up, each row
    from both of the two before it, then along it.

    Args:
        marked: [B, H, W] bool.

    Returns:
        [B, H, W] int32, in 1/65536 pixel; at most 20 pixels.
    """
    far = FARTHEST * UNIT
    distance = torch.full_like(marked, far, dtype=torch.int32).masked_fill_(marked, 0)
    return _pass(_pass(distance, far).flip(1, 2), far).flip(1, 2)


def _pass(distance: Tensor, far: int) -> Tensor:
    """Down, and in each row to the right."""
    height, width = distance.shape[1:]
    along = SIDE * torch.arange(width, dtype=torch.int32, device=distance.device)
    done = F.pad(distance, (2, 2, 2, 0), value=far)
    steps = (
        (2, 1, KNIGHT), (2, 3, KNIGHT),
        (1, 0, KNIGHT), (1, 1, DIAGONAL), (1, 2, SIDE), (1, 3, DIAGONAL), (1, 4, KNIGHT),
    )  # fmt: skip
    for row in range(2, height + 2):
        least = done[:, row, 2 : width + 2]
        for up, left, length in steps:
            least = torch.minimum(least, done[:, row - up, left : left + width] + length)
        done[:, row, 2 : width + 2] = (least - along).cummin(1).values + along
    return done[:, 2:, 2 : width + 2]


def edges(plane: Tensor, low: int, high: int) -> Tensor:
    """Where `Canny` of OpenCV finds an edge, with an aperture of 3 and the L1 norm.

    Args:
        plane: [B, H, W], bytes as floats.
        low, high: thresholds of the gradient's norm: an edge begins above `high` and goes on above `low`.

    Returns:
        [B, H, W] bool.
    """
    p = F.pad(plane.unsqueeze(1), (1,) * 4, mode="replicate")[:, 0].int()
    across = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    down = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    dx, dy = across[..., 2:] - across[..., :-2], down[:, 2:] - down[:, :-2]
    size = dx.abs() + dy.abs()
    around = F.pad(size, (1,) * 4)
    height, width = size.shape[1:]

    def at(rows: int, columns: int) -> Tensor:
        return around[:, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    steep = dy.abs() * 2**15
    flat = dx.abs() * 13573  # tan(22.5 degrees) * 2^15
    horizontal = (size > at(0, -1)) & (size >= at(0, 1))
    vertical = (size > at(-1, 0)) & (size >= at(1, 0))
    falling = (size > at(-1, -1)) & (size > at(1, 1))
    rising = (size > at(-1, 1)) & (size > at(1, -1))
    slanted = torch.where((dx < 0) ^ (dy < 0), rising, falling)
    is_steep = steep > flat + dx.abs() * 2**16
    thin = torch.where(steep < flat, horizontal, torch.where(is_steep, vertical, slanted)) & (size > low)
    edge = thin & (size > high)
    while True:  # add the weak edges that touch an edge
        around_it = F.pad(edge, (1,) * 4)
        rows = around_it[:, :-2] | around_it[:, 1:-1] | around_it[:, 2:]
        grown = (rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]) & thin
        if torch.equal(grown, edge):
            return edge
        edge = grown


SPATTER = Corruption(
    {
        CIFAR: (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1.0, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        IMAGENET_64: (
            (0.62, 0.1, 0.7, 0.7, 0.6, False),
            (0.65, 0.1, 0.8, 0.7, 0.6, False),
            (0.65, 0.3, 1.0, 0.69, 0.6, False),
            (0.65, 0.1, 0.7, 0.68, 0.6, True),
            (0.65, 0.1, 0.5, 0.67, 0.6, True),
        ),
        IMAGENET: (
            (0.65, 0.3, 4.0, 0.69, 0.6, False),
            (0.65, 0.3, 3.0, 0.68, 0.6, False),
            (0.65, 0.3, 2.0, 0.68, 0.5, False),
            (0.65, 0.3, 1.0, 0.65, 1.5, True),
            (0.67, 0.4, 1.0, 0.65, 1.5, True),
        ),
    },
    liquid,
    spatter,
)
"""Constants: mean, standard deviation and smoothing of the noise, the threshold, the strength of the water (of mud, the
standard deviation of its smoothing), and whether it is mud."""
