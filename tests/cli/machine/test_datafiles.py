"""What `bench doctor` says of data files: loaders are called, and nothing is downloaded or written."""

import gzip
import hashlib
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench.registry
from bench import BenchError, DataError, Files
from bench.cli.machine import datafiles
from bench.cli.machine.datafiles import Stopped, data_files
from bench.cli.machine.lines import LOOK, OK, Line
from bench.data.memory_map import memory_map
from bench.registry import Offer, Plugin, Registry

CONTENT = b"some data"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
URL = "https://example.org/a.bin"
Loader = Callable[[Files], Any]
NONE = Line("data", "toy: no files needed", OK)


def registry_of(**loaders: Loader) -> Registry:
    registry = Registry()
    registry.offers["datasets"] = {n: Offer(load, Plugin("p", "dist", "1", __name__)) for n, load in loaders.items()}
    return registry


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with the files set/a and set/b."""
    (tmp_path / "root" / "set").mkdir(parents=True)
    for name in "ab":
        (tmp_path / "root" / "set" / name).write_bytes(CONTENT)
    return tmp_path / "root"


def told(load: Loader, root: Path) -> Line:
    """The line of a data set; nothing in its folder may have changed."""
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    (line,) = data_files(registry_of(toy=load), root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    return line


def asks(*names: str, checksum: str = MD5) -> Loader:
    """A loader of these files, which then knows their revision."""

    def load(files: Files) -> None:
        for name in names:
            assert files.require(name, checksum, URL).read_bytes() == CONTENT
        assert files.revision

    return load


@pytest.mark.parametrize(
    ("load", "said", "mark"),
    [
        (asks("set/a", "set/b"), "found, verified (2 files)", OK),
        (asks("set/a"), "found, verified (1 file)", OK),
        (asks("set/a", checksum="md5:" + "0" * 32), "found, other checksum (set/a)", LOOK),
        (asks("set/c"), "not there (set/c)", ""),
        (asks("set/a", "set/c"), "not there (set/c); found, verified (1 file)", ""),
        (lambda files: files.find("set/a", URL), "found, no checksum published (set/a)", ""),
        (lambda files: files.find("set/c", URL), "not there (set/c)", ""),
        (lambda files: files.unverified("set/x", lambda: "", "x"), "found, no checksum published (set/x)", ""),
        (lambda files: None, "no files needed", OK),
        (lambda files: Files(files.root, download=files.download).require("c", MD5, URL), "not there (c)", ""),
        (lambda files: (files.root / "set" / "a").read_bytes(), "found, read without a checksum of the files", ""),
    ],
)
def test_each_data_set_is_told_by_its_files(root: Path, load: Loader, said: str, mark: str) -> None:
    line = told(load, root)
    assert (line.found.partition(": ")[2], line.mark) == (said, mark)
    assert line.broken == (mark == LOOK)


def test_a_large_file_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafiles, "LARGEST", len(CONTENT) - 1)
    line = told(asks("set/a", checksum="md5:" + "0" * 32), root)
    assert line == Line("data", "toy: found, too large to verify here (set/a)")


def test_a_loader_ends_when_it_has_asked_for_its_files(root: Path) -> None:
    passed = []

    def load(files: Files) -> None:
        files.require("set/a", MD5, URL)
        passed.append(1)
        assert files.revision
        passed.append(2)

    assert told(load, root).mark == OK
    assert passed == [1]


def test_a_loader_that_prepares_a_map_is_ended_before_it_makes_a_folder(root: Path) -> None:
    def load(files: Files) -> None:
        files.require("set/a", MD5, URL)
        memory_map(files.root / "set" / "prepared", {}, lambda: [{"x": np.zeros((1, 1), np.uint8)}])

    line = told(load, root)
    assert line.found == "toy: found, verified (1 file); its first use downloads or prepares files"


def writes(files: Files) -> None:
    (files.root / "new").write_text("x")


def makes(files: Files) -> None:
    (files.root / "new").mkdir()


def removes(files: Files) -> None:
    (files.root / "set" / "a").unlink()


def renames(files: Files) -> None:
    (files.root / "set" / "a").rename(files.root / "set" / "c")


def downloads(files: Files) -> None:
    urllib.request.urlretrieve((files.root / "set" / "a").as_uri(), files.root / "new")


def reports(files: Files) -> None:
    files.report("preparing", 0.0)


@pytest.mark.parametrize("load", [writes, makes, removes, renames, downloads, reports])
def test_a_loader_that_would_write_or_download_is_ended(root: Path, load: Loader) -> None:
    assert told(load, root) == Line("data", "toy: its first use downloads or prepares files")


def test_a_loader_may_write_elsewhere_and_everybody_may_afterwards(root: Path, tmp_path: Path) -> None:
    assert told(lambda files: (tmp_path / "elsewhere").touch(), root) == NONE
    assert (tmp_path / "elsewhere").exists()
    writes(Files(root))
    assert (root / "new").read_text() == "x"


def test_code_may_lie_in_the_data_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python reads it, and keeps it compiled."""
    (root / "some_code.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(root)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def load(files: Files) -> None:
        import some_code  # type: ignore[import-not-found]

        assert some_code.x == 1

    assert [*data_files(registry_of(toy=load), root)] == [NONE]


def test_nothing_is_asked_of_a_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its address is looked up."""
    import socket

    def load(files: Files) -> None:
        socket.getaddrinfo("localhost", 80)
        raise AssertionError("it was looked up")

    assert told(load, root) == Line("data", "toy: its first use downloads or prepares files")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = server.getsockname()
        assert told(lambda files: socket.create_connection(address), root).found.endswith("prepares files")


def fails(files: Files) -> None:
    raise ValueError("no\nvalue")


def ends(files: Files) -> None:
    sys.exit(0)


def interrupts(files: Files) -> None:
    raise KeyboardInterrupt


def refuses(files: Files) -> None:
    raise DataError("set/a is damaged")


def replaces(files: Files) -> None:
    BenchError.__init__ = fails  # type: ignore[assignment,method-assign]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (fails, "dist 1: data set toy: ValueError in fails, tests/cli/machine/test_datafiles.py:"),
        (ends, "dist 1: data set toy: SystemExit in ends, "),
        (interrupts, "dist 1: data set toy: KeyboardInterrupt in interrupts, "),
        (refuses, "toy: set/a is damaged"),
        (replaces, "toy: dist 1: data set toy replaced bench.errors.BenchError.__init__"),
    ],
)
def test_a_loader_that_fails_is_broken_and_the_others_are_told(root: Path, load: Loader, said: str) -> None:
    first, second = data_files(registry_of(toy=load, zoo=asks("set/a")), root)
    assert first.found.startswith(said)
    assert (first.mark, first.broken) == (LOOK, True)
    assert second == Line("data", "zoo: found, verified (1 file)", OK)


def test_a_loader_that_takes_too_long_is_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafiles, "SECONDS", 0.05)
    begin = time.monotonic()
    assert (
        told(lambda files: time.sleep(60), root).found
        == "toy: its loader takes longer than 0.05 s, which is all it got"
    )
    assert time.monotonic() - begin < 30


def test_families_are_named_and_not_called(root: Path) -> None:
    (line,) = data_files(registry_of(**{"zoo/*": fails}), root)
    assert line == Line("data", "zoo/*: not looked for, as its members are not known")


def test_no_exception_of_a_loader_is_a_stop() -> None:
    assert not issubclass(Stopped, Exception)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_the_built_in_data_sets_in_an_empty_folder(empty: Path) -> None:
    lines = [*data_files(bench.registry.installed(), empty)]
    states = dict(line.found.split(": ") for line in lines)
    away = {name: state for name, state in states.items() if state.startswith("not there (")}
    assert states.keys() - away.keys() == {"digits, moons, separable"}
    files = ("adult", "cat_dog", "celeba", "cifar10", "cifar100", "communities", "compas", "droughtwatch", "mnist")
    assert away.keys() == {*files, "waterbirds"}
    assert away["mnist"] == "not there (MNIST/raw/train-images-idx3-ubyte.gz)"
    assert away["adult"] == "not there (adult/adult.data)"
    assert not any(line.broken for line in lines)
    assert [*empty.iterdir()] == []


@pytest.fixture
def archive(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first archive of MNIST, of other content, which counts as official."""
    folder = empty / "MNIST" / "raw"
    folder.mkdir(parents=True)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(CONTENT))
    official = {"train-images-idx3-ubyte": (MD5[4:], hashlib.md5(path.read_bytes()).hexdigest())}
    monkeypatch.setattr("bench_plugins.datasets.mnist.MD5", official)
    return path


def test_an_archive_that_is_still_packed_stays_packed(archive: Path) -> None:
    load = bench.registry.installed().find("datasets", "mnist").value
    assert told(load, archive.parents[2]) == Line("data", "toy: its first use downloads or prepares files")


def test_an_archive_with_another_checksum_is_broken(archive: Path) -> None:
    archive.write_bytes(b"half")
    line = told(bench.registry.installed().find("datasets", "mnist").value, archive.parents[2])
    assert (line.mark, line.broken) == (LOOK, True)
    assert line.found.startswith(f"toy: {archive} is not the official file: its md5 is ")
