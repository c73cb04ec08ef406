"""What a user asks for (`Request`), and what is run (`Experiment`): `bench.runs.resolve` makes one of the other."""

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
"""Prefixes of options."""


@dataclass(frozen=True)
class Request:
    """What is asked for, by name. None, and an option that is not given, mean the value of the data set's recipe.

    Attributes:
        options: Values, or their texts, by name. A name without a prefix is an option of the method (`beta`); those of
            others are `model.width`, `dataset.size`, `protocol.factor` and `recipe.lr`.
        validation: The choice of the training data, `shared` or `paper` (`bench.records.spec`).
    """

    dataset: str
    method: str
    model: str | None = None
    protocol: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    validation: str = SHARED


@dataclass(frozen=True)
class Experiment:
    """A method on a data set with everything resolved: all that is left to choose is the seed."""

    dataset: Dataset
    dataset_options: dict[str, Any]
    own_recipe: Recipe
    """The data set's recipe under this protocol, as published."""
    protocol: Protocol
    method_name: str
    method: type[Method]
    options: dict[str, Any]
    model_name: str
    model: "Callable[..., nn.Module]"
    model_options: dict[str, Any]
    recipe: Recipe
    changed: dict[str, dict[str, Any]]
    validation: str
    """As asked; `shared` for a method that learns from the validation data, as both are the same for it."""
    plugins: dict[str, Plugin]
    default_protocol: str = ""
    """The protocol of data sets whose recipe names none."""
    known_metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)
    """All that is computed at every evaluation, by name."""
    request: Request | None = None
    """What it was resolved from, by which another process makes the same experiment; None for one made by hand."""
    files: Files | None = field(default=None, compare=False)
    """The data files that it was resolved with."""
    load: Callable[[], Dataset] | None = field(default=None, compare=False)
    """Loads its data set again, as the protocol sees it."""
    as_loaded: Watched | None = field(default=None, compare=False)
    """What the tensors of its data set were like when they were loaded."""
    metric_parts: tuple[Part, ...] = ()
    """The metrics of plugins."""
    running: Running = field(default=lambda kind: nullcontext(), compare=False)
    """Gives the context for code of the part of a kind: that of a run finds out what the part leaves behind."""
    loaded: tuple[Plugin, ...] = ()
    """All plugins that were imported, also those that take no part and those that are broken."""

    def spec(self, seed: int) -> RunSpec:
        """What identifies the run with this seed."""
        # A field that is new and unused, so at its default, makes no other run.
        usual = Recipe(protocol=self.default_protocol, select=self.protocol.select)
        recipe = {name: value for name, value in self.resolved.recipe.items() if value != getattr(usual, name)}
        data = [self.dataset.revision or self.dataset.content, self.dataset.mean, self.dataset.std]
        data += ["standardize"] if self.dataset.standardize else []
        data += ["fit"] if self.dataset.fit else []
        # As of a recipe: an option that is off, as new ones are by default. Where that is not its default, it is told
        # by `changed`.
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
        """The method with its options, not yet begun. Raises OptionError for values that it does not take."""
        return self.method(**self.options)

    def private(self, running: Running) -> "Experiment":
        """The same experiment for one run: whatever the run changes in it but the tensors is a copy.

        Args:
            running: gives the contexts of that run.
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
        """The plugins' code that runs in it, what is most likely to raise an error first."""
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
        """Whether the method is trained on the validation data too."""
        return self.validation == PAPER and not self.method.uses_val

    @property
    def unstackable(self) -> str:
        """The method or the protocol that cannot be trained stacked; an empty text where both can."""
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
        """What differs from the data set's published recipe (options of the method, data set and protocol do not)."""
        published = self.own_recipe
        names = [f"recipe.{name}" for name in self.changed["recipe"]]
        names += [f"model.{name}" for name in self.changed["model"]]
        names += ["model"] if self.model_name != published.model else []
        names += ["protocol"] if self.protocol.name != published.protocol else []
        return sorted(names)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What tables show, the ranking one first."""
        is_own_protocol = self.protocol.name == self.own_recipe.protocol
        named = (is_own_protocol and self.recipe.metrics) or self.protocol.metrics
        binary = len(self.dataset.classes) == 2
        return tuple(name for name in named if binary or not self.known_metrics[metric_of(name)].binary)
