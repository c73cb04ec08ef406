"""Whether anything has written to the tensors that runs share, in whatever way.

Torch counts its own operations in place exactly, but not what is written through numpy, `.data` or the storage. The
bytes are therefore read: all of them up to FULL_BYTES (180 MB take 0.07 s), and of larger tensors SAMPLE_BYTES in
blocks that are spread over them, beside torch's count. Of a file that is mapped into memory, writing is known exactly,
because the kernel counts the pages that were written to.
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
SAMPLE_BYTES = 16_000_000
BLOCKS = 256
"""The number of blocks that make a sample."""
PAGES = Path("/proc/self/smaps")


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of a tensor.

    Attributes:
        layout: where and how it lies in memory.
        content: a checksum of its bytes; where it is large or on a GPU, that of a sample, torch's count of changes, and
            the kilobytes of its mapped file that were written to in this process.
    """

    layout: tuple[Any, ...]
    content: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Fingerprint":
        """Read a tensor, wholly or in part.

        Args:
            tensor: any tensor, on any device.
        """
        layout = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.nbytes <= FULL_BYTES and tensor.device.type == "cpu":
            return cls(layout, (_checksum(tensor),))
        return cls(layout, (_checksum(_sample(tensor)), tensor._version, _written_pages(tensor)))


class Watched:
    """Tensors by name, with what they were like when they were added. A tensor that has two names is read once.

    Args:
        tensors: name -> tensor.

    Attributes:
        tensors: those that are watched, by name.
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
            tensors: name -> tensor. A name that is taken gets ` (prepared)` after it.
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
        """Let each tensor, and all others that are the same memory, be the memory of the fresh one of its name."""
        with torch.no_grad():
            for tensor, name in [*((tensor, name) for name, tensor in self.tensors.items()), *self._same]:
                tensor.set_(fresh[name])  # type: ignore[call-overload]

    def changed(self) -> list[str]:
        """The names of the tensors that are not as they were."""
        return [name for name, tensor in self.tensors.items() if Fingerprint.of(tensor) != self._before[name]]

    def has_content_of(self, other: "Watched") -> bool:
        """Whether another one's tensors had the same names and the same content when they were added.

        Args:
            other: the other one.
        """
        mine = {name: seen.content[0] for name, seen in self._before.items()}
        return mine == {name: seen.content[0] for name, seen in other._before.items()}


def tensors_of(data: Dataset | Splits) -> dict[str, Tensor]:
    """All tensors of a data set, or of the splits of a run.

    Args:
        data: the data set or the splits.

    Returns:
        Name, such as `train.x` -> tensor.
    """
    return {f"{name}.{field}": getattr(split, field) for name, split in _splits(data) for field in ("x", "y", "group")}


def _splits(data: Dataset | Splits) -> Iterator[tuple[str, Split]]:
    if isinstance(data, Dataset):
        named: dict[str, Split | None] = {"train": data.train, "val": data.val, "test": data.test}
    else:
        named = {"train": data.train, "val": data.val, "target": data.target, **data.tests}
    for name, split in {**named, **data.probes}.items():
        if split is not None:
            yield name, split


def read_afresh(watched: Watched, data: Dataset) -> bool:
    """Give the watched tensors of a data set the content of the same data set, which was loaded again.

    Whatever holds these tensors sees the new content; nothing is copied. If the content is not what it was, nothing is
    done.

    Args:
        watched: the tensors of the data set.
        data: the data set that was loaded again.

    Returns:
        Whether its content is what it was.
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
    """Blocks of neighbouring samples, spread evenly; all where that is not more."""
    rows = SAMPLE_BYTES // BLOCKS // max(tensor[:1].nbytes, 1)
    rows = max(rows, 1)
    starts = torch.linspace(0, max(len(tensor) - rows, 0), BLOCKS).long().unique().tolist()
    return torch.cat([tensor[start : start + rows] for start in starts])


def _written_pages(tensor: Tensor) -> int:
    """Kilobytes of the mapped file below a tensor that were written to in this process; 0 where that cannot be told."""
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
