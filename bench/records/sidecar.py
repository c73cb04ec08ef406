"""What lies beside a record: the history of the training and the predictions. It is read only when it is asked for.

A sidecar is one file, `xz` of two parts: a line of JSON with the format and the name, type, shape and form of each
array, and the bytes of the arrays in that order. All of it is lossless. The forms make it smaller:

- `plain`: the bytes as they are.
- `planes`: of numbers of two bytes, the second bytes of all, then the first ones. A second byte holds the sign and the
  exponent, which differ little.
- `steps`: of whole numbers, the difference of each from the one before.
- `after NAME`: the array NAME, whose type and shape it has, is subtracted as if both held whole numbers; then `planes`.
  Predictions under two selection rules are alike.

Numpy is imported where it is needed, because tables read no sidecars.
"""

from __future__ import annotations

import glob
import hashlib
import json
import lzma
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.records.spec import canonical
from bench.text import cut

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Arrays = Mapping[str, Any]
"""Name -> array of numpy."""
FORMAT = 1
SUFFIX = ".xz"
NAME = re.compile(r"(.+)\.([0-9a-f]{12})\.xz")
"""The name of a sidecar: that of its record without `.json`, and its digest. So a new one never replaces that of an
older record, which stays whole until the new record is written."""
HISTORY = "history/"
"""What the names of the columns of the history begin with."""
LARGEST = 2**33
"""The bytes of the largest sidecar that is read."""
LARGEST_HEAD = 2**24
"""The bytes of the longest list of arrays that is read."""
USUAL = 2**28
"""So many bytes of arrays are read of any sidecar."""
DENSEST = 100
"""Of more bytes than USUAL, so many are read for each byte of the file. Predictions are never pressed so much, and a
small file that was made to fill the memory is.
"""
MEMORY = 2**28
"""The bytes of memory that `xz` may take for itself: its largest preset takes a quarter."""
WHOLE = ("epoch", "step")
"""Columns of the history that hold whole numbers."""
TRAIN = "train/"
"""Columns of the history that begin with this are diagnostics, and are stored as float32. All others are float64."""


