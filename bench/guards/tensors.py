"""Detects whether anything has written to the tensors that runs share.

Torch counts its own operations in place exactly, but not writes through numpy, `.data` or the storage. Therefore the
bytes are read. Tensors of up to FULL_BYTES are read completely (180 MB take 0.07 s). Of larger ones, blocks of
SAMPLE_BYTES in total are read, spread over the tensor, and torch's count is compared too. Writes to a file that is
mapped into memory are detected exactly, because the kernel counts the pages that were written to.
"""

import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.data.dataset import Dataset
from bench.data.split import Split, Splits

FULL_BYTES = 256_000_000
"""The size of the largest tensor whose bytes are all read."""
SAMPLE_BYTES = 16_000_000
"""The size of the sample of a larger tensor."""
BLOCKS = 256
"""The number of blocks that make a sample."""
PAGES = Path("/proc/self/smaps")
"""Linux's file about the memory of this process, with the pages that were written to."""


@dataclass(frozen=True)
class Fingerprint:
    """What is compared to detect a change of a tensor.

    Attributes:
        layout: its place in memory, shape, strides, type and device.
        content: the checksum of its bytes. For a tensor that is large or on a GPU: the checksum of a sample of its
            bytes, torch's count of changes, and the kilobytes of its mapped file that this process has written to.
    """

    layout: tuple[Any, ...]
    content: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Fingerprint":
        """Make the fingerprint of a tensor, reading all of its bytes or a sample.

        Args:
            tensor: any tensor, on any device.
        """
        layout = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.nbytes <= FULL_BYTES and tensor.device.type == "cpu":
            return cls(layout, (_checksum(tensor),))
        return cls(layout, (_checksum(_sample(tensor)), tensor._version, _written_pages(tensor)))


class Watched:
    """Tensors by name, with their fingerprints from when they were added. A tensor with two names is read once.

    Args:
        tensors: name -> tensor.

    Attributes:
        tensors: name -> watched tensor. A tensor with two names stands here once.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._before: dict[str, Fingerprint] = {}
        self._names: dict[Any, str] = {}  # place in memory -> name
        self._same: list[tuple[Tensor, str]] = []
        self.add(tensors)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Watch more tensors from now on. Those that are watched already are not read again.

        Args:
            tensors: name -> tensor. A new tensor whose name is in use gets ` (prepared)` appended to its name.
        """
        for name, tensor in tensors.items():
            place = (tensor.data_ptr(), tensor.shape, tensor.stride())
            if place in self._names:
                self._same.append((tensor, self._names[place]))
                continue
            unique = name if name not in self.tensors else f"{name} (prepared)"
            self._names[place] = unique
            self.tensors[unique] = tensor
            self._before[unique] = Fingerprint.of(tensor)

    def replace(self, fresh: Mapping[str, Tensor]) -> None:
        """Let each watched tensor use the memory of the fresh tensor of its name, without copying.

        Args:
            fresh: name -> tensor, for all names that are watched.
        """
        with torch.no_grad():
            for tensor, name in [*((tensor, name) for name, tensor in self.tensors.items()), *self._same]:
                tensor.set_(fresh[name])  # type: ignore[call-overload]

    def changed(self) -> list[str]:
        """Names of the watched tensors whose fingerprints have changed."""
        return [name for name, tensor in self.tensors.items() if Fingerprint.of(tensor) != self._before[name]]

    def has_content_of(self, other: "Watched") -> bool:
        """Whether the tensors of another `Watched` had the same names and the same content when they were added.

        Args:
            other: the other `Watched`.
        """
        mine = {name: seen.content[0] for name, seen in self._before.items()}
        return mine == {name: seen.content[0] for name, seen in other._before.items()}


def tensors_of(data: Dataset | Splits) -> dict[str, Tensor]:
    """All tensors of a data set, or of the splits of a run.

    Args:
        data: the data set or the splits.

    Returns:
        Name -> tensor. A name is that of the split and of its field, such as `train.x`.
    """
    return {f"{name}.{field}": tensor for name, split in _splits(data) for field, tensor in split.tensors.items()}


def _splits(data: Dataset | Splits) -> Iterator[tuple[str, Split]]:
    if isinstance(data, Dataset):
        named: dict[str, Split | None] = {"train": data.train, "val": data.val, "test": data.test}
    else:
        named = {"train": data.train, "val": data.val, "target": data.target, **data.tests}
    for name, split in {**named, **data.probes}.items():
        if split is not None:
            yield name, split


def read_afresh(watched: Watched, data: Dataset) -> bool:
    """Undo changes of a data set's tensors with the tensors of the same data set, which was loaded again.

    The tensors stay the same objects and get the memory of the new ones; nothing is copied. If the data set that was
    loaded again has another content than the first one had, nothing is done.

    Args:
        watched: the tensors of the data set, watched since they were first loaded.
        data: the data set that was loaded again.

    Returns:
        Whether both contents are the same.
    """
    fresh = Watched(tensors_of(data))
    if not watched.has_content_of(fresh):
        return False
    watched.replace(fresh.tensors)
    return True


def _checksum(tensor: Tensor) -> int:
    flat = tensor.detach().contiguous().reshape(-1)
    return zlib.crc32(flat.view(torch.uint8).cpu().numpy().data) if flat.numel() else 0


def _sample(tensor: Tensor) -> Tensor:
    """Blocks of neighbouring rows, spread evenly over the tensor; all rows of a small tensor."""
    rows = SAMPLE_BYTES // BLOCKS // max(tensor[:1].nbytes, 1)
    rows = max(rows, 1)
    starts = torch.linspace(0, max(len(tensor) - rows, 0), BLOCKS).long().unique().tolist()
    return torch.cat([tensor[start : start + rows] for start in starts])


def _written_pages(tensor: Tensor) -> int:
    """Kilobytes of a tensor's mapped file that this process has written to; 0 if the system does not count them."""
    if sys.platform != "linux" or tensor.device.type != "cpu":
        return 0
    first, last, written, inside = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes, 0, False
    for line in PAGES.read_text().splitlines():
        head, _, rest = line.partition(" ")
        if "-" in head and not head.endswith(":"):
            low, high = (int(part, 16) for part in head.split("-"))
            inside = low < last and high > first and rest.rpartition(" ")[2].startswith("/")
        elif inside and head == "Anonymous:":
            written += int(rest.split()[0])
    return written
