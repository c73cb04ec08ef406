"""The long table of records as a file of other programs. Pandas is imported by who asks for it."""

import json
import math
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def csv_of(frame: "pd.DataFrame") -> bytes:
    """A table as comma-separated values with a head, in UTF-8. Undefined values are empty.

    Args:
        frame: the table.
    """
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def json_of(frame: "pd.DataFrame") -> bytes:
    """A table as a JSON list with one row, an object, in each line. Undefined values are null.

    Args:
        frame: the table.
    """
    rows = ",\n".join(_rows(frame))
    return f"[\n{rows}\n]\n".encode()


def _rows(frame: "pd.DataFrame") -> Iterator[str]:
    """Numbers are written so that they are read again to the last bit, which pandas does not do."""
    columns = [frame[name].tolist() for name in frame.columns]
    for row in zip(*columns, strict=True):
        yield json.dumps({name: _plain(value) for name, value in zip(frame.columns, row, strict=True)})


def _plain(value: Any) -> Any:
    """None for numbers that JSON lacks, and for what pandas takes for a value that is missing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) else None


def parquet_of(frame: "pd.DataFrame") -> bytes:
    """A table as a Parquet file.

    Args:
        frame: the table.
    """
    file = BytesIO()
    frame.to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


FORMATS: dict[str, "Callable[[pd.DataFrame], bytes]"] = {"csv": csv_of, "parquet": parquet_of, "json": json_of}
"""Name of a format -> what makes the content of its file."""