@dataclass(frozen=True)
class Sidecar:
    """What lies beside a record.

    Attributes:
        history: column -> one number for each evaluation, None where it is undefined: epoch, step, train/..., val/...,
            test/... .
        arrays: name -> array: `SET/RULE` with the predictions of a test set under a selection rule, `SET/index`,
            `SET/y` and `SET/group` with its samples, and what methods and protocols store.
    """

    history: Mapping[str, list[Any]] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """12 hex digits of the sha256 of all arrays with their names, types and shapes; empty if there are none."""
        return digest_of(self._all)

    @cached_property
    def _all(self) -> dict[str, Array]:
        """The columns of the history and the arrays, as they are stored: little-endian, in one piece."""
        import numpy as np

        arrays = {f"{HISTORY}{name}": _column(name, values) for name, values in self.history.items()}
        arrays |= self.arrays
        return {name: np.asarray(array, array.dtype.newbyteorder("<"), order="C") for name, array in arrays.items()}

    @property
    def as_stored(self) -> Sidecar:
        """As it is read again: the columns of the history have the precision that they are stored with."""
        return Sidecar._of(self._all)

    def to_bytes(self) -> bytes:
        """The content of the file."""
        entries, parts = [], []
        for name, array in self._all.items():
            form, content = _encoded(name, self._all)
            entries.append([name, array.dtype.str, list(array.shape), form])
            parts.append(content)
        head = canonical({"format": FORMAT, "arrays": entries}).encode()
        content = b"\n".join([head, b"".join(parts)])
        window = min(max(len(content), 2**12), 2**26)  # more would take memory and time, and press nothing more
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]
        return lzma.compress(content, filters=filters)

    @classmethod
    def from_bytes(cls, content: bytes, digest: str) -> Sidecar:
        """Read a sidecar.

        Args:
            content: of the file.
            digest: as the record has it.

        Raises:
            StoreError: if the content is damaged, of a newer version, or belongs to another record.
        """
        try:
            head, _, rest = _unpacked(content).partition(b"\n")
            about = json.loads(head)
            form = about["format"]
        except (lzma.LZMAError, EOFError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise StoreError(f"it is no sidecar of a record: {_why(error)}") from error
        if form != FORMAT:
            raise StoreError(f"its format is {form!r}, expected {FORMAT}: it was written by another version of bench")
        try:
            arrays = _decoded(about["arrays"], rest)
            beside, found = cls._of(arrays), digest_of(arrays)
        except (ValueError, LookupError, TypeError, ArithmeticError, SyntaxError) as error:
            raise StoreError(f"it is damaged: {error}") from error
        if found != digest:
            raise StoreError(f"it does not belong to its record: its digest is {found}, expected {digest}")
        return beside

    @classmethod
    def _of(cls, arrays: Arrays) -> Sidecar:
        """A sidecar of the arrays of its file, the columns of the history among them."""
        history = {n.removeprefix(HISTORY): _values(n, a) for n, a in arrays.items() if n.startswith(HISTORY)}
        return cls(history, {name: a for name, a in arrays.items() if not name.startswith(HISTORY)})


def sidecar_path(record: Path, digest: str) -> Path:
    """The file of what lies beside a record.

    Args:
        record: the file of the record.
        digest: as the record has it.
    """
    return record.with_suffix(f".{digest}{SUFFIX}")


def sidecars_of(record: Path) -> list[Path]:
    """All files that may lie beside a record: its sidecar, and those that a killed process has left.

    Args:
        record: the file of the record; it need not exist.
    """
    paths = record.parent.glob(f"{glob.escape(record.stem)}.*{SUFFIX}")
    return sorted(path for path in paths if (match := NAME.fullmatch(path.name)) and match[1] == record.stem)


def remove_sidecars(record: Path, keep: str = "") -> None:
    """Remove the sidecars beside a record. What lies there that is no file, or cannot be removed, stays.

    Args:
        record: the file of the record; it need not exist.
        keep: the digest of the one that stays, if any.
    """
    for path in sidecars_of(record):
        if path != sidecar_path(record, keep):
            with suppress(OSError):  # such as that of a folder
                path.unlink()


def digest_of(arrays: Mapping[str, Array]) -> str:
    """12 hex digits of the sha256 of arrays with their names, types and shapes; empty for none.

    Args:
        arrays: name -> array.
    """
    if not arrays:
        return ""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def _why(error: Exception) -> str:
    """Why bytes are no sidecar, in words: those of `xz` and JSON say where they gave up."""
    if isinstance(error, lzma.LZMAError) and "limit" not in str(error):  # that of the memory
        return "it is damaged, or was not written by `xz`"
    return (
        "it does not begin with a list of arrays"
        if isinstance(error, json.JSONDecodeError | UnicodeError)
        else str(error)
    )


def _column(name: str, values: Sequence[float | None]) -> Array:
    """A column of the history as an array, with NaN for None."""
    import numpy as np

    if name in WHOLE:
        return np.array(values, np.int64)
    numbers = np.array([math.nan if value is None else value for value in values], np.float64)
    with np.errstate(over="ignore"):  # what is too large for float32 is infinity
        return numbers.astype(np.float32) if name.startswith(TRAIN) else numbers


def _values(name: str, array: Array) -> list[float | None]:
    """A column of the history, with None for NaN. Raises ValueError for an array that is no column."""
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions, expected 1")
    return [None if isinstance(value, float) and math.isnan(value) else value for value in array.tolist()]


def _encoded(name: str, arrays: Mapping[str, Array]) -> tuple[str, bytes]:
    """The form of an array and its bytes in that form."""
    import numpy as np

    array = arrays[name]
    if array.dtype == np.float16:
        bits = array.reshape(-1).view(np.uint16)
        before = _alike(name, arrays)
        if before:
            bits = bits - arrays[before].reshape(-1).view(np.uint16)
        return f"after {before}" if before else "planes", _planes(bits)
    if array.dtype.kind in "iu" and array.ndim == 1 and array.dtype.itemsize > 1:
        return "steps", np.diff(array, prepend=array.dtype.type(0)).tobytes()
    return "plain", array.tobytes()


def _alike(name: str, arrays: Mapping[str, Array]) -> str:
    """The first array of the same set, type and shape, if it comes before this one; empty where there is none."""
    own, of_set = arrays[name], name.rpartition("/")[0]
    first = next(
        other for other, array in arrays.items() if other.rpartition("/")[0] == of_set and _kind(array) == _kind(own)
    )
    return "" if first == name else first


def _kind(array: Array) -> tuple[Any, ...]:
    return array.dtype, array.shape


def _planes(bits: Array) -> bytes:
    """The bytes of 16-bit numbers: the high bytes of all, then the low ones."""
    return (bits >> 8).astype("u1").tobytes() + (bits & 255).astype("u1").tobytes()


def _unpacked(content: bytes) -> bytes:
    """What `xz` has pressed. The memory is not taken before it is known to be of a sidecar's size. Raises LZMAError,
    EOFError or ValueError where it is not.
    """
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
    begin = stream.decompress(content, max_length=LARGEST_HEAD)
    if len(begin) == LARGEST_HEAD and b"\n" not in begin:
        raise ValueError(f"its first line has more than {LARGEST_HEAD:,} bytes")
    most = max(USUAL, DENSEST * len(content))
    rest = b"" if stream.eof else stream.decompress(b"", max_length=most)
    if not stream.eof and len(rest) == most:
        raise ValueError(f"it has more than {most:,} bytes")
    if not stream.eof or stream.unused_data:
        raise EOFError("it is cut off" if not stream.eof else f"{len(stream.unused_data)} bytes follow its end")
    return begin + rest


def _decoded(entries: Sequence[Any], rest: bytes) -> dict[str, Array]:
    """The arrays of a file. Raises ValueError, LookupError or TypeError where it does not hold them."""
    import numpy as np

    arrays: dict[str, Array] = {}
    begin = 0
    for name, kind, shape, form in entries:
        if not isinstance(name, str):
            raise ValueError(f"the name of an array is {cut(repr(name))}, expected a text")
        dtype = np.dtype(kind)
        if dtype.str != kind or dtype.hasobject:
            raise ValueError(f"{name} is of the type {kind!r}")
        end = begin + math.prod(shape) * dtype.itemsize
        content = rest[begin:end]
        if len(content) != end - begin:
            raise ValueError(f"{name} is cut off")
        arrays[name] = _of_form(form, content, dtype, arrays).reshape(shape)
        begin = end
    if begin != len(rest):
        raise ValueError(f"it has {len(rest) - begin} bytes too many")
    return arrays


def _of_form(form: str, content: bytes, dtype: np.dtype[Any], before: Mapping[str, Array]) -> Array:
    """An array, without its shape, of its bytes in a form."""
    import numpy as np

    if form == "plain":
        return np.frombuffer(content, dtype)
    if form == "steps":
        return np.frombuffer(content, dtype).cumsum(dtype=dtype)
    high, low = np.frombuffer(content, "u1").reshape(2, -1).astype(np.uint16)
    bits = high << 8 | low
    if form != "planes":
        bits = bits + before[str(form).removeprefix("after ")].view(np.uint16).reshape(-1)
    return bits.view(dtype)
