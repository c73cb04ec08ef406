"""The installed modules, loaded or not. No module is imported to be read, because importing would run its code."""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from bench.registry import GROUP
from bench.sources.closure import Finder, Module, parsed
from bench.sources.syntax import Parsed, standard


class Installed(Finder):
    """Finds the modules that this process has loaded or can load.

    Each module is read once and remembered, because a later change of its file does not change what the process
    computes with. A module that was loaded again (`importlib.reload`) is read again.
    """

    def __init__(self) -> None:
        self._read: dict[str, tuple[ModuleSpec | None, Module | None]] = {}

    def find(self, module: str) -> Module | None:
        """Find a module.

        Args:
            module: its full name.

        Returns:
            The module, without parsed source if its source cannot be read; None if there is no module of that name.
        """
        loaded = getattr(sys.modules.get(module), "__spec__", None)
        before, found = self._read.get(module, (None, None))
        if module not in self._read or (before and loaded and loaded is not before):
            found = _find(module)
        self._read[module] = loaded or before, found
        return found

    def below(self, package: str) -> Iterator[str]:
        """The full names of all modules in the folders of a package and its subpackages, without the package itself.

        Args:
            package: its full name.
        """
        spec = _spec_of(package)
        if spec is None or spec.submodule_search_locations is None:
            return
        for info in pkgutil.iter_modules(spec.submodule_search_locations, f"{package}."):
            yield info.name
            if info.ispkg:
                yield from self.below(info.name)

    def follows(self, package: str) -> bool:
        """Whether the modules of a package are hashed with a plugin that imports them.

        They are if the package comes from a distribution that offers plugins, from one that is installed in place (`pip
        install -e`), or from no distribution. The modules of Python itself and of all other libraries are not.

        Args:
            package: the name of a top package.
        """
        if standard([package]):
            return False
        distributions = _distributions().get(package, [])
        return not distributions or bool({normalized_name(name) for name in distributions} & _changing())


INSTALLED = Installed()
"""The one finder of the process, which remembers what it has read."""


def _find(name: str) -> Module | None:
    loaded, spec = sys.modules.get(name), _spec_of(name)
    if loaded is None and spec is None:
        return None
    is_package = bool(spec and spec.submodule_search_locations is not None)
    if is_package and spec and not spec.has_location:  # a package without `__init__`
        return parsed("", name, True)
    source = _source(spec, name)
    if source is not None:
        return parsed(source, name, is_package)
    file = spec.origin if spec else getattr(loaded, "__file__", None)  # the spec of a script is None
    try:
        content = Path(file or "").read_bytes()
    except OSError:
        return Module(name, None)
    if file and file.endswith(".py"):
        return parsed(importlib.util.decode_source(content), name, is_package)
    return Module(name, Parsed(hashlib.sha256(content).hexdigest()))  # a compiled module: equal files compute the same


def _source(spec: ModuleSpec | None, name: str) -> str | None:
    """The source of a module from its loader; None if the loader does not give it."""
    loader: Any = spec.loader if spec else None
    if not hasattr(loader, "get_source"):  # the loaders of files and of zip archives have it
        return None
    try:
        source: str | None = loader.get_source(name)
    except (ImportError, OSError, SyntaxError, UnicodeError):
        return None
    return source


def _spec_of(name: str) -> ModuleSpec | None:
    """The spec of a module, which says where it comes from; None if there is none."""
    if module := sys.modules.get(name):
        spec: ModuleSpec | None = getattr(module, "__spec__", None)
        return spec
    package, _, _ = name.rpartition(".")
    if not package:
        return next((spec for finder in sys.meta_path if (spec := _top(finder, name))), None)
    parent = _spec_of(package)
    if parent is None or parent.submodule_search_locations is None:
        return None
    return _inside(list(parent.submodule_search_locations), name)


def _inside(folders: Sequence[str], name: str) -> ModuleSpec | None:
    """The spec of a module of a package that lies in these folders, and need not be imported."""
    try:
        return PathFinder.find_spec(name, folders)
    except KeyError:  # a folder without `__init__`: Python looks the package around it up among the imported ones
        spec = ModuleSpec(name, None, is_package=True)
        parts = [Path(folder, name.rpartition(".")[2]) for folder in folders]
        spec.submodule_search_locations = [str(part) for part in parts if part.is_dir()]
        return spec


def _top(finder: Any, name: str) -> ModuleSpec | None:
    """The spec that a finder of the import system gives for a module that is in no package."""
    if not hasattr(finder, "find_spec"):
        return None
    spec: ModuleSpec | None = finder.find_spec(name, None)
    return spec


@functools.cache  # it takes half a second
def _distributions() -> Mapping[str, list[str]]:
    """Top package -> the distributions that install it."""
    return importlib.metadata.packages_distributions()


@functools.cache
def _changing() -> frozenset[str]:
    """Distributions whose code may change without their version: those of plugins, and those installed in place."""
    offering = {entry.dist.name for entry in importlib.metadata.entry_points(group=GROUP) if entry.dist}
    claimed = {name for names in _distributions().values() for name in names}
    return frozenset(map(normalized_name, offering | set(filter(_is_in_place, claimed))))


def _is_in_place(distribution: str) -> bool:
    """Whether a distribution was installed with `pip install -e`, according to its metadata."""
    try:
        said = importlib.metadata.distribution(distribution).read_text("direct_url.json")
        return bool(said and json.loads(said).get("dir_info", {}).get("editable"))
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return False


def normalized_name(distribution: str) -> str:
    """The form of a distribution's name in which names are compared: lower case, with `-` for `_` and `.`.

    Args:
        distribution: the name in any form.
    """
    return distribution.lower().replace("_", "-").replace(".", "-")


def modules_of(value: Any) -> Iterable[str]:
    """The modules that the code of an object is written in, without those of Python and of libraries.

    Args:
        value: a class, whose bases count too; a function, which may be wrapped or partial; or any other object, for
            which its class counts.

    Returns:
        Full names of the modules, each once.
    """
    while True:
        inner = getattr(value, "__wrapped__", None) or getattr(value, "func", None)
        if inner is None or isinstance(value, type):
            break
        value = inner
    classes = value.__mro__ if isinstance(value, type) else [value]
    names = [getattr(one, "__module__", None) or type(one).__module__ for one in classes]
    return [name for name in dict.fromkeys(names) if INSTALLED.follows(name.partition(".")[0])]
