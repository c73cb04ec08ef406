"""What is installed: data sets, models and methods by name, each with the plugin that offers it."""

import contextlib
import functools
import importlib.metadata
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

from bench import hookspecs
from bench.errors import PluginError, UnknownNameError

GROUP = "bench"
KINDS = ("datasets", "models", "methods", "protocols", "metrics", "workloads", "rivals")


@dataclass(frozen=True)
class Plugin:
    """An entry point and the distribution it comes from; `module` is where its code is."""

    name: str
    distribution: str
    version: str
    module: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Offer:
    """A named thing and the plugin that offers it."""

    value: Any
    plugin: Plugin

    @property
    def description(self) -> str:
        """The docstring of a class or function; of anything else its own `description`, where it has one."""
        if not isinstance(self.value, type) and hasattr(self.value, "description"):
            return str(self.value.description)
        return inspect.getdoc(self.value) or ""

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]


@dataclass
class Registry:
    """Offers by kind and name; `broken` holds the reason for each plugin that could not be loaded."""

    plugins: list[Plugin] = field(default_factory=list)
    broken: dict[Plugin, str] = field(default_factory=dict)
    offers: dict[str, dict[str, Offer]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def add(self, module: object, plugin: Plugin) -> None:
        """Ask a module for all that it offers. A host of its own for each plugin keeps their failures apart.

        Raises PluginError when a name is offered twice or a hook returns no mapping, and whatever the plugin raises.
        """
        host = pluggy.PluginManager(GROUP)
        host.add_hookspecs(hookspecs)
        host.register(module)
        host.check_pending()
        if not host.get_hookcallers(module):
            raise PluginError("it implements no hook: mark its functions with @bench.hookimpl")
        found = [(kind, names) for kind in KINDS for names in getattr(host.hook, f"bench_{kind}")()]
        for kind, names in found:
            if not isinstance(names, Mapping):
                raise PluginError(f"bench_{kind} must return a mapping from names, not {type(names).__name__}")
        for kind, names in found:  # only now: a broken plugin offers nothing
            self._offer(kind, names, plugin)
        self.plugins.append(plugin)

    def _offer(self, kind: str, found: Mapping[str, Any], plugin: Plugin) -> None:
        for name, value in found.items():
            if name in self.offers[kind]:
                other = self.offers[kind][name].plugin
                raise DuplicateNameError(
                    f"the name {name!r} in {kind} is offered twice, by {other} and by {plugin}: uninstall one of them"
                )
            self.offers[kind][name] = Offer(value, plugin)

    def everything(self, name: str) -> list[tuple[str, Offer]]:
        """Whatever has this name, each with its kind in the singular; of families the member that is named."""
        found = []
        for kind in KINDS:
            with contextlib.suppress(UnknownNameError):
                found.append((kind.removesuffix("s"), self.find(kind, name)))
        if found:
            return found
        raise self._unknown("name", name, [each for offers in self.offers.values() for each in offers])

    def values(self, kind: str) -> dict[str, Any]:
        """What is offered, by name."""
        return {name: offer.value for name, offer in self.offers[kind].items()}

    @property
    def default_protocol(self) -> str:
        """The name of the protocol that says that it is the default; empty where none does, or several do."""
        names = [name for name, offer in self.offers["protocols"].items() if offer.value.default]
        return names[0] if len(names) == 1 else ""

    def find(self, kind: str, name: str) -> Offer:
        """The offer of that name; `family/member` finds the offer `family/*`, called with `name=member`."""
        offers = self.offers[kind]
        if name in offers and not name.endswith("/*"):
            return offers[name]
        family, _, member = name.partition("/")
        if member and (offer := offers.get(f"{family}/*")):
            return Offer(functools.wraps(offer.value)(functools.partial(offer.value, name=member)), offer.plugin)
        raise self._unknown(kind.removesuffix("s"), name, offers)

    def _unknown(self, what: str, name: str, valid: Iterable[str]) -> UnknownNameError:
        """The error, which says of plugins that could not be loaded why: the name may be theirs."""
        broken = "; ".join(f"plugin {plugin} could not be loaded: {why}" for plugin, why in self.broken.items())
        return UnknownNameError(what, name, valid, f" ({broken})" if broken else "")


class DuplicateNameError(PluginError):
    """Two plugins offer one name: which is meant is for the user to decide, so nothing is loaded."""


def load(entry_points: "list[importlib.metadata.EntryPoint]") -> Registry:
    """Load each entry point by itself: one that fails is kept with the reason, the others work.

    Raises DuplicateNameError when two plugins offer one name.
    """
    registry = Registry()
    for entry_point in sorted(entry_points, key=lambda e: (e.dist.name if e.dist else "", e.name)):
        dist = entry_point.dist
        distribution = (dist.name, dist.version) if dist else ("unknown", "?")
        plugin = Plugin(entry_point.name, *distribution, entry_point.module)
        try:
            registry.add(entry_point.load(), plugin)
        except DuplicateNameError:
            raise
        except (Exception, SystemExit) as error:
            registry.broken[plugin] = f"{type(error).__name__}: {error}".replace("\n", " ")
    return registry


@functools.cache
def installed() -> Registry:
    """All installed plugins."""
    return load(list(importlib.metadata.entry_points(group=GROUP)))
