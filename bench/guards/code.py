"""Detects code that a run has replaced: functions and classes of torch, numpy, Python, the core and other plugins.

For each name, the object that it refers to is compared, not the object's content. That takes milliseconds.
"""

import builtins
import math
import random
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

FOREIGN = (torch, torch.nn, torch.nn.functional, torch.nn.init, torch.linalg, torch.special, torch.fft, torch.optim)
FOREIGN += (torch.autograd, torch.random, torch.func, torch.utils.data, np, np.random, np.linalg)  # type: ignore[assignment]
FOREIGN += (random, math, time, builtins)  # type: ignore[assignment]
"""Modules outside of this project whose names are watched."""
CLASSES = (torch.Tensor, torch.Generator, torch.Size, torch.autograd.Function, torch.optim.Optimizer, torch.nn.Module)
"""Classes whose attributes are watched, beside the classes of torch's modules and optimisers."""
CACHES = {"__annotations__", "__annotations_cache__", "__doc__", "__warningregistry__", "__cached__", "__dict__"}
CACHES |= {"Storage"}  # this one follows the default dtype
CACHES |= {"tzname", "timezone", "altzone", "daylight"}  # libraries call `time.tzset`, which sets them anew
"""Names that Python and libraries set anew themselves. They are not watched."""
MISSING = object()
"""Stands for the object of a name that does not exist."""
SHARED = {"bench", *(module.__name__.partition(".")[0] for module in FOREIGN)}
"""Top packages whose code every run computes with."""
TORCH = Path(torch.__file__).parent
"""The folder of torch's own code."""


@dataclass(frozen=True)
class Names:
    """The objects that the names of a module or class, or the keys of a module's dictionary, referred to at one time.

    Attributes:
        title: full name of the module, the class or the dictionary.
        place: the module, the class or the dictionary itself.
        before: name -> the object that it referred to.
    """

    title: str
    place: Any
    before: dict[Any, Any]

    @property
    def now(self) -> Mapping[Any, Any]:
        """Name -> the object that it refers to now."""
        return self.place if isinstance(self.place, dict) else vars(self.place)

    def replaced(self) -> list[str]:
        """Let each name refer to its former object again.

        Returns:
            The full names that referred to another object. The names in CACHES, and functions that torch itself has
            wrapped, are left as they are and are not among these.
        """
        now = self.now
        if len(self.before) == len(now) and all(now.get(name, MISSING) is value for name, value in self.before.items()):
            return []
        changed = [name for name, value in self.before.items() if now.get(name, MISSING) is not value]
        if isinstance(self.place, type):  # a new name in a class hides that of its bases; elsewhere it replaces nothing
            changed += [name for name, value in now.items() if name not in self.before and _is_code(value)]
        changed = [name for name in changed if name not in CACHES and not self._is_torchs(name)]
        changed = [name for name in changed if self._put_back(name)]
        return [f"{self.title}{f'[{name!r}]' if isinstance(self.place, dict) else f'.{name}'}" for name in changed]

    def _is_torchs(self, name: Any) -> bool:
        """Whether torch itself has wrapped the former object, as it does when its compiler is imported."""
        former = self.before[name] if name in self.before else self._inherited(name)
        known = [former, _wrapped_by_torch(former)]
        inside = _wrapped_by_torch(self.now.get(name))
        return inside is not MISSING and any(inside is one for one in known)

    def _inherited(self, name: str) -> Any:
        """What a class has had of its bases under a name: torch wraps the step of an optimiser in the class itself."""
        bases = self.place.__mro__[1:] if isinstance(self.place, type) else ()
        return next((vars(base)[name] for base in bases if name in vars(base)), MISSING)

    def _put_back(self, name: Any) -> bool:
        """Let a name refer to its former object, if it can be set. If it cannot, no plugin has set it either."""
        try:
            if isinstance(self.place, dict):
                self.place[name] = self.before[name]
            elif name in self.before:
                setattr(self.place, name, self.before[name])
            else:
                delattr(self.place, name)
        except (AttributeError, TypeError):
            return False
        return True


class Code:
    """The objects that the names of modules and classes referred to at one time.

    FOREIGN and CLASSES are watched, and the packages.

    Args:
        packages: top packages whose loaded modules are watched, with their classes and dictionaries.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self._names = [Names(_title(place), place, dict(vars(place))) for place in _places(set(packages))]
        for names in list(self._names):
            if isinstance(names.place, ModuleType) and names.place not in FOREIGN:
                for name, value in names.before.items():
                    if isinstance(value, dict) and not name.startswith("__"):
                        self._names.append(Names(f"{names.title}.{name}", value, dict(value)))

    def put_back(self) -> tuple[list[str], list[str]]:
        """Let each name refer to its former object again.

        Returns:
            The full names that referred to another object, in two lists: those of code that every run computes with,
            and those of plugins, which may store something of their own there.
        """
        shared: list[str] = []
        of_plugins: list[str] = []
        for names in self._names:
            (shared if names.title.partition(".")[0] in SHARED else of_plugins).extend(names.replaced())
        return shared, of_plugins


def _wrapped_by_torch(value: Any) -> Any:
    """What a wrapper of torch's own is around; MISSING if the value is none."""
    code = getattr(value, "__code__", None)
    if code is None or not Path(code.co_filename).is_relative_to(TORCH):
        return MISSING
    return getattr(value, "__wrapped__", MISSING)


def _is_code(value: Any) -> bool:
    """Whether a new attribute of a class is a method or a property. Python stores others there, such as caches."""
    return callable(value) or hasattr(value, "__get__")


def _places(packages: set[str]) -> list[Any]:
    ours = [m for name, m in list(sys.modules.items()) if m and name.partition(".")[0] in packages]
    places: list[Any] = [*FOREIGN, *ours, *CLASSES]
    for module in (torch.nn, torch.optim, *ours):
        places += [value for value in vars(module).values() if isinstance(value, type) and _is_of(value, module)]
    return list({id(place): place for place in places}.values())


def _is_of(value: type, module: ModuleType) -> bool:
    return (getattr(value, "__module__", "") or "").startswith(module.__name__)


def _title(place: Any) -> str:
    if isinstance(place, ModuleType):
        return place.__name__
    return f"{place.__module__}.{place.__qualname__}"
