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
"""Bytes that are downloaded between two reports of the progress."""


def default_root() -> Path:
    """The folder for data files: `$BENCH_DATA` if it is set, otherwise the platform's folder for a user's caches."""
    if folder := os.environ.get("BENCH_DATA"):
        return Path(folder)
    import platformdirs  # imported here because it is rarely needed

    return platformdirs.user_cache_path("bench")


@dataclass
class Files:
    """The folder of the data files, which downloads and verifies them.

    Attributes:
        root: where the files are looked for and downloaded to.
        allow_unofficial: whether a file is accepted whose checksum is not the official one.
        download: whether missing files are downloaded.
        unofficial: name of each file that was accepted without the official checksum -> hash of its content.
        progress: called with what is being done and the fraction of it that is done, while files are downloaded and
            large data are prepared.
    """

    root: Path
    allow_unofficial: bool = False
    download: bool = True
    unofficial: dict[str, str] = field(default_factory=dict)
    progress: Callable[[str, float], None] | None = None
    _read: dict[str, str] = field(default_factory=dict)

    def require(self, name: str, checksum: str, url: str) -> Path:
        """The file `root/name`, downloaded if it is missing, and verified.

        Args:
            name: path of the file below `root`.
            checksum: the official one: "md5:...", "sha1:..." or "sha256:...".
            url: of the file itself, or of a .tar.gz that holds it as `name`.

        Raises:
            DataError: if the file is missing and cannot be downloaded, or if it is not the official file.
        """
        path = self.find(name, url)
        algorithm, official = checksum.split(":")
        actual = _digest(path, algorithm)
        if actual == official:
            self._read[name] = checksum
        else:
            reason = (
                f"{path} is not the official file: its {algorithm} is {actual}, expected {official}; delete it to "
                f"download it again from {url}"
            )
            self.unverified(name, lambda: _digest(path, "sha256"), reason)
        return path

    def find(self, name: str, url: str) -> Path:
        """The file `root/name`, downloaded if it is missing, but not verified: for files without a published checksum.

        Args:
            name, url: as for `require`.

        Raises:
            DataError: if the file is missing and cannot be downloaded.
        """
        path = self.root / name
        if not path.exists():
            self._fetch(name, url)
        return path

    def unverified(self, name: str, sha256: Callable[[], str], reason: str) -> None:
        """Note that a file is read although nothing shows that it is the official one.

        Args:
            name: of the file.
            sha256: gives the hash of its content; called only if such data are allowed.
            reason: why the file may not be the official one.

        Raises:
            DataError: with the reason and the way out, if such data are not allowed.
        """
        if not self.allow_unofficial:
            raise DataError(f"{reason}, or use it as it is with --allow-unofficial-data (tables will say so)")
        self.unofficial[name] = self._read[name] = f"sha256:{sha256()}"

    def report(self, what: str, fraction: float) -> None:
        """Report progress.

        Args:
            what: is being done.
            fraction: that is done, from 0 to 1.
        """
        if self.progress:
            self.progress(what, fraction)

    @property
    def revision(self) -> str:
        """12 hexadecimal digits that identify the contents of all files that were required so far."""
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
                    raise OSError("a web page came instead, perhaps because a quota is used up or a login is needed")
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
                f"it there, or name the folder that holds it with --data-dir or BENCH_DATA"
            ) from error
        if not path.exists():
            raise DataError(f"{url} does not hold {name}: put the file at {path} by hand")

    def _download(self, url: str, to: Path, name: str) -> None:
        """Download a file. Raises OSError, also if fewer bytes come than the server announced."""
        with urllib.request.urlopen(url, timeout=30) as response, to.open("wb") as file:
            size = int(response.headers.get("Content-Length") or 0)
            done = 0
            what = f"downloading {name}"
            if size:
                what += f" ({size / 1e6:,.1f} MB)"
            self.report(what, 0)
            while part := response.read(PART):
                file.write(part)
                done += len(part)
                self.report(what, min(done / size, 1) if size else 0)
        if done < size:
            raise OSError(f"the download ended after {done:,} of {size:,} bytes")


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
