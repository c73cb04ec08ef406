"""Images that do not fit into memory: they are prepared once as files of bytes, which are then mapped as tensors."""

import hashlib
import json
import math
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.files import folder_beside
from bench.errors import DataError

FORMAT = 1
ABOUT = "about.json"
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # MAP_NORESERVE, which Python's mmap names from 3.13 on only

Block = Mapping[str, NDArray[np.uint8]]
"""Name of an array -> its next samples, [n, ...]."""


@dataclass(frozen=True)
class MemoryMap:
    """Arrays of equal length that stay in their files.

    Attributes:
        arrays: name -> [N, ...] uint8. The parts that are used are read from the disk, and dropped when memory is
            short. Writing to an array changes neither its file nor what other processes see.
        sha256: of the contents.
    """

    arrays: Mapping[str, Tensor]
    sha256: str


def memory_map(folder: Path, about: Mapping[str, Any], blocks: Callable[[], Iterable[Block]]) -> MemoryMap:
    """Map the arrays in a folder, and prepare them first if they are not there yet.

    A map is written whole or not at all: into a folder beside it, which is renamed at the end. An error or an interrupt
    leaves nothing; what a process leaves that is killed (`NAME....part`) the next one removes. If two processes prepare
    the same map at once, both use the one that is finished first.

    Args:
        folder: of the map.
        about: everything that determines the contents, as JSON: the settings, and the checksums or sizes of the source.
            A map with another `about`, or a damaged one, is replaced.
        blocks: gives the samples of every array, in order; called only to prepare the map.

    Raises:
        DataError: if the map cannot be written.
        Exception: whatever `blocks` raises.
    """
    about = json.loads(json.dumps(about))  # as it will be read back: tuples are lists
    return _existing(folder, about) or _prepared(folder, about, blocks)


def _existing(folder: Path, about: Mapping[str, Any]) -> MemoryMap | None:
    """The map of that source with those settings, if it exists and is whole."""
    try:
        known = json.loads((folder / ABOUT).read_text("utf-8"))
        if (known["format"], known["about"]) != (FORMAT, about):
            return None
        shapes = {name: tuple(map(int, shape)) for name, shape in known["shapes"].items()}
        if any((folder / name).stat().st_size != math.prod(shape) for name, shape in shapes.items()):
            return None
        sha256 = str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return MemoryMap({name: _mapped(folder / name, shape) for name, shape in shapes.items()}, sha256)


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    # The pages are private, so that no plugin can change the file. Linux counts private pages as memory that might be
    # needed and refuses more of it than there is, unless it is told to reserve none. torch.from_file does not tell it.
    flags = mmap.MAP_PRIVATE | NO_RESERVE
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        raise DataError(f"{path} cannot be mapped: {error}") from error
    return torch.frombuffer(content, dtype=torch.uint8).view(shape)


def _prepared(folder: Path, about: Mapping[str, Any], blocks: Callable[[], Iterable[Block]]) -> MemoryMap:
    try:
        with folder_beside(folder) as beside:
            part = beside / folder.name
            part.mkdir()
            known = {"format": FORMAT, "about": about, **_write(part, blocks())}
            (part / ABOUT).write_text(json.dumps(known) + "\n", "utf-8")
            new_map = _existing(part, about)
            assert new_map is not None
            for attempt in range(10):
                map_of_another_process = _existing(folder, about)
                if map_of_another_process is not None:
                    return map_of_another_process
                with suppress(OSError):
                    folder.rename(beside / f"older-{attempt}")  # what is no map of this source
                with suppress(OSError):  # another process has just put its own there
                    part.rename(folder)
                    return new_map
            raise OSError("other processes change it again and again")
    except OSError as error:
        raise DataError(f"{folder} cannot be prepared: {error}") from error


def _write(folder: Path, blocks: Iterable[Block]) -> dict[str, Any]:
    """Write each array into a file of its name, and return their shapes and the SHA-256 of the contents."""
    files: dict[str, IO[bytes]] = {}
    shapes: dict[str, list[int]] = {}
    digests = {}
    with ExitStack() as stack:
        for block in blocks:
            for name, samples in block.items():
                if name not in files:
                    files[name] = stack.enter_context((folder / name).open("wb"))
                    shapes[name] = [0, *samples.shape[1:]]
                    digests[name] = hashlib.sha256()
                assert samples.dtype == np.uint8 and list(samples.shape[1:]) == shapes[name][1:]
                content = np.ascontiguousarray(samples).data
                files[name].write(content)
                digests[name].update(content)
                shapes[name][0] += len(samples)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    if not shapes or 0 in {count for count, *_ in shapes.values()}:
        raise DataError(f"there are no samples to prepare {folder.name} from")
    assert len({count for count, *_ in shapes.values()}) == 1, f"arrays of different lengths: {shapes}"
    text = "".join(f"{name} {digests[name].hexdigest()}\n" for name in sorted(digests))
    return {"shapes": shapes, "sha256": hashlib.sha256(text.encode()).hexdigest()}
