"""From a request to an experiment: names are looked up, data are loaded, and options are read and checked."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from bench import options as opt
from bench.data.content import content_of
from bench.data.dataset import Dataset
from bench.data.files import Files
from bench.data.rules import check_loaded
from bench.errors import OptionError, PluginError, UnknownNameError
from bench.failures import plugin_code
from bench.guards.process import leaving_nothing
from bench.guards.tensors import Watched, tensors_of
from bench.metrics import METRICS, Metric, metric_of, require_direction
from bench.parts import Part
from bench.protocol import Protocol
from bench.recipe import Recipe, check_recipe
from bench.records.spec import PAPER, SHARED
from bench.registry import Offer, Plugin, Registry, installed
from bench.runs.experiment import OPTION_PREFIXES, Experiment, Request
from bench.text import join_first


def resolve(
    request: Request, files: Files, registry: Registry | None = None, loaded: Dataset | None = None
) -> Experiment:
    """Make the experiment of a request: look up every name, load the data and check every option.

    Args:
        request: names and options, as the user gave them.
        files: the data files.
        registry: the plugins; None: those that are installed.
        loaded: the `dataset` of another experiment with the same data set, the same protocol and the same options of
            both; it is used instead of loading the data again. None: the data are loaded.

    Returns:
        The experiment. Only the seed is left to choose.

    Raises:
        UnknownNameError: for a name that no plugin offers.
        OptionError: for an option that does not exist or has a value that is not valid.
        DataError: for data that cannot be read or that break a rule (`bench.data.rules`).
        PluginError: for a plugin that does not do what its hook asks for.
        BenchError: for whatever else keeps the request from being run.
    """
    registry = registry or installed()
    method = registry.find("methods", request.method)
    if request.model:
        registry.find("models", request.model)  # so that a wrong name is reported before the data are read
    if request.validation not in (SHARED, PAPER):
        raise OptionError(f"validation {request.validation!r}: expected {SHARED} or {PAPER}")
    given = by_prefix(request.options)
    known = resolve_data(request.dataset, request.protocol, given, files, registry, loaded)
    recipe, model_name = known.recipe, request.model or known.recipe.model
    model = registry.find("models", model_name)
    own_model = recipe.model_options if model_name == recipe.model else {}
    own_method = recipe.options.get(request.method, {})
    model_options, changed_model = _resolve(model.value, own_model, given["model"], f"model {model_name}")
    options, changed = _resolve(method.value, own_method, given["method"], f"method {request.method}")
    experiment = Experiment(
        dataset=known.dataset,
        dataset_options=known.dataset_options,
        own_recipe=known.own_recipe,
        protocol=known.protocol,
        method_name=request.method,
        method=method.value,
        options=options,
        model_name=model_name,
        model=model.value,
        model_options=model_options,
        recipe=recipe,
        changed={"method": changed, "model": changed_model} | known.changed,
        validation=SHARED if method.value.uses_val else request.validation,
        default_protocol=known.default_protocol,
        known_metrics=known.known_metrics,
        plugins=known.plugins | {"model": model.plugin, "method": method.plugin},
        loaded=(*registry.plugins, *registry.broken),
        request=request,
        files=files,
        load=known.load,
        metric_parts=_metric_parts(registry),
    )
    with _running(Part("method", request.method, method.plugin, method.value)):
        experiment.new_method()  # checks its options, before anything is trained
    return replace(experiment, plugins=_plugins(experiment, registry), as_loaded=Watched(tensors_of(known.dataset)))


@contextmanager
def _running(part: Part) -> Iterator[None]:
    """Within, code of a part runs that is part of no run."""
    with leaving_nothing(str(part), part.plugin.module), plugin_code(part):
        yield


def _plugins(experiment: Experiment, registry: Registry) -> dict[str, Plugin]:
    """Use -> plugin, with the metrics of plugins that tables show or that select the epoch."""
    names = {experiment.recipe.select, *map(metric_of, experiment.metrics)} - METRICS.keys()
    return experiment.plugins | {f"metric {name}": registry.find("metrics", name).plugin for name in sorted(names)}


def _metric_parts(registry: Registry) -> tuple[Part, ...]:
    """The metrics of plugins, as parts of the experiment whose code may raise an error."""
    offers = registry.offers["metrics"].items()
    return tuple(Part("metric", name, o.plugin, o.value.function) for name, o in offers if name not in METRICS)


@dataclass(frozen=True)
class ResolvedData:
    """A data set as a protocol sees it, with its recipe: an experiment without its model and its method.

    Attributes:
        dataset: the data set, as `protocol.view` returns it.
        dataset_options: all options of the data set, by name, with their values.
        protocol: the protocol with its options.
        own_recipe: the data set's recipe under this protocol, as published.
        recipe: the recipe that runs are trained by: the published one with the values that the user gave.
        changed: prefix -> the options that differ from their defaults or from the published recipe, by name.
        plugins: use (`dataset`, `protocol`) -> the plugin that offers it.
        default_protocol: name of the protocol for data sets whose recipe names none.
        known_metrics: name -> metric, of the core and of all plugins.
        load: loads the data set again and returns it as `protocol.view` does.
    """

    dataset: Dataset
    dataset_options: dict[str, Any]
    protocol: Protocol
    own_recipe: Recipe
    recipe: Recipe
    changed: dict[str, dict[str, Any]]
    plugins: dict[str, Plugin]
    default_protocol: str
    known_metrics: Mapping[str, Metric]
    load: Callable[[], Dataset]


def resolve_data(
    name: str,
    protocol_name: str | None,
    given: Mapping[str, Mapping[str, Any]],
    files: Files,
    registry: Registry,
    loaded: Dataset | None = None,
) -> ResolvedData:
    """Look up a data set and its protocol, load the data and check their options, as `resolve` does.

    Args:
        name: name of the data set.
        protocol_name: name of the protocol; None: the one that the data set's recipe names.
        given: options of the data set, the protocol and the recipe that the user gave, as `by_prefix` returns them.
        files: the data files.
        registry: the plugins.
        loaded: as in `resolve`.

    Returns:
        The data set with its protocol and its recipe.

    Raises:
        BenchError: for unknown names and options, and for data that the protocol cannot use.
    """
    if protocol_name:
        registry.find("protocols", protocol_name)  # so that a wrong name is reported before the data are read
    load = registry.find("datasets", name)
    dataset_options, changed_dataset = _resolve(load.value, {}, given["dataset"], f"data set {name}")
    dataset = loaded or load_dataset(name, load, files, dataset_options)
    default = registry.default_protocol
    offer = registry.find("protocols", protocol_name or dataset.recipe.protocol or default)
    kind: type[Protocol] = offer.value
    own_recipe = dataset.recipes.get(kind.name, dataset.recipe)
    own_recipe = dataclasses.replace(own_recipe, protocol=own_recipe.protocol or default)
    recommended = own_recipe.options.get(kind.name, {})
    protocol_options, changed_protocol = _resolve(kind, recommended, given["protocol"], f"protocol {kind.name}")
    with _running(Part("protocol", kind.name, offer.plugin, kind)):
        chosen = kind(**protocol_options)
    if not loaded:
        dataset = _viewed(chosen, offer, dataset, check=True)
    own_recipe = dataclasses.replace(own_recipe, select=own_recipe.select or kind.select)

    def load_again() -> Dataset:
        return _viewed(chosen, offer, load_dataset(name, load, files, dataset_options))

    recipe, changed_recipe = _recipe(own_recipe, given["recipe"])
    if not isinstance(chosen.metrics, tuple) or not chosen.metrics:
        raise PluginError(f"protocol {kind.name}: `metrics` must be a tuple of names, such as ('accuracy',)")
    known_metrics = METRICS | registry.values("metrics")
    for metric in (recipe.select, *map(metric_of, (*recipe.metrics, *chosen.metrics))):
        if metric not in known_metrics:
            raise UnknownNameError("metric", metric, known_metrics)
    require_direction("recipe.select", recipe.select, known_metrics[recipe.select], len(dataset.classes))
    changed = {"dataset": changed_dataset, "protocol": changed_protocol, "recipe": changed_recipe}
    plugins = {"dataset": load.plugin, "protocol": offer.plugin}
    return ResolvedData(
        dataset, dataset_options, chosen, own_recipe, recipe, changed, plugins, default, known_metrics, load_again
    )


def _viewed(protocol: Protocol, offer: Offer, dataset: Dataset, check: bool = False) -> Dataset:
    """The data set as a protocol sees it. With `check`, the protocol first checks that it can use the data set."""
    part = Part("protocol", protocol.name, offer.plugin, offer.value)
    with _running(part):
        if check:
            protocol.check(dataset)
        before = tensors_of(dataset)
        watched = Watched(before)
        seen = protocol.view(dataset)
        # The record has the hash of what was loaded.
        if written := watched.changed() or sorted(tensors_of(dataset).keys() ^ before.keys()):
            raise PluginError(
                f"{part}: its view has written to {join_first(written, 3)} of the data set: copy it first"
            )
        return dataclasses.replace(seen, name=dataset.name, content=dataset.content)


def load_dataset(name: str, offer: Offer, files: Files, options: Mapping[str, Any]) -> Dataset:
    """Load a data set, check it and hash its content.

    Args:
        name: the name that the plugin offers the loader by.
        offer: the loader.
        files: the data files.
        options: options of the loader, by name.

    Returns:
        The data set; its field `content` holds the hash.

    Raises:
        PluginError: if the loader returns no data set; if the data set has another name than the plugin offers it by,
            because two data sets of one name would share their records; if the loader replaced code that other code
            computes with.
        DataError: for a data set that breaks a rule (`bench.data.rules`).
        PluginFailureError: for an error of the loader that is no BenchError.
    """
    with _running(Part("data set", name, offer.plugin, offer.value)):
        dataset = offer.value(files, **options)
    if not isinstance(dataset, Dataset):
        raise PluginError(
            f"data set {name} of plugin {offer.plugin}: it returned {type(dataset).__name__}, expected bench.Dataset"
        )
    if dataset.name != name:
        raise PluginError(
            f"data set {name} of plugin {offer.plugin} has Dataset.name {dataset.name!r}: it must be {name!r}, the "
            "name that the plugin offers it by, as records are kept by that name"
        )
    check_loaded(dataset)
    return dataclasses.replace(dataset, content=content_of(dataset, files.report))


def by_prefix(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort options by their prefix.

    Args:
        options: name -> value. A name without a prefix is an option of the method.

    Returns:
        Prefix -> its options, by their names without the prefix. Every prefix of OPTION_PREFIXES is there.

    Raises:
        OptionError: for a prefix that is not one of OPTION_PREFIXES.
    """
    given: dict[str, dict[str, Any]] = {where: {} for where in OPTION_PREFIXES}
    for name, value in options.items():
        where, _, rest = name.rpartition(".")
        if (where or "method") not in given:
            valid = ", ".join(f"{prefix}." for prefix in OPTION_PREFIXES)
            raise OptionError(f"option {name!r}: the prefix must be a method of this command or {valid}, not {where}.")
        given[where or "method"][rest] = value
    return given


