"""Images too many for memory: prepared once into files of bytes, which are then mapped and read as plain tensors."""

import hashlib
import json
import math
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import DataError

FORMAT = 1
ABOUT = "about.json"
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # MAP_NORESERVE, which Python's mmap names from 3.13 on only

Block = Mapping[str, NDArray[np.uint8]]
"""Name of an array -> its next samples, [n, ...]."""


@dataclass(frozen=True)
class MemoryMap:
    """Arrays of equal length that stay in their files.

    arrays: by name, [N, ...] uint8. What is used of them is read from the disk, and goes when memory is short. Writing
        to one changes neither its file nor what others see.
    sha256: of the contents.
    """

    arrays: Mapping[str, Tensor]
    sha256: str


def memory_map(folder: Path, about: Mapping[str, Any], blocks: Callable[[], Iterable[Block]]) -> MemoryMap:
    """The map in `folder`; prepared first, unless there is one that was prepared from the same.

    about: all that the contents follow from, as JSON: the settings, and the checksums or sizes of the source. A map
        of anything else, or a damaged one, is replaced.
    blocks: called to prepare alone; gives the samples of every array, in order.

    A map is written whole or not at all: into a folder beside it, which is renamed at the end. An error or an interrupt
    leaves nothing; a process that is killed leaves that folder (`.NAME-...`), which may be deleted. Of two processes
    that prepare the same map at once, both take what the first one has made.

    Raises DataError where the map cannot be written; what `blocks` raises comes through.
    """
    about = json.loads(json.dumps(about))  # as it will be read back: tuples are lists
    return _found(folder, about) or _prepared(folder, about, blocks)


def _found(folder: Path, about: Mapping[str, Any]) -> MemoryMap | None:
    """The whole map of that source and those settings, if it is there."""
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
    # Private pages, so that no plugin can change the file. They count as memory that might be needed, and Linux refuses
    # more of that than there is, unless told not to reserve it; torch.from_file does not tell.
    try:
        with path.open("rb") as file:
            flags, prot = mmap.MAP_PRIVATE | NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            content = mmap.mmap(file.fileno(), 0, flags=flags, prot=prot)
    except OSError as error:
        raise DataError(f"{path} cannot be mapped: {error}") from error
    return torch.frombuffer(content, dtype=torch.uint8).view(shape)


def _prepared(folder: Path, about: Mapping[str, Any], blocks: Callable[[], Iterable[Block]]) -> MemoryMap:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
            part = Path(beside, folder.name)
            part.mkdir()
            known = {"format": FORMAT, "about": about, **_write(part, blocks())}
            (part / ABOUT).write_text(json.dumps(known) + "\n", "utf-8")
            made = _found(part, about)
            assert made is not None
            if (others := _found(folder, about)) is not None:
                return others
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
            return made
    except OSError as error:
        raise DataError(f"{folder} cannot be prepared: {error}") from error


def _write(folder: Path, blocks: Iterable[Block]) -> dict[str, Any]:
    """Writes each array into a file of its name; returns their shapes and the SHA-256 of the contents."""
    files: dict[str, IO[bytes]] = {}
    shapes: dict[str, list[int]] = {}
    digests = {}
    with ExitStack() as stack:
        for block in blocks:
            for name, samples in block.items():
                if name not in files:
                    files[name] = stack.enter_context((folder / name).open("wb"))
                    shapes[name], digests[name] = [0, *samples.shape[1:]], hashlib.sha256()
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
