"""The arrays that lie beside a record, tied to it by a digest. Numpy is imported where it is needed."""

import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from bench.errors import StoreError
from bench.records.files import content_of_file

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]


def digest_of_arrays(arrays: "Arrays") -> str:
    """12 hex digits of the sha256 of arrays with their names, types and shapes; an empty text for no arrays."""
    if not arrays:
        return ""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def read_arrays(path: Path, digest: str) -> "dict[str, np.ndarray[Any, Any]]":
    """The arrays in a file.

    Args:
        path: of the .npz file.
        digest: theirs, as their record has it; empty in records of earlier versions, which belong to any arrays.

    Raises:
        StoreError: if they cannot be read, or are those of another record.
    """
    import numpy as np

    try:
        with np.load(BytesIO(content_of_file(path))) as file:
            arrays = dict(file)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if digest and digest_of_arrays(arrays) != digest:
        raise StoreError(f"{path} does not hold the arrays of its record: their digest is not {digest}")
    return arrays
