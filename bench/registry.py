"""What is installed: data sets, models, methods and the other kinds by name, each with the plugin that offers it."""

import functools
import importlib.metadata
import inspect
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

from bench import hookspecs
from bench.errors import PluginError, UnknownNameError
from bench.offers import check_offer

GROUP = "bench"
KINDS = ("datasets", "models", "methods", "protocols", "metrics", "workloads", "rivals")
IN_WORDS = {
    "datasets": "a data set",
    "models": "a model",
    "methods": "a method",
    "protocols": "a protocol",
    "metrics": "a metric",
    "workloads": "a workload",
    "rivals": "a rival",
}
"""One of each kind, in words."""


@dataclass(frozen=True)
class Plugin:
    """An entry point, and the distribution that it comes from.

    Attributes:
        name: of the entry point.
        distribution: name of the installed distribution.
        version: of the distribution.
        module: the module that the entry point names.
    """

    name: str
    distribution: str
    version: str
    module: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Offer:
    """What a plugin offers under a name: a class, a function or an object.

    Attributes:
        value: the class, function or object.
        plugin: the plugin that offers it.
    """

    value: Any
    plugin: Plugin

    @property
    def description(self) -> str:
        """The docstring of a class or function; for any other object its attribute `description`, if it has one."""
        if not isinstance(self.value, type) and hasattr(self.value, "description"):
            return str(self.value.description)
        return inspect.getdoc(self.value) or ""

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]


