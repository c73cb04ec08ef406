"""Finding, fetching and verifying the files of data sets."""

import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from bench.errors import DataError

PART = 2**20
"""Bytes that are downloaded between two reports."""


def default_root() -> Path:
    """`$BENCH_DATA`, else the platform's folder for a user's caches."""
    if named := os.environ.get("BENCH_DATA"):
        return Path(named)
    import platformdirs  # only where nothing is named

    return platformdirs.user_cache_path("bench")


@dataclass
class Files:
    """The folder of the data files, and what is known of those that were read.

    root: where the files are looked for and downloaded to.
    allow_unofficial: accept a file whose checksum is not the official one; its content's hash is kept in `unofficial`.
    download: fetch what is missing.
    progress: told (what is being done, fraction that is done) while files are downloaded and large data prepared.
    """

    root: Path
    allow_unofficial: bool = False
    download: bool = True
    unofficial: dict[str, str] = field(default_factory=dict)
    progress: Callable[[str, float], None] | None = None
    _read: dict[str, str] = field(default_factory=dict)

    def require(self, name: str, checksum: str, url: str) -> Path:
        """The verified file `root/name`.

        checksum: "md5:..." or "sha1:..." or "sha256:...", the official one.
        url: of the file itself, or of a .tar.gz that holds it as `name`.
        Raises DataError if it is missing and cannot be fetched, or if it is not the official file.
        """
        path = self.find(name, url)
        algorithm, official = checksum.split(":")
        if (found := _digest(path, algorithm)) == official:
            self._read[name] = checksum
        else:
            reason = (
                f"{path} is not the official file: its {algorithm} is {found}, expected {official}; delete it to "
                f"download it again from {url}"
            )
            self.unverified(name, lambda: _digest(path, "sha256"), reason)
        return path

    def find(self, name: str, url: str) -> Path:
        """The file `root/name`, fetched where it is missing, not verified: for a file without a published checksum.

        Raises DataError if it is missing and cannot be fetched.
        """
        path = self.root / name
        if not path.exists():
            self._fetch(name, url)
        return path

    def unverified(self, name: str, sha256: Callable[[], str], reason: str) -> None:
        """Note that `name` is read although nothing shows that it is the official data.

        sha256: of its content; asked for where such data are allowed. Raises DataError with the reason and the way out
        where they are not.
        """
        if not self.allow_unofficial:
            raise DataError(f"{reason}, or use it as it is with --allow-unofficial-data (tables will say so)")
        self.unofficial[name] = self._read[name] = f"sha256:{sha256()}"

    def report(self, what: str, fraction: float) -> None:
        """Tell whoever wants to know how much of `what` is done, in 0..1."""
        if self.progress:
            self.progress(what, fraction)

    @property
    def revision(self) -> str:
        """12 hex digits that stand for the contents of all files required so far."""
        text = "".join(f"{name} {checksum}\n" for name, checksum in sorted(self._read.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _fetch(self, name: str, url: str) -> None:
        path = self.root / name
        if not self.download:
            raise DataError(f"missing file {path}: get it from {url}, or allow the download")
        packed = url.endswith(".tar.gz") and not name.endswith(".tar.gz")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.root) as folder:
                part = Path(folder, "part")
                self._download(url, part, url.rpartition("/")[2] if packed else name)
                if _is_web_page(part):
                    raise OSError("a web page came instead, as of a quota that is used up or of a login")
                if packed:
                    with tarfile.open(part) as archive:
                        archive.extractall(folder, filter="data")
                    shutil.copytree(Path(folder, name).parent, path.parent, dirs_exist_ok=True)
                else:
                    part.replace(path)
        except (OSError, EOFError, zlib.error, tarfile.TarError, HTTPException) as error:
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection
            raise DataError(
                f"missing file {path}, and it could not be downloaded ({_one_line(error)}): get it from {url} and put "
                f"it there, or name the folder that has it with --data-dir or BENCH_DATA"
            ) from error
        if not path.exists():
            raise DataError(f"{url} does not hold {name}: put the file at {path} by hand")

    def _download(self, url: str, to: Path, name: str) -> None:
        """Raises OSError, also where less comes than was announced."""
        with urllib.request.urlopen(url, timeout=30) as response, to.open("wb") as file:
            size, done = int(response.headers.get("Content-Length") or 0), 0
            what = f"downloading {name}" + (f" ({size / 1e6:,.1f} MB)" if size else "")
            self.report(what, 0)
            while part := response.read(PART):
                file.write(part)
                done += len(part)
                self.report(what, min(done / size, 1) if size else 0)
        if done < size:
            raise OSError(f"it broke off after {done:,} of {size:,} bytes")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _digest(path: Path, algorithm: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
