"""Finding, fetching and verifying files. Downloads are tried with file:// addresses, and from a server here."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench import DataError, Files
from bench.data.files import default_root
from bench.records.files import part_of

CONTENT = b"some data"
SUMS = {
    algorithm: f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}" for algorithm in ("md5", "sha1", "sha256")
}
URL = "https://example.org/a.bin"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """With the file set/a.bin, that may not download."""
    (tmp_path / "root" / "set").mkdir(parents=True)
    (tmp_path / "root" / "set" / "a.bin").write_bytes(CONTENT)
    return Files(tmp_path / "root", download=False)


def archive(path: Path, members: dict[str, bytes]) -> str:
    """The address of a .tar.gz with these members."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.as_uri()


@pytest.mark.parametrize("algorithm", SUMS)
def test_an_official_file_is_returned(files: Files, algorithm: str) -> None:
    path = files.require("set/a.bin", SUMS[algorithm], URL)
    assert path == files.root / "set" / "a.bin"
    assert files.unofficial == {}


def test_another_file_is_refused_with_both_checksums_and_the_way_out(files: Files) -> None:
    with pytest.raises(DataError) as caught:
        files.require("set/a.bin", "md5:" + "0" * 32, URL)
    for part in (str(files.root / "set" / "a.bin"), SUMS["md5"][4:], "0" * 32, URL, "--allow-unofficial-data"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unofficial_file_is_accepted_when_allowed_and_its_hash_kept(files: Files) -> None:
    files.allow_unofficial = True
    files.require("set/a.bin", "md5:" + "0" * 32, URL)
    assert files.unofficial == {"set/a.bin": SUMS["sha256"]}


def test_an_official_file_is_not_called_unofficial_when_others_are_allowed(files: Files) -> None:
    files.allow_unofficial = True
    files.require("set/a.bin", SUMS["md5"], URL)
    assert files.unofficial == {}


def test_a_missing_file_offline_names_file_folder_and_address(files: Files) -> None:
    with pytest.raises(DataError) as caught:
        files.require("set/b.bin", SUMS["md5"], URL)
    assert str(files.root / "set" / "b.bin") in str(caught.value)
    assert URL in str(caught.value)


def test_a_folder_in_the_place_of_a_file(files: Files) -> None:
    with pytest.raises(DataError, match="cannot read"):
        files.require("set", SUMS["md5"], URL)


def test_download_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "remote").write_bytes(CONTENT)
    root = tmp_path / "new" / "root"
    path = Files(root).require("set/a.bin", SUMS["sha1"], (tmp_path / "remote").as_uri())
    assert path.read_bytes() == CONTENT
    assert sorted(p.name for p in root.iterdir()) == ["set"], "nothing temporary stays"


def test_download_of_an_archive_that_holds_the_file(tmp_path: Path) -> None:
    url = archive(tmp_path / "remote.tar.gz", {"set/a.bin": CONTENT, "set/readme": b""})
    assert Files(tmp_path / "root").require("set/a.bin", SUMS["md5"], url).read_bytes() == CONTENT
    assert (tmp_path / "root" / "set" / "readme").exists()


def test_what_is_there_is_not_downloaded_again(files: Files, tmp_path: Path) -> None:
    files.download = True
    files.require("set/a.bin", SUMS["md5"], (tmp_path / "nothing").as_uri())


def test_a_download_is_verified(tmp_path: Path) -> None:
    (tmp_path / "remote").write_bytes(b"other data")
    with pytest.raises(DataError, match="not the official file"):
        Files(tmp_path / "root").require("a.bin", SUMS["md5"], (tmp_path / "remote").as_uri())


