"""From modules to hashes: a plugin with all that it imports of its own, and the core. Nothing here imports torch."""

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
    "errors": "words",
    "hookspecs": "what the functions of plugins are called",
    "plots": "draws records",
    "records": "keeps what a run gives",
    "registry": "loads plugins; records name those that took part",
    "runs.code": "compares these hashes",
    "runs.environment": "describes the machine",
    "runs.requests": "reads the options of a command, whose values are in the key",
    "runs.standing": "says which records stand",
    "sources": "these hashes",
    "tables": "shows records",
    "templates": "texts for new plugins",
    "testing": "checks plugins, and is called by no training",
    "text": "words",
    "throughput": "times single steps",
}
"""Rooms and modules of the core that training and evaluation do not run through, and why. All others make the core's
hash, so a new module counts until it is named here.
"""


@dataclass(frozen=True)
class Module:
    """A module as it was found.

    Attributes:
        name: its full name.
        parsed: its source; None where there is none that can be read, such as that of a module typed into a notebook.
    """

    name: str
    parsed: Parsed | None


class Finder(ABC):
    """Finds modules: those that are installed, or those of a commit."""

    @abstractmethod
    def find(self, module: str) -> Module | None:
        """Find a module.

        Args:
            module: its full name.

        Returns:
            The module; None where there is none of that name.
        """

    @abstractmethod
    def below(self, package: str) -> Iterable[str]:
        """The full names of all modules in a package, however deep, without the package itself.

        Args:
            package: its full name.
        """

    @abstractmethod
    def follows(self, package: str) -> bool:
        """Whether the modules of a package belong to the code of a plugin that imports them, so that they are hashed
        too. Of other packages, the record has the version of their distribution.

        Args:
            package: the name of a top package.
        """


def parsed(source: str, module: str, is_package: bool) -> Module:
    """A module whose source is known.

    Args:
        source: its text.
        module: its full name.
        is_package: whether it is the `__init__` of a package.
    """
    return Module(module, parse(source, module, is_package))


def hash_of(roots: Iterable[str], finder: Finder) -> str:
    """Hash some modules together with all that they import of their own. The core is left out, as it has a hash of its
    own.

    Args:
        roots: full names of the modules.
        finder: where modules are looked for.

    Returns:
        12 hex digits; empty where there is no root, or the source of a root or of a module that it leads to is not
        known.
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
    """The modules that a module leads to, among them those that its imports only may name."""
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
    """Hash the modules of the core that training and evaluation run through, 12 hex digits.

    Args:
        finder: where modules are looked for.
    """
    hashes = {}
    for name in finder.below(CORE):
        module = finder.find(name)
        place = name.removeprefix(f"{CORE}.")
        if module and module.parsed and not any(step in NOT_OF_A_RUN for step in parents(place)):
            hashes[name] = hashlib.sha256(module.parsed.meaning.encode("utf-8", "surrogatepass")).hexdigest()
    return digest(sorted(hashes.items()))
