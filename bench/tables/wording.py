"""How a run was made, as lines of a page. Nothing here imports torch."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from bench.metrics import METRICS
from bench.options import show
from bench.recipe import Recipe
from bench.records.run import RunResult
from bench.records.sections import About
from bench.records.spec import canonical

NAMED = 10
"""Classes or groups up to which each is named."""
TOLD = {"model", "model_options", "protocol", "loss", "optimizer", "lr", "epochs", "steps", "batch_size", "train_size"}
TOLD |= {"val_size", "test_size", "metrics", "select", "eval_batch_size", "evaluate_every", "evaluate_at"}
"""Fields of a recipe that its line does not name: it says them otherwise, or they change no training."""


@cache
def usual_recipe() -> dict[str, Any]:
    """The defaults of recipes, as records have them."""
    usual: dict[str, Any] = json.loads(canonical(asdict(Recipe())))
    return usual


def listed(values: Mapping[str, Any], form: str) -> str:
    """`name=value, ...` in this form, or nothing for none."""
    return form.format(", ".join(f"{name}={show(value)}" for name, value in sorted(values.items()))) if values else ""


def recipe_line(result: RunResult) -> str:
    """What is trained and how long, the method apart."""
    recipe = usual_recipe() | result.resolved.recipe
    others = {name: value for name, value in recipe.items() if name not in TOLD and value != usual_recipe().get(name)}
    options = {} if "model" in result.off_recipe else recipe["model_options"]  # those of the recipe's own model
    parts = [
        result.spec.model + listed({**options, **result.spec.model_options}, "[{}]"),
        f"{recipe['loss'].replace('_', ' ')} loss",
        f"{recipe['optimizer']} with learning rate {recipe['lr']:.4g}",
        f"{recipe['epochs']:,} epochs" if recipe["epochs"] else f"{recipe['steps']:,} updates",
        f"batches of {recipe['batch_size']:,}{listed(others, ', {}')}",
    ]
    line = f"{', '.join(parts)}."
    line += listed(result.resolved.dataset_options, " Options of the dataset: {}.")
    return line + listed(result.resolved.protocol_options, " Options of the protocol: {}.")


def sizes_line(results: Sequence[RunResult]) -> str:
    """How many samples each set has that any run has; the least and the most, where that depends on the seed."""
    found: dict[str, list[int]] = defaultdict(list)
    for result in results:
        for name, size in result.data.sizes.items():
            found[name].append(size)
    return f"Samples: {', '.join(f'{_span(sizes)} {name}' for name, sizes in found.items())}."


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def code_line(result: RunResult) -> str:
    """What made the run: the commit, and distributions with their versions, those of plugins too."""
    git = result.environment.git
    commit = [str(git)] if git else []
    found = {f"{name} {version}" for name, version in result.environment.versions.items()}
    found |= {plugin.rpartition("(")[2].rstrip(")") for plugin in result.environment.plugins.values()}
    return ", ".join([*commit, *sorted(found)])


def definitions(about: About) -> list[str]:
    """What the classes, the groups, the metrics and the sets that they are taken on are."""
    classes, groups = about.classes, about.groups
    of_groups = "the classes" if groups == classes else abbreviate(groups)
    positive = f"; the positive one: {classes[1]}" if len(classes) == 2 else ""
    metrics = dict.fromkeys(name.rpartition("/")[2] for name in about.metrics)
    lines = [f"- {name}: {METRICS[name].description}" for name in metrics if name in METRICS]
    lines += [f"- {name}/: {text}" for name, text in about.sets.items()]
    return [f"Classes: {abbreviate(classes)}{positive}. Groups: {of_groups}. Metrics:", "", *lines]


def abbreviate(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)}, from {names[0]} to {names[-1]}"
