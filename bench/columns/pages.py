"""What pages were made of, so that a page whose runs have not changed is not made again. Nothing here imports torch.

It is kept in the folder of the columns that were read before, and can be removed at any time with it.
"""

import hashlib
import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
from bench.columns.cache import FOLDER
from bench.columns.lines import STAMP
from bench.columns.table import Columns
from bench.errors import StoreError
from bench.records.files import content_of_file, write_whole

if TYPE_CHECKING:
    from hashlib import _Hash

FILE = "pages.json"
ROOMS = ("", "records", "columns", "tables", "tables/stats", "tables/pages")
"""Where the code and the data that pages are made by are, in this package."""
Made = dict[str, tuple[str, str, Any]]
"""Page -> the digest of what it was made of, that of its text, and what is said of it elsewhere, as JSON has it."""


def load(folder: Path) -> Made:
    """What is known of pages; nothing where that cannot be read.

    Args:
        folder: of the records.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError):
        entries = json.loads(content_of_file(folder / FOLDER / FILE))
        return {str(page): (str(made_of), str(text), said) for page, (made_of, text, said) in entries.items()}
    return {}


def save(folder: Path, made: Made) -> None:
    """Keep what is known of pages, if the folder of columns is there and can be written to.

    Args:
        folder: of the records.
        made: all pages of its runs.
    """
    if (folder / FOLDER).is_dir():
        with suppress(StoreError):
            write_whole(folder / FOLDER / FILE, json.dumps(made).encode())


def made_of(columns: Columns) -> str:
    """The digest of all that the page of a task is made of: the columns of its runs, and the code.

    Args:
        columns: of the task.
    """
    import pyarrow as pa

    digest = _code().copy()
    table = columns.table.drop_columns(["file", *STAMP])
    with pa.PythonFile(_Hashing(digest), "w") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    return digest.hexdigest()


def of_text(text: str) -> str:
    """The digest of the text of a page."""
    return hashlib.sha256(text.encode()).hexdigest()


def unchanged(made: Made, page: str, made_of: str, text: str) -> bool:
    """Whether the text of a page is what would be made now.

    Args:
        made: what is known.
        page: its name.
        made_of: the digest of what it would be made of.
        text: of its file; empty where there is none.
    """
    return bool(text) and page in made and made[page][:2] == (made_of, of_text(text))


class _Hashing:
    """A file whose content is hashed and not kept."""

    closed = False

    def __init__(self, digest: "_Hash") -> None:
        self._digest = digest

    def write(self, content: Any) -> int:
        self._digest.update(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


@cache
def _code() -> "_Hash":
    """The hash of the sources that make pages, and of what is printed in papers and known of codes."""
    root, found = Path(bench.__file__).parent, hashlib.sha256()
    for room in ROOMS:
        for path in sorted((root / room).iterdir()):
            if path.suffix in (".py", ".json", ".csv"):
                found.update(f"{path.name} {path.stat().st_size} ".encode())
                found.update(path.read_bytes())
    return found
