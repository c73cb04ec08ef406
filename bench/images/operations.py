"""Operations on batches of images, on their device, with settings of their own for each image.

Images are [B, C, H, W] float in [0, 1]; the level of a value is the byte that it is nearest to. There are two kinds of
operations, as PIL has them: affine maps, which `warp` applies, and tables over the 256 levels, which `look_up` applies.
So the images of one batch can have different operations, chosen by indexing maps or tables. Nothing waits for a device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data.split import Split
from bench.errors import NotApplicableError

LEVELS = 256


def check_images(split: Split, who: str) -> None:
    """Raises NotApplicableError, with `who` needs images, for a split of anything else."""
    shape = list(split.x.shape[split.y.dim() :])
    if len(shape) != 3:
        raise NotApplicableError(f"{who} needs images [C, H, W], not inputs of shape {shape}")


# Affine maps, [B, 2, 3]: where in the input, in pixels from its upper left corner, a point (x, y, 1) of the output is


def warp(x: Tensor, affine: Tensor) -> Tensor:
    """Each image under its affine map [B, 2, 3], bilinear, not rounded; what comes from outside the image is black.

    As `Image.transform` of PIL with AFFINE and BILINEAR, which rounds to bytes.
    """
    height, width = x.shape[-2:]
    columns = torch.arange(width, device=x.device) + 0.5
    rows = torch.arange(height, device=x.device).unsqueeze(-1) + 0.5
    by_x, by_y, shift = affine[..., None, None].unbind(2)
    across, down = (by_x * columns + by_y * rows + shift).unbind(1)  # no matrix product, which may be of low precision
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    grid = torch.stack([2 * across / width - 1, 2 * down / height - 1], -1)
    found: Tensor = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return found * inside.unsqueeze(1)


def rotate(degrees: Tensor, height: int, width: int) -> Tensor:
    """[B] degrees counter-clockwise about the centre -> [B, 2, 3]."""
    angle, across, down = degrees.deg2rad(), width / 2, height / 2
    cos, sin = angle.cos(), angle.sin()
    return _affine(cos, -sin, across - cos * across + sin * down, sin, cos, down - sin * across - cos * down)


def shear_x(by: Tensor) -> Tensor:
    """[B] pixels to the left for each pixel down -> [B, 2, 3]; the upper edge stays."""
    one, zero = torch.ones_like(by), torch.zeros_like(by)
    return _affine(one, by, zero, zero, one, zero)


def shear_y(by: Tensor) -> Tensor:
    """[B] pixels up for each pixel to the right -> [B, 2, 3]; the left edge stays."""
    one, zero = torch.ones_like(by), torch.zeros_like(by)
    return _affine(one, zero, zero, by, one, zero)


def translate(right: Tensor, down: Tensor) -> Tensor:
    """[B] pixels each -> [B, 2, 3]."""
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return _affine(one, zero, -right, zero, one, -down)


def _affine(*entries: Tensor) -> Tensor:
    return torch.stack(entries, -1).view(-1, 2, 3)


# Tables over the levels, [B, C, 256], or [B, 1, 256] where all channels have the same: the level that each level gets


def look_up(x: Tensor, table: Tensor) -> Tensor:
    """Each image with its levels replaced by those of its table."""
    table = table.expand(-1, x.shape[1], -1)
    return table.gather(-1, _levels(x)).view_as(x) / (LEVELS - 1)


def histogram(x: Tensor) -> Tensor:
    """How many pixels of each channel have each level, [B, C, 256] int64."""
    levels = _levels(x)
    return levels.new_zeros(*levels.shape[:2], LEVELS).scatter_add_(-1, levels, torch.ones_like(levels))


def autocontrast(counts: Tensor) -> Tensor:
    """The table that stretches each channel of a histogram over all levels, not rounded.

    As `ImageOps.autocontrast` of PIL, which rounds down; a channel of one level stays.
    """
    level = torch.arange(LEVELS, device=counts.device)
    least = level.where(counts > 0, LEVELS - 1).amin(-1, keepdim=True)
    most = level.where(counts > 0, 0).amax(-1, keepdim=True)
    stretched = (LEVELS - 1) * (level - least).clamp_min(0) / (most - least).clamp_min(1)
    return stretched.clamp_max(LEVELS - 1).where(most > least, level)


def equalize(counts: Tensor) -> Tensor:
    """The table that makes the histogram of each channel as flat as it can be: `ImageOps.equalize` of PIL.

    A channel stays that has fewer than 255 pixels below its highest level.
    """
    level = torch.arange(LEVELS, device=counts.device)
    most = level.where(counts > 0, 0).amax(-1, keepdim=True)
    step = (counts.sum(-1, keepdim=True) - counts.gather(-1, most)) // (LEVELS - 1)
    below = counts.cumsum(-1) - counts
    spread = (step // 2 + below) // step.clamp_min(1)
    return spread.clamp_max(LEVELS - 1).where(step > 0, level).float()


def posterize(bits: Tensor) -> Tensor:
    """The tables that keep the highest `bits` [B] int64 of 8: `ImageOps.posterize` of PIL. 0 bits are black."""
    step = (2 ** (8 - bits))[:, None, None]
    return (torch.arange(LEVELS, device=bits.device) // step * step).float()


def solarize(threshold: Tensor) -> Tensor:
    """The tables that invert all levels from `threshold` [B] on: `ImageOps.solarize` of PIL."""
    level = torch.arange(LEVELS, device=threshold.device)
    return level.where(level < threshold[:, None, None], LEVELS - 1 - level).float()


def _levels(x: Tensor) -> Tensor:
    """[B, C, H * W] int64"""
    return ((LEVELS - 1) * x).round().clamp(0, LEVELS - 1).long().flatten(2)


# Operations by number

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*GEOMETRIC, "autocontrast", "equalize", "posterize", "solarize")


def operate(x: Tensor, kind: Tensor, strength: Tensor) -> Tensor:
    """One operation on each image.

    Args:
        x: [B, C, H, W] in [0, 1].
        kind: [B] int64, which of OPERATIONS.
        strength: [B] in [-1, 1]: 1 turns by 30 degrees, shears by 0.3, moves by a third of the side, leaves 0 of 4
            bits, inverts all levels; its sign counts for geometric operations alone, and autocontrast and equalize have
            no strength.

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
