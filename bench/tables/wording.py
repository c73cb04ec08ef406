"""How a run was made, as lines of a page. Nothing here imports torch."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from bench.columns.run import Run
from bench.metrics import METRICS, metric_of
from bench.options import show
from bench.recipe import Recipe
from bench.records.sections import About
from bench.records.spec import PAPER, canonical
from bench.tables.markdown import plain
from bench.text import NAMED

TOLD = {"model", "model_options", "protocol", "loss", "optimizer", "lr", "epochs", "steps", "batch_size", "train_size"}
TOLD |= {"val_size", "test_size", "metrics", "select", "eval_batch_size", "evaluate_every", "evaluate_at"}
"""Fields of a recipe that `recipe_line` does not name: it says them in words, or they change no training."""
OTHER_PROFILE = 0.1
"""By what share the ratio of the largest to the smallest class must change to be told."""


@cache
def usual_recipe() -> dict[str, Any]:
    """The defaults of recipes, as records have them."""
    usual: dict[str, Any] = json.loads(canonical(asdict(Recipe())))
    return usual


def listed(values: Mapping[str, Any], form: str) -> str:
    """`name=value, ...` in the order of the names; an empty text where there are no values.

    Args:
        values: Options by name.
        form: What is written around them, with `{}` in their place.
    """
    if not values:
        return ""
    return form.format(", ".join(f"{name}={show(value)}" for name, value in sorted(values.items())))


def recipe_line(result: Run) -> str:
    """What is trained and for how long, as a sentence; the method is left out, as rows of a table differ in it."""
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
    line += listed(result.resolved.dataset_options, " Options of the data set: {}.")
    return line + listed(result.resolved.protocol_options, " Options of the protocol: {}.")


def sizes_line(sizes: Iterable[Mapping[str, int]]) -> str:
    """The number of samples in each set that any run has, as a range where it depends on the seed.

    Args:
        sizes: Of runs: set -> number of samples.
    """
    sizes_by_set: dict[str, list[int]] = defaultdict(list)
    for of_run in sizes:
        for name, size in of_run.items():
            sizes_by_set[name].append(size)
    return f"Samples: {', '.join(f'{_span(sizes)} {name}' for name, sizes in sizes_by_set.items())}."


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def code_line(result: Run) -> str:
    """The code that made the run: the commit, and all distributions with their versions, those of plugins included."""
    environment = result.environment
    commit = [str(environment.git)] if environment.git else []
    distributions = {f"{name} {version}" for name, version in environment.versions.items()}
    distributions |= {plugin.rpartition("(")[2].rstrip(")") for plugin in environment.plugins.values()}
    return ", ".join([*commit, *sorted(distributions)])


def profile_with_validation(result: Run) -> str:
    """How the classes of the training data stand to one another where validation data joined them and changed that.

    Args:
        result: the run.

    Returns:
        Empty where none joined them, where the proportions stay, and for records that do not count classes.
    """
    joined, val = result.data.class_counts("train"), result.data.class_counts("val")
    if result.spec.validation != PAPER or not joined or len(joined) != len(val):
        return ""
    before = [together - of_val for together, of_val in zip(joined, val, strict=True)]
    if min(before) < 1:
        return ""
    ratio, alone = max(joined) / min(joined), max(before) / min(before)
    if abs(ratio / alone - 1) <= OTHER_PROFILE:
        return ""
    return f"which makes its classes {ratio:.3g}:1 instead of {alone:.3g}:1"


def definitions(about: About) -> list[str]:
    """Lines that say what the classes and groups are, and what each metric and each set of test data is."""
    classes, groups = about.classes, about.groups
    of_groups = "the classes" if groups == classes else plain(abbreviate(groups))
    positive = f" (the positive class is {plain(classes[1])})" if len(classes) == 2 else ""
    lines_of = described(about)
    metrics = dict.fromkeys(map(metric_of, about.metrics))
    lines = [f"- {plain(name)}: {plain(lines_of[name])}" for name in metrics if name in lines_of]
    lines += [f"- {plain(name)}/: {plain(text)}" for name, text in about.sets.items()]
    return [f"Classes: {plain(abbreviate(classes))}{positive}. Groups: {of_groups}. Metrics:", "", *lines]


def in_words(about: About, metric: str) -> str:
    """What a metric is, in the first words of its line, and on which data, in those of the line of the set.

    Args:
        about: of a run.
        metric: its name, which may name the set of the test data too.

    Returns:
        Empty where it is not described.
    """
    words = _first_words(described(about).get(metric_of(metric), ""))
    of_set = metric.rpartition("/")[0]
    if not words or not of_set:
        return words
    return f"{words}, on {_first_words(about.sets.get(of_set, '')) or of_set}"


def _first_words(line: str) -> str:
    """Those before a colon, a semicolon, a comma or a full stop, without a capital letter."""
    words = re.split("[:;,.](?:\\s|$)", line)[0].strip()
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def described(about: About) -> dict[str, str]:
    """Metric -> a line about it.

    Args:
        about: of a run.
    """
    return {name: metric.summary for name, metric in METRICS.items()} | about.described


def abbreviate(names: Sequence[str]) -> str:
    """The names of classes or groups; of more than NAMED, their number, the first and the last."""
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)}, from {names[0]} to {names[-1]}"


def capital(title: str) -> str:
    """The title with a capital letter, unless it begins with the name of an option."""
    return title if "=" in title.split(":")[0] else title[0].upper() + title[1:]