def test_processes_that_download_one_archive_at_once_all_get_the_whole_file(tmp_path: Path) -> None:
    """And so does whoever reads the file as soon as it is there."""
    content = os.urandom(5_000_000)
    checksum = "sha256:" + hashlib.sha256(content).hexdigest()
    url = archive(tmp_path / "remote.tar.gz", {"set/a.bin": content, "set/b.bin": content})
    code = "from pathlib import Path; from bench import Files; print('began', flush=True); input(); "
    code += f"Files(Path({str(tmp_path / 'root')!r})).require('set/a.bin', {checksum!r}, {url!r})"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "began\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert names(tmp_path / "root") == ["set", "set/a.bin", "set/b.bin"]


def test_what_a_killed_download_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """A folder of a process that is dead, and nothing else: not that of a living one, nor a file of another program."""
    root = tmp_path / "root"
    root.mkdir()
    code = f"import os, pathlib; from bench.records.files import part_of; p = pathlib.Path({str(root / 'download')!r})"
    code += "; part_of(p).mkdir(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    part_of(root / "download").mkdir()
    (root / "other.part").touch()
    assert len(names(root)) == 3
    (tmp_path / "remote").write_bytes(CONTENT)
    Files(root).require("a.bin", SUMS["md5"], (tmp_path / "remote").as_uri())
    assert [name.partition(".")[0] for name in names(root)] == ["a", "download", "other"]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_an_archive_without_the_file(tmp_path: Path) -> None:
    url = archive(tmp_path / "remote.tar.gz", {"set/b.bin": CONTENT})
    with pytest.raises(DataError, match=r"does not hold set/a\.bin"):
        Files(tmp_path / "root").require("set/a.bin", SUMS["md5"], url)


def test_an_archive_cannot_write_outside_the_root(tmp_path: Path) -> None:
    url = archive(tmp_path / "remote.tar.gz", {"../escaped": CONTENT})
    with pytest.raises(DataError, match="could not be downloaded"):
        Files(tmp_path / "root").require("set/a.bin", SUMS["md5"], url)
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_a_truncated_archive(tmp_path: Path, kept: float) -> None:
    remote = tmp_path / "remote.tar.gz"
    archive(remote, {"set/a.bin": "".join(map(str, range(50_000))).encode()})
    remote.write_bytes(remote.read_bytes()[: int(kept * remote.stat().st_size)])
    with pytest.raises(DataError, match="could not be downloaded"):
        Files(tmp_path / "root").require("set/a.bin", SUMS["md5"], remote.as_uri())


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Quota exceeded</title>", b"\n <HTML><body>Sign in"])
def test_a_web_page_in_the_place_of_the_file(tmp_path: Path, page: bytes) -> None:
    (tmp_path / "remote").write_bytes(page)
    with pytest.raises(DataError, match="a web page came instead") as caught:
        Files(tmp_path / "root", allow_unofficial=True).require("a.bin", SUMS["md5"], (tmp_path / "remote").as_uri())
    assert str(tmp_path / "root" / "a.bin") in str(caught.value)
    assert not (tmp_path / "root").exists(), "no folder is left behind"


def test_a_file_without_a_checksum_is_found_or_fetched(files: Files, tmp_path: Path) -> None:
    assert files.find("set/a.bin", URL) == files.root / "set" / "a.bin"
    with pytest.raises(DataError, match="missing file"):
        files.find("set/b.bin", URL)
    (tmp_path / "remote").write_bytes(CONTENT)
    files.download = True
    assert files.find("set/b.bin", (tmp_path / "remote").as_uri()).read_bytes() == CONTENT
    assert files.unofficial == {}


def test_what_nothing_verifies_is_refused_with_the_reason_before_it_is_hashed(files: Files) -> None:
    with pytest.raises(DataError, match=r"^the folder is unknown, or .* --allow-unofficial-data"):
        files.unverified("set", lambda: pytest.fail("hashed"), "the folder is unknown")
    files.allow_unofficial = True
    before = files.revision
    files.unverified("set", lambda: "0" * 64, "the folder is unknown")
    assert files.unofficial == {"set": "sha256:" + "0" * 64}
    assert files.revision != before


