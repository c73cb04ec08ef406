"""Hashes of modules: of a plugin with all modules that it imports, and of the core. Nothing here imports torch."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from bench.records.spec import digest
from bench.sources.syntax import Parsed, parents, parse

CORE = "bench"
NOT_OF_A_RUN = {
    "__init__": "names what plugins import",
    "audit": "looks for defects of data sets, and is called by no training",
    "cli": "reads commands and prints",
    "columns": "reads records as columns, for tables",
    "errors": "words",
    "hookspecs": "what the functions of plugins are called",
    "plots": "draws records",
    "records": "keeps what a run gives",
    "registry": "loads plugins; records name those that took part",
    "runs.code": "compares these hashes",
    "runs.environment": "describes the machine",
    "runs.executors": "gives a run to a process, in which it is the same run",
    "runs.requests": "reads the options of a command, whose values are in the key",
    "runs.standing": "says which records stand",
    "site": "shows records",
    "sources": "these hashes",
    "store": "the folder of what a run gives",
    "tables": "shows records",
    "templates": "texts for new plugins",
    "testing": "checks plugins, and is called by no training",
    "text": "words",
    "throughput": "times single steps",
}
"""Module or package of the core that no training or evaluation runs through -> what it does instead. All others are
part of the core's hash, so a new module counts until it is named here.
"""


@dataclass(frozen=True)
class Module:
    """A module that a Finder has found.

    Attributes:
        name: its full name.
        parsed: its parsed source; None if there is no source to read, such as for a module made in a notebook.
    """

    name: str
    parsed: Parsed | None


class Finder(ABC):
    """Finds modules by their names: the installed ones, or those of a git commit."""

    @abstractmethod
    def find(self, module: str) -> Module | None:
        """Find a module.

        Args:
            module: its full name.

        Returns:
            The module; None if there is no module of that name.
        """

    @abstractmethod
    def below(self, package: str) -> Iterable[str]:
        """The full names of all modules in a package and its subpackages, without the package itself.

        Args:
            package: its full name.
        """

    @abstractmethod
    def follows(self, package: str) -> bool:
        """Whether the modules of a package are hashed together with a plugin that imports them.

        Other packages are libraries: a record holds the version of their distribution.

        Args:
            package: the name of a top package.
        """


def parsed(source: str, module: str, is_package: bool) -> Module:
    """Make a Module from its source.

    Args:
        source: the text of the source file.
        module: the full name of the module.
        is_package: whether it is the `__init__` of a package.
    """
    return Module(module, parse(source, module, is_package))


def hash_of(roots: Iterable[str], finder: Finder) -> str:
    """Hash modules together with all modules that they import, as far as the finder follows them.

    The core is left out, because it has a hash of its own (`core_hash`).

    Args:
        roots: full names of the modules.
        finder: finds the modules.

    Returns:
        12 hex digits; empty if there are no roots, or if the source of a root or of a module that it imports cannot be
        read.
    """
    met: dict[str, str] = {}
    ahead = {name for root in roots for name in parents(root) if not of_core(name)}
    if not ahead:
        return ""
    unknown = {root for root in ahead if finder.find(root) is None}
    while ahead:
        name = ahead.pop()
        module = finder.find(name)
        if name in met or module is None:
            continue
        if module.parsed is None:
            unknown.add(name)
            continue
        met[name] = hashlib.sha256(module.parsed.meaning.encode("utf-8", "surrogatepass")).hexdigest()
        ahead |= {step for step in _next(module.parsed, name, finder) if step not in met}
    return "" if unknown else digest(sorted(met.items()))


def _next(source: Parsed, name: str, finder: Finder) -> set[str]:
    """The modules that a module imports, or may import if its source does not show which."""
    names = {step for found in source.imports for step in parents(found)}
    if source.open_ended:
        names |= set(finder.below(name.partition(".")[0]))
    return {step for step in names if not of_core(step) and finder.follows(step.partition(".")[0])}


def of_core(module: str) -> bool:
    """Whether a module belongs to the core, the package `bench`.

    Args:
        module: its full name.
    """
    return module.partition(".")[0] == CORE


def core_hash(finder: Finder) -> str:
    """Hash the modules of the core that training and evaluation run through.

    Args:
        finder: finds the modules.

    Returns:
        12 hex digits.
    """
    hashes = {}
    for name in finder.below(CORE):
        module = finder.find(name)
        place = name.removeprefix(f"{CORE}.")
        if module and module.parsed and not any(step in NOT_OF_A_RUN for step in parents(place)):
            hashes[name] = hashlib.sha256(module.parsed.meaning.encode("utf-8", "surrogatepass")).hexdigest()
    return digest(sorted(hashes.items()))