def _resolve(
    target: Callable[..., Any], recommended: Mapping[str, Any], given: Mapping[str, Any], what: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All options of `target` with their values, and those of them that the user gave and changed.

    An option is changed if its value differs from the recommended one or, where none is recommended, from its default.
    """
    known = opt.options_of(target)
    defaults = {name: option.default for name, option in known.items()} | opt.parse(known, recommended, what)
    values = defaults | opt.parse(known, given, what)
    return values, {name: values[name] for name in given if values[name] != defaults[name]}


def recipe_options(own: Recipe) -> dict[str, opt.Option]:
    """The options `recipe.NAME` of a command, with the values of a data set's recipe as their defaults.

    The model, the protocol, and the options of both and of the methods are given in other ways.

    Args:
        own: the data set's recipe.

    Returns:
        Name of the field, without the prefix -> option.
    """
    by_other_means = ("model", "protocol", "model_options", "options", "metrics", "source")
    known = opt.options_of(Recipe).items()
    return {n: opt.Option(o.type, getattr(own, n)) for n, o in known if n not in by_other_means}


RECIPE_OF_DATA = "the data set's recipe"


def _recipe(own: Recipe, given: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with the values that the user gave, and those of them that differ from the data set's recipe.

    A budget in epochs replaces one in steps, and the reverse.
    """
    known = recipe_options(own)
    own = dataclasses.replace(own, **opt.parse(known, {name: getattr(own, name) for name in known}, RECIPE_OF_DATA))
    given = opt.parse(known, given, "the recipe")
    if given.get("epochs") and given.get("steps"):
        raise OptionError("the recipe's budget is recipe.epochs or recipe.steps, not both")
    budget = [given[name] for name in ("epochs", "steps") if name in given]
    if budget and all(value is None for value in budget):
        raise OptionError("the recipe has no budget: set recipe.epochs or recipe.steps")
    given = {name: value for name, value in given.items() if name not in ("epochs", "steps") or value is not None}
    values = dict(given)
    for name, other in (("epochs", "steps"), ("steps", "epochs")):
        if values.get(name) is not None and other not in values:
            values[other] = None
    changed = {name: value for name, value in given.items() if value != getattr(own, name)}
    recipe = dataclasses.replace(own, **values)
    check_recipe(recipe, given)
    return recipe, changed
