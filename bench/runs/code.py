"""The hashes of the code that a run goes through, and how a record's code differs from what is installed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.metrics import METRICS, metric_of
from bench.records.known_code import CORE, as_one, hashes_by_use
from bench.records.run import RunResult
from bench.records.sections import UNKNOWN, Code
from bench.records.spec import digest
from bench.registry import Offer, Plugin
from bench.runs.experiment import Experiment
from bench.sources.closure import core_hash, hash_of, of_core
from bench.sources.installed import INSTALLED, modules_of


def code_of(experiment: Experiment) -> Code:
    """Hash the installed code that an experiment runs through: the core and its plugins.

    The code of a plugin is the module of its entry point, the modules that its function or its class and the bases of
    the class are written in, and all modules of the plugin's own that these import (`bench.sources`).

    Args:
        experiment: the experiment.

    Returns:
        The hash of the core; for each use, such as `method`, the hash of its plugin; and for each distribution, one
        hash of all its plugins that were imported. A hash that cannot be computed is UNKNOWN.
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
    return Code(core, plugins, code_of_distributions(experiment.loaded))


def code_of_distributions(plugins: Iterable[Plugin]) -> dict[str, str]:
    """Hash the installed code of plugins, whether it is used or not.

    Args:
        plugins: the plugins.

    Returns:
        For each distribution with its version, one hash of all its plugins.
    """
    core = core_hash(INSTALLED)
    loaded: dict[str, dict[str, str]] = {}
    for plugin in plugins:
        of_distribution = loaded.setdefault(f"{plugin.distribution} {plugin.version}", {})
        of_distribution[plugin.name] = _hash(plugin, None, core)
    return {name: digest(sorted(hashes.items())) for name, hashes in loaded.items()}


def _hash(plugin: Plugin | None, value: Any, core: str) -> str:
    """The hash of a plugin and of what it offers, either of which may be None. What the core offers has its hash."""
    modules = [plugin.module] if plugin and plugin.module else []
    modules += modules_of(value) if value is not None else []
    if modules and all(map(of_core, modules)):
        return core
    return hash_of(modules, INSTALLED) or UNKNOWN


def code_of_metric(offer: Offer) -> str:
    """The hash of the installed code of a metric, UNKNOWN where it cannot be computed.

    Args:
        offer: the metric with its plugin.
    """
    return _hash(offer.plugin, offer.value.function, core_hash(INSTALLED))


@dataclass(frozen=True)
class Difference:
    """How the installed code differs from the code that made a record. It is false if nothing differs.

    Attributes:
        plugins: use, such as `method` -> hash of the plugin in the record and hash today, for plugins that differ.
        core: hash of the core in the record and hash today; None if they are equal or cannot be compared.
        unknown: uses whose code cannot be compared, because one of the hashes is not known.
    """

    plugins: Mapping[str, tuple[str, str]]
    core: tuple[str, str] | None
    unknown: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.plugins or self.core or self.unknown)


def difference(result: RunResult, code: Code) -> Difference:
    """Compare a record's code with installed code. Hashes that are known to be equivalent count as equal.

    Args:
        result: the record.
        code: the installed code, from `code_of`.

    Returns:
        The difference.
    """
    then = hashes_by_use(result.code, result.environment, result.spec.protocol_name)
    now = {use: one for use, one in ({CORE: code.core} | code.plugins).items() if one != UNKNOWN}
    common = then.keys() & now.keys()
    known_then, known_now = as_one(then), as_one(now)
    changed = {use: (then[use], now[use]) for use in sorted(common) if known_then[use] != known_now[use]}
    core = changed.pop(CORE, None)
    unknown = ({CORE} | code.plugins.keys()) - common
    return Difference(changed, core, tuple(sorted(unknown)))
