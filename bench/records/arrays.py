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
    """The digest of arrays with their names, types and shapes.

    Args:
        arrays: name -> array.

    Returns:
        12 hex digits of the sha256; empty for no arrays.
    """
    if not arrays:
        return ""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def read_arrays(path: Path, digest: str) -> "dict[str, np.ndarray[Any, Any]]":
    """Read the arrays beside a record.

    Args:
        path: the .npz file.
        digest: that of the arrays, as their record has it; empty in records of earlier versions, and then any arrays
            are taken.

    Returns:
        Name -> array.

    Raises:
        StoreError: if the file cannot be read, or holds the arrays of another record.
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
