"""Operations on batches of images, on their device, with different settings for each image.

Images are [B, C, H, W] float in [0, 1]. The level of a value is the byte that it is nearest to. There are two kinds of
operations, the same as in PIL: affine maps, which `warp` applies, and tables over the 256 levels, which `look_up`
applies. An index into the maps or tables chooses the operation of each image, so the images of a batch can have
different ones. Nothing here waits for the device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data.split import Split
from bench.errors import NotApplicableError

LEVELS = 256


def check_images(split: Split, who: str) -> None:
    """Refuse a split whose inputs are not images.

    Args:
        split: the split.
        who: what needs images, with which the message begins.

    Raises:
        NotApplicableError: if the inputs are not of shape [C, H, W].
    """
    shape = list(split.x.shape[split.y.dim() :])
    if len(shape) != 3:
        raise NotApplicableError(f"{who} needs images [C, H, W], not inputs of shape {shape}")


# Affine maps, [B, 2, 3]: from a point (x, y, 1) of the output to the point of the input that it shows, in pixels from
# the upper left corner


def warp(x: Tensor, affine: Tensor) -> Tensor:
    """Apply an affine map to each image, with bilinear interpolation.

    It is `Image.transform` of PIL with AFFINE and BILINEAR, except that PIL rounds to bytes.

    Args:
        x: [B, C, H, W].
        affine: [B, 2, 3], the map of each image.

    Returns:
        [B, C, H, W]. Points that come from outside the image are black.
    """
    height, width = x.shape[-2:]
    columns = torch.arange(width, device=x.device) + 0.5
    rows = torch.arange(height, device=x.device).unsqueeze(-1) + 0.5
    by_x, by_y, shift = affine[..., None, None].unbind(2)
    across, down = (by_x * columns + by_y * rows + shift).unbind(1)  # a matrix product might have low precision
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    grid = torch.stack([2 * across / width - 1, 2 * down / height - 1], -1)
    warped: Tensor = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return warped * inside.unsqueeze(1)


def rotate(degrees: Tensor, height: int, width: int) -> Tensor:
    """The maps of rotations about the centre.

    Args:
        degrees: [B], counter-clockwise.
        height, width: of the images, in pixels.

    Returns:
        [B, 2, 3].
    """
    angle = degrees.deg2rad()
    cos = angle.cos()
    sin = angle.sin()
    across = width / 2
    down = height / 2
    return _affine(cos, -sin, across - cos * across + sin * down, sin, cos, down - sin * across - cos * down)


def shear_x(by: Tensor) -> Tensor:
    """The maps of shears along rows. The upper edge stays.

    Args:
        by: [B], pixels to the left for each pixel down.

    Returns:
        [B, 2, 3].
    """
    one = torch.ones_like(by)
    zero = torch.zeros_like(by)
    return _affine(one, by, zero, zero, one, zero)


def shear_y(by: Tensor) -> Tensor:
    """The maps of shears along columns. The left edge stays.

    Args:
        by: [B], pixels up for each pixel to the right.

    Returns:
        [B, 2, 3].
    """
    one = torch.ones_like(by)
    zero = torch.zeros_like(by)
    return _affine(one, zero, zero, by, one, zero)


def translate(right: Tensor, down: Tensor) -> Tensor:
    """The maps of translations.

    Args:
        right, down: [B], in pixels.

    Returns:
        [B, 2, 3].
    """
    one = torch.ones_like(right)
    zero = torch.zeros_like(right)
    return _affine(one, zero, -right, zero, one, -down)


def _affine(*entries: Tensor) -> Tensor:
    return torch.stack(entries, -1).view(-1, 2, 3)


# Tables over the levels, [B, C, 256], or [B, 1, 256] if it is the same for all channels: the new level of each level


def look_up(x: Tensor, table: Tensor) -> Tensor:
    """Replace the levels of each image by those of its table.

    Args:
        x: [B, C, H, W] in [0, 1].
        table: [B, C, 256], or [B, 1, 256] for all channels: the new level of each level, from 0 to 255.

    Returns:
        [B, C, H, W] in [0, 1].
    """
    table = table.expand(-1, x.shape[1], -1)
    return table.gather(-1, _levels(x)).view_as(x) / (LEVELS - 1)


def histogram(x: Tensor) -> Tensor:
    """The number of pixels of each level in each channel of images.

    Args:
        x: [B, C, H, W] in [0, 1].

    Returns:
        [B, C, 256] int64.
    """
    levels = _levels(x)
    return levels.new_zeros(*levels.shape[:2], LEVELS).scatter_add_(-1, levels, torch.ones_like(levels))


def autocontrast(counts: Tensor) -> Tensor:
    """The tables that stretch each channel over all levels.

    A channel with a single level stays as it is.

    Args:
        counts: [B, C, 256], a histogram.

    Returns:
        [B, C, 256].

    Source: `ImageOps.autocontrast` of PIL.

    Departure: PIL rounds down.
    """
    level = torch.arange(LEVELS, device=counts.device)
    least = level.where(counts > 0, LEVELS - 1).amin(-1, keepdim=True)
    most = level.where(counts > 0, 0).amax(-1, keepdim=True)
    stretched = (LEVELS - 1) * (level - least).clamp_min(0) / (most - least).clamp_min(1)
    return stretched.clamp_max(LEVELS - 1).where(most > least, level)


def equalize(counts: Tensor) -> Tensor:
    """The tables that make the histogram of each channel as flat as possible.

    A channel with fewer than 255 pixels below its highest level stays as it is.

    Args:
        counts: [B, C, 256], a histogram.

    Returns:
        [B, C, 256].

    Source: `ImageOps.equalize` of PIL.
    """
    level = torch.arange(LEVELS, device=counts.device)
    most = level.where(counts > 0, 0).amax(-1, keepdim=True)
    step = (counts.sum(-1, keepdim=True) - counts.gather(-1, most)) // (LEVELS - 1)
    below = counts.cumsum(-1) - counts
    spread = (step // 2 + below) // step.clamp_min(1)
    return spread.clamp_max(LEVELS - 1).where(step > 0, level).float()


def posterize(bits: Tensor) -> Tensor:
    """The tables that keep the highest bits of 8 bits.

    Args:
        bits: [B] int64 from 0 to 8, how many bits are kept; with 0 all is black.

    Returns:
        [B, 1, 256].

    Source: `ImageOps.posterize` of PIL.
    """
    step = (2 ** (8 - bits))[:, None, None]
    return (torch.arange(LEVELS, device=bits.device) // step * step).float()


def solarize(threshold: Tensor) -> Tensor:
    """The tables that invert all levels from a threshold on.

    Args:
        threshold: [B], from 0 to 256.

    Returns:
        [B, 1, 256].

    Source: `ImageOps.solarize` of PIL.
    """
    level = torch.arange(LEVELS, device=threshold.device)
    return level.where(level < threshold[:, None, None], LEVELS - 1 - level).float()


def _levels(x: Tensor) -> Tensor:
    """The levels of images x [B, C, H, W]: [B, C, H * W] int64."""
    return ((LEVELS - 1) * x).round().clamp(0, LEVELS - 1).long().flatten(2)


# Operations by number

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*GEOMETRIC, "autocontrast", "equalize", "posterize", "solarize")


def operate(x: Tensor, kind: Tensor, strength: Tensor) -> Tensor:
    """Apply one operation to each image.

    Args:
        x: [B, C, H, W] in [0, 1].
        kind: [B] int64, the number of each image's operation in OPERATIONS.
        strength: [B] in [-1, 1]. A strength of 1 rotates by 30 degrees, shears by 0.3, translates by a third of the
            side, keeps 0 of 4 bits when posterizing, and inverts all levels when solarizing. The sign only matters for
            geometric operations; autocontrast and equalize have no strength.

    Returns:
        [B, C, H, W].
    """
    _, channels, height, width = x.shape
    none = torch.zeros_like(strength)
    plain = strength.abs()
    affine = torch.stack(
        [
            rotate(30 * strength, height, width),
            shear_x(0.3 * strength),
            shear_y(0.3 * strength),
            translate(width / 3 * strength, none),
            translate(none, height / 3 * strength),
        ],
    )
    counts = histogram(x)
    tables = autocontrast(counts), equalize(counts), posterize(4 - (4 * plain).long()), solarize(256 * (1 - plain))
    table = torch.stack([t.expand(-1, channels, -1) for t in tables])
    image = torch.arange(len(x), device=x.device)
    first = len(GEOMETRIC)
    warped = warp(x, affine[kind.clamp_max(first - 1), image])
    looked_up = look_up(x, table[(kind - first).clamp_min(0), image])
    return warped.where((kind < first).view(-1, 1, 1, 1), looked_up)