def test_progress_is_told_to_whoever_wants_to_know(files: Files) -> None:
    files.report("reading", 0.5)
    told: list[tuple[str, float]] = []
    files.progress = lambda what, fraction: told.append((what, fraction))
    files.report("reading", 0.75)
    assert told == [("reading", 0.75)]


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], object]) -> Iterator[str]:
    """The address of a.bin on a server that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a.bin"
        server.shutdown()
        thread.join()


def sends(announced: int | None, content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        if announced is not None:
            request.send_header("Content-Length", str(announced))
        request.end_headers()
        request.wfile.write(content)

    return answer


def told_of(root: Path, url: str) -> list[tuple[str, float]]:
    """What a download reports."""
    told: list[tuple[str, float]] = []
    files = Files(root, progress=lambda what, fraction: told.append((what, fraction)))
    assert files.find("set/a.bin", url).read_bytes() == CONTENT
    return told


def test_a_download_tells_how_much_of_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.files.PART", 3)
    with served(sends(len(CONTENT), CONTENT)) as url:
        told = told_of(tmp_path, url)
    assert told == [("downloading set/a.bin (0.0 MB)", fraction) for fraction in (0, 3 / 9, 6 / 9, 1)]


def test_a_download_of_unknown_size_tells_that_it_goes_on(tmp_path: Path) -> None:
    with served(sends(None, CONTENT)) as url:
        assert told_of(tmp_path, url) == [("downloading set/a.bin", 0), ("downloading set/a.bin", 0)]


def test_an_archive_is_told_by_its_own_name(tmp_path: Path) -> None:
    url = archive(tmp_path / "remote.tar.gz", {"set/a.bin": CONTENT})
    assert {what for what, _ in told_of(tmp_path / "root", url)} == {"downloading remote.tar.gz (0.0 MB)"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (sends(1000, CONTENT), "the download ended after 9 of 1,000 bytes"),
        (lambda request: request.send_error(404), "HTTP Error 404: Not Found"),
        (lambda request: request.wfile.write(b"no HTTP\r\n"), "no HTTP"),
    ],
)
def test_a_download_that_breaks_off_or_is_refused_leaves_nothing(
    tmp_path: Path, answer: Callable[[BaseHTTPRequestHandler], object], reason: str
) -> None:
    with served(answer) as url, pytest.raises(DataError, match=reason) as caught:
        Files(tmp_path).find("a.bin", url)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_names_file_address_and_options(tmp_path: Path) -> None:
    url = (tmp_path / "nothing").as_uri()
    with pytest.raises(DataError) as caught:
        Files(tmp_path / "root").require("set/a.bin", SUMS["md5"], url)
    for part in (str(tmp_path / "root" / "set" / "a.bin"), url, "--data-dir", "BENCH_DATA"):
        assert part in str(caught.value)


def test_revision_depends_on_the_contents_alone(files: Files) -> None:
    (files.root / "b.bin").write_bytes(b"more data")
    more = "md5:" + hashlib.md5(b"more data").hexdigest()
    other = Files(files.root)
    files.require("set/a.bin", SUMS["md5"], URL)
    first = files.revision
    files.require("b.bin", more, URL)
    other.require("b.bin", more, "https://example.org/elsewhere")
    other.require("set/a.bin", SUMS["md5"], URL)
    assert files.revision == other.revision != first
    assert len(first) == 12
    assert int(first, 16) >= 0


def test_revision_tells_unofficial_contents_apart(files: Files) -> None:
    revisions = set()
    for content in (b"one", b"two"):
        (files.root / "set" / "a.bin").write_bytes(content)
        unofficial = Files(files.root, allow_unofficial=True)
        unofficial.require("set/a.bin", SUMS["md5"], URL)
        revisions.add(unofficial.revision)
    assert len(revisions) == 2


def test_the_default_root_is_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "platformdirs", None)
        assert default_root() == tmp_path
    monkeypatch.delenv("BENCH_DATA")
    assert default_root().name == "bench"
