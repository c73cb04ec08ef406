"""The code of a run: which hashes it has, and whether a record of the same key was made by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.metrics import METRICS, metric_of
from bench.records.known_code import CORE, as_one
from bench.records.run import RunResult
from bench.records.sections import UNKNOWN, Code
from bench.registry import Plugin
from bench.runs.experiment import Experiment
from bench.sources.closure import core_hash, hash_of, of_core
from bench.sources.installed import INSTALLED, modules_of


def code_of(experiment: Experiment) -> Code:
    """The hashes of what is installed, as far as this experiment runs through it.

    A plugin is known by the module of its entry point, by those in which its class with its bases or its function is
    written, and by all that these import of their own (`bench.sources`).
    """
    core = core_hash(INSTALLED)
    values: dict[str, Any] = {
        "protocol": type(experiment.protocol),
        "model": experiment.model,
        "method": experiment.method,
    }
    for name in sorted({experiment.recipe.select, *map(metric_of, experiment.metrics)} - METRICS.keys()):
        values[f"metric {name}"] = experiment.known_metrics[name].function
    plugins = {}
    for use in sorted(values.keys() | experiment.plugins.keys()):
        plugins[use] = _hash(experiment.plugins.get(use), values.get(use), core)
    loaded: dict[str, dict[str, str]] = {}
    for plugin in experiment.loaded:
        of_distribution = loaded.setdefault(f"{plugin.distribution} {plugin.version}", {})
        of_distribution[plugin.name] = _hash(plugin, None, core)
    return Code(core, plugins, loaded)


def _hash(plugin: Plugin | None, value: Any, core: str) -> str:
    """Of a plugin and of what it offers, as far as there is one; that of the core for what the core offers itself."""
    modules = [plugin.module] if plugin and plugin.module else []
    modules += modules_of(value) if value is not None else []
    if modules and all(map(of_core, modules)):
        return core
    return hash_of(modules, INSTALLED) or UNKNOWN


@dataclass(frozen=True)
class Difference:
    """Between the code that made a record and what is installed.

    Attributes:
        plugins: use -> hash then and hash now, of plugins that have changed.
        core: hash then and hash now, where it has changed.
        unknown: the uses of what cannot be compared.
    """

    plugins: Mapping[str, tuple[str, str]]
    core: tuple[str, str] | None
    unknown: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.plugins or self.core or self.unknown)


def difference(result: RunResult, code: Code) -> Difference:
    """What is different between a record's code and this; equivalent hashes are one."""
    then = result.code_by_use
    now = as_one({use: one for use, one in ({CORE: code.core} | code.plugins).items() if one != UNKNOWN})
    common = then.keys() & now.keys()
    changed = {use: (then[use], now[use]) for use in sorted(common) if then[use] != now[use]}
    core = changed.pop(CORE, None)
    unknown = ({CORE} | code.plugins.keys()) - common
    return Difference(changed, core, tuple(sorted(unknown)))