@dataclass
class Registry:
    """All offers of the loaded plugins, by kind and name.

    Attributes:
        plugins: those that were loaded.
        broken: for each plugin that could not be loaded, the reason.
        offers: kind (one of KINDS) -> name -> offer.
    """

    plugins: list[Plugin] = field(default_factory=list)
    broken: dict[Plugin, str] = field(default_factory=dict)
    offers: dict[str, dict[str, Offer]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def add(self, module: object, plugin: Plugin) -> None:
        """Add everything that a plugin offers.

        Args:
            module: the plugin's module or object, with hook functions.
            plugin: its description.

        Raises:
            DuplicateNameError: when a name is offered already.
            PluginError: when the module has no hook function, or a hook returns something other than a mapping.
            Exception: whatever the plugin raises.
        """
        host = pluggy.PluginManager(GROUP)  # one for each plugin, so that a failure concerns no other plugin
        host.add_hookspecs(hookspecs)
        host.register(module)
        host.check_pending()
        if not host.get_hookcallers(module):
            raise PluginError("it implements no hook: mark its functions with @bench.hookimpl")
        values_by_kind: list[tuple[str, Mapping[str, Any]]] = []
        for kind in KINDS:
            for values in getattr(host.hook, f"bench_{kind}")():
                if not isinstance(values, Mapping):
                    raise PluginError(f"bench_{kind} must return a mapping from names, not {type(values).__name__}")
                for name, value in values.items():
                    check_offer(kind, name, value)
                values_by_kind.append((kind, values))
        offers = {kind: dict(known) for kind, known in self.offers.items()}
        for kind, values in values_by_kind:
            for name, value in values.items():
                _check_unique(offers[kind], kind, name, value, plugin)
                offers[kind][name] = Offer(value, plugin)
        self.offers = offers  # only after all checks, so that a broken plugin offers nothing
        self.plugins.append(plugin)

    def everything(self, name: str) -> list[tuple[str, Offer]]:
        """All offers of a name.

        Args:
            name: of any kind; `family/member` finds the member of a family.

        Returns:
            The kind in the singular, and the offer, for each kind that has the name.

        Raises:
            UnknownNameError: when no kind has the name.
        """
        matches = [(kind.removesuffix("s"), offer) for kind in KINDS if (offer := self._lookup(kind, name))]
        if matches:
            return matches
        names = itertools.chain.from_iterable(self.offers.values())
        raise self._unknown("name", name, names)

    def values(self, kind: str) -> dict[str, Any]:
        """The values of all offers of a kind, by name."""
        return {name: offer.value for name, offer in self.offers[kind].items()}

    @property
    def default_protocol(self) -> str:
        """The name of the protocol that declares itself the default; empty if none does. The keys of runs depend on it,
        so that no second one is loaded.
        """
        return _default_of(self.offers["protocols"])

    def find(self, kind: str, name: str) -> Offer:
        """The offer of a name.

        Args:
            kind: one of KINDS.
            name: for a member of a family `family/member`: the offer is that of `family/*`, called with `name=member`.

        Raises:
            UnknownNameError: when nothing of this kind has the name.
        """
        if offer := self._lookup(kind, name):
            return offer
        raise self._unknown(kind.removesuffix("s"), name, self.offers[kind])

    def _lookup(self, kind: str, name: str) -> Offer | None:
        """What `find` gives; None when nothing of this kind has the name."""
        offers = self.offers[kind]
        if name in offers and not name.endswith("/*"):
            return offers[name]
        family, _, member = name.partition("/")
        if member and (offer := offers.get(f"{family}/*")):
            return Offer(functools.wraps(offer.value)(functools.partial(offer.value, name=member)), offer.plugin)
        return None

    def _unknown(self, what: str, name: str, valid: Iterable[str]) -> UnknownNameError:
        """The error for an unknown name. It names the other kinds that have the name, and the plugins that could not be
        loaded, as one may offer the name.
        """
        kinds = " and ".join(IN_WORDS[kind] for kind in KINDS if self._lookup(kind, name))
        broken = "; ".join(f"plugin {plugin} could not be loaded: {why}" for plugin, why in self.broken.items())
        return UnknownNameError(what, name, valid, f" ({broken})" if broken else "", kinds)


class DuplicateNameError(PluginError):
    """Two plugins offer one name. The user has to decide which is meant, so nothing is run."""


def _check_unique(offers: Mapping[str, Offer], kind: str, name: str, value: Any, plugin: Plugin) -> None:
    """Raises DuplicateNameError for a name that is offered already, and for a second default protocol."""
    if name in offers:
        raise DuplicateNameError(
            f"the name {name!r} in {kind} is offered twice, by {offers[name].plugin} and by {plugin}: uninstall one of "
            f"them"
        )
    if kind == "protocols" and value.default and (default := _default_of(offers)):
        raise DuplicateNameError(
            f"two protocols say that they are the default, {default!r} of {offers[default].plugin} and {name!r} "
            f"of {plugin}: uninstall one of them, or leave out `default = True`"
        )


def _default_of(protocols: Mapping[str, Offer]) -> str:
    return next((name for name, offer in protocols.items() if offer.value.default), "")


def load(entry_points: "list[importlib.metadata.EntryPoint]", refuse_duplicates: bool = True) -> Registry:
    """Load the plugins of these entry points.

    Args:
        entry_points: of the group GROUP, in any order.
        refuse_duplicates: whether a name that two plugins offer is an error; if not, the second plugin is a broken one.

    Returns:
        The registry. A plugin that fails is in `broken` with the reason; the others work.

    Raises:
        DuplicateNameError: when two plugins offer one name, unless `refuse_duplicates` is false.
    """
    registry = Registry()
    for entry_point in sorted(entry_points, key=lambda e: (e.dist.name if e.dist else "", e.name)):
        if entry_point.dist:
            plugin = Plugin(entry_point.name, entry_point.dist.name, entry_point.dist.version, entry_point.module)
        else:
            plugin = Plugin(entry_point.name, "unknown", "?", entry_point.module)
        try:
            registry.add(entry_point.load(), plugin)
        except (Exception, SystemExit) as error:
            if refuse_duplicates and isinstance(error, DuplicateNameError):
                raise
            registry.broken[plugin] = f"{type(error).__name__}: {error}".replace("\n", " ")
    return registry


@functools.cache
def installed() -> Registry:
    """The registry of all installed plugins, loaded once.

    Raises:
        DuplicateNameError: when two plugins offer one name.
    """
    return load(installed_entry_points())


def installed_entry_points() -> list[importlib.metadata.EntryPoint]:
    """The entry points of all installed plugins."""
    return list(importlib.metadata.entry_points(group=GROUP))
