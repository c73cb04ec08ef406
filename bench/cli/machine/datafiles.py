"""Whether the files of the data sets are there, found out by calling the loaders. Nothing is downloaded or written."""

import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bench.cli.machine.lines import LOOK, OK, Line
from bench.data.files import Files
from bench.errors import PluginFailureError
from bench.text import join_first

if TYPE_CHECKING:
    from bench.registry import Offer, Registry

LARGEST = 300_000_000
"""Bytes of a file up to which it is verified: a few seconds from a slow disk."""
SECONDS = 10.0
"""The longest that a loader may take."""
NAMED_FILES = 2
"""Files up to which each is named."""
VERIFIED, OTHER, MISSING = "found, verified", "found, other checksum", "not there"
UNVERIFIED, LARGE = "found, no checksum published", "found, too large to verify here"
LATER = "its first use downloads or prepares files"


class Stopped(BaseException):
    """Ends a loader whose files are known by now. No Exception, so that no loader takes it for an error."""


@dataclass
class Looked(Files):
    """Files that are looked for and verified, and not downloaded. A loader ends at the first one that is missing or
    that has another checksum, or when it has asked for all of them.

    Attributes:
        states: name of each file that was asked for -> VERIFIED, OTHER, MISSING, UNVERIFIED or LARGE.
    """

    download: bool = False
    states: dict[str, str] = field(default_factory=dict)

    def find(self, name: str, url: str) -> Path:
        path = self.root / name
        if not path.exists():
            self._end(name, MISSING)
        if path.stat().st_size > LARGEST:
            self._end(name, LARGE)
        self.states.setdefault(name, UNVERIFIED)
        return path

    def require(self, name: str, checksum: str, url: str) -> Path:
        self.find(name, url)
        self.states[name] = OTHER  # until it is verified
        path = super().require(name, checksum, url)
        self.states[name] = VERIFIED
        return path

    def unverified(self, name: str, sha256: Any, reason: str) -> NoReturn:
        self._end(name, OTHER if self.states.get(name) == OTHER else UNVERIFIED)

    def report(self, what: str, fraction: float) -> NoReturn:
        raise Stopped(LATER)  # it prepares what it has found

    @property
    def revision(self) -> str:
        """A loader asks for it after it has asked for its files."""
        raise Stopped

    def _end(self, name: str, state: str) -> NoReturn:
        self.states[name] = state
        raise Stopped


class Watch:
    """Ends a loader that would connect to the network or change the data folder, and notes whether it reads there.

    It does so by an audit hook of Python, which is added once, as none can be removed, and does nothing at other times.
    What is not written in Python may evade it.
    """

    NETWORK = ("socket.connect", "socket.getaddrinfo", "urllib.Request")
    CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree")
    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    CODE = (".py", ".pyc", ".so")
    """The endings of what Python reads to import something, which may lie below the data folder too."""

    def __init__(self) -> None:
        self.has_read = False
        self._folder = ""
        self._added = False

    @contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        """Within, loaders of data in that folder are watched."""
        if not self._added:
            sys.addaudithook(self._hear)
            self._added = True
        self.has_read = False
        self._folder = os.path.join(os.path.abspath(folder), "")
        try:
            yield
        finally:
            self._folder = ""

    def _hear(self, event: str, values: tuple[Any, ...]) -> None:
        if not self._folder:
            return
        if event in self.NETWORK:
            raise Stopped(LATER)
        if event in self.CHANGES and any(map(self._is_inside, values)):
            raise Stopped(LATER)
        if event == "open" and self._is_inside(values[0]):
            self.has_read = True
            if values[2] & self.WRITING:
                raise Stopped(LATER)

    def _is_inside(self, path: object) -> bool:
        """Whether it is a path below the data folder, and none of installed code."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        place = os.path.join(os.path.abspath(os.fsdecode(path)), "")
        is_code = place.endswith(tuple(f"{ending}{os.sep}" for ending in self.CODE)) or "__pycache__" in place
        return place.startswith(self._folder) and not is_code and not place.startswith(os.path.join(sys.prefix, ""))


WATCH = Watch()
"""The one of this process."""


def data_files(registry: "Registry", root: Path) -> Iterator[Line]:
    """A line for each data set that reads files, and one for those that do not.

    Args:
        registry: the plugins.
        root: the folder of the data files.
    """
    without: list[str] = []
    for name, offer in sorted(registry.offers["datasets"].items()):
        if name.endswith("/*"):
            yield Line("data", f"{name}: not looked for, as its members are not known")
        elif line := _of_dataset(name, offer, root):
            yield line
        else:
            without.append(name)
    if without:
        yield Line("data", f"{', '.join(without)}: no files needed", OK)


def _of_dataset(name: str, offer: "Offer", root: Path) -> Line | None:
    """The line of a data set; None if it reads no files."""
    from bench.failures import plugin_code
    from bench.guards.process import leaving_nothing
    from bench.parts import Part

    files, part, ended = Looked(root), Part("data set", name, offer.plugin, offer.value), ""
    try:
        with leaving_nothing(str(part), offer.plugin.module), plugin_code(part), WATCH.over(root), _limit(SECONDS):
            try:
                offer.value(files)
            except Stopped as stopped:
                ended = str(stopped)
    except (Exception, SystemExit) as error:
        return _of_error(name, error, root)
    if files.states:
        return _of_states(name, files.states, ended)
    if ended or WATCH.has_read:
        return Line("data", f"{name}: {ended or 'found, read without a checksum of the files'}")
    return None


def _of_error(name: str, error: BaseException, root: Path) -> Line:
    """A loader's own Files, as for an archive, say in words that a file is missing."""
    from bench.failures import one_line

    said = one_line(error, ())
    missing, is_missing, _ = said.removeprefix("missing file ").partition(": get it from ")
    if is_missing and said.startswith("missing file "):
        return Line("data", f"{name}: {MISSING} ({os.path.relpath(missing, root)})")
    names_it = isinstance(error, PluginFailureError)
    return Line("data", said if names_it else f"{name}: {said}", LOOK, broken=True)


def _of_states(name: str, states: dict[str, str], ended: str) -> Line:
    by_state: dict[str, list[str]] = defaultdict(list)
    for file, state in states.items():
        by_state[state].append(file)
    told = []
    for state in (OTHER, MISSING, LARGE, UNVERIFIED):
        if names := by_state.get(state):
            told.append(f"{state} ({join_first(names, NAMED_FILES)})")
    if verified := len(by_state[VERIFIED]):
        told.append(f"{VERIFIED} ({verified} {'file' if verified == 1 else 'files'})")
    told += [ended] if ended else []
    mark = LOOK if OTHER in by_state else OK if by_state.keys() == {VERIFIED} else ""
    return Line("data", f"{name}: {'; '.join(told)}", mark, broken=OTHER in by_state)


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Within, what takes longer ends, if the system can do that: Python allows it in the main thread alone."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise Stopped(f"its loader takes longer than {seconds:g} s, which is all it got")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
