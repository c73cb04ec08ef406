"""What a user asks for (`Request`) and what is run (`Experiment`). `bench.runs.resolve` makes one from the other."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.data.dataset import Dataset
from bench.data.files import Files
from bench.guards.tensors import Watched
from bench.metrics import METRICS, Metric, metric_of
from bench.parts import Part, Running
from bench.protocol import Protocol
from bench.recipe import Recipe
from bench.records.sections import Resolved
from bench.records.spec import OPTION_FIELDS, PAPER, SHARED, RunSpec, digest
from bench.registry import Plugin
from bench.training.method import Method

if TYPE_CHECKING:
    from torch import nn

OPTION_PREFIXES = tuple(OPTION_FIELDS)
"""Prefixes of options on the command line: `recipe` in `recipe.lr=0.1`."""


@dataclass(frozen=True)
class Request:
    """What a user asks for: names and options, not yet looked up.

    Attributes:
        dataset: name of the data set.
        method: name of the method.
        model: name of the model; None: the one that the data set's recipe names.
        protocol: name of the protocol; None: the one that the data set's recipe names.
        options: name -> value, or its text. A name without a prefix is an option of the method (`beta`); the others are
            written as `model.width`, `dataset.size`, `protocol.factor` and `recipe.lr`. An option that is not here has
            the value of the data set's recipe, or its default.
        validation: whether the validation data are training data too for methods that do not learn from them: `shared`
            or `paper` (`bench.records.spec`).
    """

    dataset: str
    method: str
    model: str | None = None
    protocol: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    validation: str = SHARED


@dataclass(frozen=True)
class Experiment:
    """A method on a data set with everything resolved: only the seed is left to choose."""

    dataset: Dataset
    """The data set as the protocol sees it."""
    dataset_options: dict[str, Any]
    own_recipe: Recipe
    """The data set's recipe under this protocol, as published."""
    protocol: Protocol
    method_name: str
    method: type[Method]
    options: dict[str, Any]
    """All options of the method, by name, with their values."""
    model_name: str
    model: "Callable[..., nn.Module]"
    model_options: dict[str, Any]
    recipe: Recipe
    """The recipe that runs are trained by: the published one with the values that the user gave."""
    changed: dict[str, dict[str, Any]]
    """Prefix -> the options that differ from their defaults or from the published recipe, by name."""
    validation: str
    """As in the request; `shared` for a method that learns from the validation data, to which both are the same."""
    plugins: dict[str, Plugin]
    """Use, such as `method` or `dataset` -> the plugin that offers it."""
    default_protocol: str = ""
    """Name of the protocol for data sets whose recipe names none."""
    known_metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)
    """Name -> metric, for all metrics that every evaluation computes."""
    request: Request | None = None
    """The request of the experiment, from which another process makes it too; None for one that was made by hand."""
    files: Files | None = field(default=None, compare=False)
    """The data files that the data set was loaded from."""
    load: Callable[[], Dataset] | None = field(default=None, compare=False)
    """Loads the data set again, as the protocol sees it."""
    as_loaded: Watched | None = field(default=None, compare=False)
    """The tensors of the data set, with fingerprints from when they were loaded."""
    metric_parts: tuple[Part, ...] = ()
    """The metrics of plugins, whose code may raise an error."""
    running: Running = field(default=lambda kind: nullcontext(), compare=False)
    """Makes the context for code of the part of a kind. That of a run finds out what the part leaves behind."""
    loaded: tuple[Plugin, ...] = ()
    """All plugins that were imported, including those that the experiment does not use and those that are broken."""

    def spec(self, seed: int) -> RunSpec:
        """What identifies the run with a seed: its key is a hash of this.

        Args:
            seed: the seed of the run.
        """
        # A field that is at its default changes no key, so that records stay valid when a new field is added.
        usual = Recipe(protocol=self.default_protocol, select=self.protocol.select)
        recipe = {name: value for name, value in self.resolved.recipe.items() if value != getattr(usual, name)}
        data = [self.dataset.revision or self.dataset.content, self.dataset.mean, self.dataset.std]
        data += ["standardize"] if self.dataset.standardize else []
        data += ["fit"] if self.dataset.fit else []
        # The same for options of the data set: a new one is off by default. If an older one is on by default and was
        # turned off, `changed` holds that.
        dataset_options = {name: value for name, value in self.dataset_options.items() if value is not False}
        return RunSpec(
            dataset=self.dataset.name,
            method=self.method_name,
            model=self.model_name,
            protocol=f"{self.protocol.name}/{self.protocol.version}",
            seed=seed,
            options=self.changed["method"],
            model_options=self.changed["model"],
            dataset_options=self.changed["dataset"],
            protocol_options=self.changed["protocol"],
            recipe=self.changed["recipe"],
            validation=self.validation,
            settings=digest(
                asdict(self.resolved) | {"recipe": recipe, "dataset_options": dataset_options, "data": data}
            ),
        )

    def new_method(self) -> Method:
        """Make the method with its options, before it has a task.

        Raises:
            OptionError: for values of options that the method refuses.
        """
        return self.method(**self.options)

    def private(self, running: Running) -> "Experiment":
        """A copy of the experiment for one run, so that what plugins change in it reaches no other run.

        The tensors of the data set are shared, because they may be large; `as_loaded` tells whether they were changed.

        Args:
            running: makes the contexts of that run for code of its parts.
        """
        data = self.dataset
        plain = {name: copy.deepcopy(getattr(data, name)) for name in ("recipe", "recipes", "unofficial")}
        own = ("options", "model_options", "dataset_options", "recipe", "own_recipe", "protocol", "changed")
        return replace(
            self,
            dataset=replace(data, probes=dict(data.probes), **plain),
            known_metrics=dict(self.known_metrics),
            running=running,
            **{name: copy.deepcopy(getattr(self, name)) for name in own},
        )

    @property
    def parts(self) -> list[Part]:
        """Everything of plugins whose code runs in the experiment, the most likely cause of an error first."""
        sources = {
            "method": ("method", self.method_name, self.method),
            "model": ("model", self.model_name, self.model),
            "protocol": ("protocol", self.protocol.name, type(self.protocol)),
            "dataset": ("data set", self.dataset.name, (self.dataset.augment, self.dataset.fit)),
        }
        parts = [
            Part(kind, name, self.plugins[use], source)
            for use, (kind, name, source) in sources.items()
            if use in self.plugins
        ]
        return [*parts, *self.metric_parts]

    @property
    def model_part(self) -> Part | None:
        """The model as a plugin's; None where it is not known whose it is."""
        return next((part for part in self.parts if part.kind == "model"), None)

    @property
    def trains_on_val(self) -> bool:
        """Whether the validation data are training data too."""
        return self.validation == PAPER and not self.method.uses_val

    @property
    def unstackable(self) -> str:
        """The method or the protocol that cannot be trained in a stack, in words; empty if both can."""
        if not self.method.stackable:
            return f"method {self.method_name}"
        return "" if self.protocol.stackable else f"protocol {self.protocol.name}"

    @property
    def resolved(self) -> Resolved:
        """Every value that the run depends on."""
        recipe = {name: value for name, value in asdict(self.recipe).items() if name not in ("options", "source")}
        return Resolved(
            recipe=recipe,
            model_options=self.model_options,
            dataset_options=self.dataset_options,
            protocol_options=asdict(self.protocol),
            options=self.options,
        )

    @property
    def off_recipe(self) -> list[str]:
        """Names of what differs from the data set's published recipe, sorted.

        Options of the method, the data set and the protocol are no part of the recipe and are not among them.
        """
        published = self.own_recipe
        names = [f"recipe.{name}" for name in self.changed["recipe"]]
        names += [f"model.{name}" for name in self.changed["model"]]
        names += ["model"] if self.model_name != published.model else []
        names += ["protocol"] if self.protocol.name != published.protocol else []
        return sorted(names)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that tables show; the first one ranks the methods.

        They are the recipe's under its own protocol, if it names any, and the protocol's otherwise. Metrics for two
        classes are left out if there are more classes.
        """
        is_own_protocol = self.protocol.name == self.own_recipe.protocol
        named = (is_own_protocol and self.recipe.metrics) or self.protocol.metrics
        binary = len(self.dataset.classes) == 2
        return tuple(name for name in named if binary or not self.known_metrics[metric_of(name)].binary)
