"""Images of samples, for sites that are made where the data are. Nothing here imports torch."""

import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.columns.run import Run
from bench.records.sidecar import Sidecar

PIXELS = 48
"""The most pixels of an image in each direction; larger ones are made smaller."""
KINDS = {1: 0, 3: 2}
"""Channels -> the number of the kind of a PNG."""


@dataclass(frozen=True)
class Pictured:
    """The images of some samples of a run.

    Attributes:
        test, train: of test and of training samples, in the order in which they were asked for, as data URIs.
        told: what the data set says of itself: a reference, a licence.
        why: why there are no images; empty where there are.
    """

    test: Sequence[str] = ()
    train: Sequence[str] = ()
    told: Sequence[str] = ()
    why: str = ""


Pictures = Callable[[Run, Sidecar, Sequence[int], Sequence[int]], Pictured]
"""A run, what lies beside its record, and places in its test and in its training data -> their images."""


def data_uri(image: NDArray[Any]) -> str:
    """An image as an address that holds it.

    Args:
        image: [C, H, W], uint8 or between 0 and 1. Of more than three channels the first three are shown, of two the
            first one.
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        pixels = np.rint(255 * np.clip(np.nan_to_num(pixels), 0, 1)).astype(np.uint8)
    pixels = _smaller(pixels[: 3 if len(pixels) >= 3 else 1])
    return f"data:image/png;base64,{b64encode(_png(pixels)).decode()}"


def _smaller(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image of at most PIXELS in each direction: the means of squares. Rests at two edges are cut off."""
    step = -(-max(pixels.shape[1:]) // PIXELS)
    high, wide = (max(1, size // step) for size in pixels.shape[1:])
    if step == 1:
        return pixels
    whole = pixels[:, : high * step, : wide * step]
    squares = whole.reshape(len(pixels), high, -1, wide, whole.shape[2] // wide)
    smaller: NDArray[np.uint8] = np.rint(squares.mean((2, 4))).astype(np.uint8)
    return smaller


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """[C, H, W] of one channel or three as a PNG file. See https://www.w3.org/TR/png-3."""
    channels, height, width = pixels.shape
    lines = pixels.transpose(1, 2, 0).reshape(height, width * channels)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, KINDS[channels], 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(unfiltered, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
