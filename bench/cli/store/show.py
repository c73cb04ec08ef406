"""`bench list` and `bench show`: what is installed, and what it is."""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import data_dir_option, debug_option, installed, records_option, say, table
from bench.errors import BenchError, StoreError, UnknownNameError
from bench.records.spec import OPTION_FIELDS, option_name
from bench.registry import KINDS

if TYPE_CHECKING:
    from bench.registry import Offer, Plugin, Registry


@click.command("list")
@click.argument("kind", type=click.Choice([*KINDS, "plugins"]), required=False)
def list_(kind: str | None) -> None:
    """List what is installed, by the distribution that offers it."""
    registry = installed(refuse_duplicates=False)  # this is where one looks for the two
    for each in [kind] if kind else [*KINDS, "plugins"]:
        by_source = defaultdict(list)
        for source, name, what in _rows(registry, each):
            by_source[source].append((name, what))
        for source, rows in by_source.items():
            table(f"{each} ({source})", rows)


def _rows(registry: "Registry", kind: str) -> Iterator[tuple[str, str, str]]:
    """For each plugin of a kind, or each distribution's plugin: where it comes from, its name and what it is."""
    if kind == "plugins":
        offered = defaultdict(list)
        for each, offers in registry.offers.items():
            for name, offer in offers.items():
                offered[offer.plugin].append(f"{each.removesuffix('s')} {name}")
        for plugin in registry.plugins:
            yield _source(plugin), plugin.name, ", ".join(offered[plugin])
        for plugin, why in registry.broken.items():
            yield _source(plugin), plugin.name, f"BROKEN: {why}"
    else:
        for name, offer in sorted(registry.offers[kind].items()):
            yield _source(offer.plugin), name, offer.summary


def _source(plugin: "Plugin") -> str:
    return f"{plugin.distribution} {plugin.version}"


@click.command()
@click.argument("name", metavar="NAME|RUN")
@data_dir_option
@records_option
@debug_option
def show(name: str, data_dir: Path | None, out: Path) -> None:
    """Show what NAME is, and its options; or the record of a RUN.

    NAME is a data set, model, method, protocol, metric, workload or rival. For a data set its recipe is shown too. The
    recipe's values are shown only if the data files are present, as nothing is downloaded.

    RUN is the key of a run, or its first digits, four or more, where no other key in --out begins with them; or the
    file of a record. The exit code is 1 if the record is damaged, or what lies beside it is.
    """
    try:
        offers = installed().everything(name)
    except UnknownNameError as error:
        _show_run(name, out, error)
        return
    for kind, offer in offers:
        say(f"{name}: {kind} of plugin {offer.plugin}\n\n{offer.description}\n")
        if details := getattr(offer.value, "details", None):
            say(f"{details()}\n")
        _options(kind, offer.value)
        for show_more in MORE.get(kind, ()):
            show_more(name, offer, data_dir)


def _show_run(name: str, out: Path, unknown: UnknownNameError) -> None:
    """Show a record. Raises the error that is given for what is neither a file nor a key."""
    from bench.cli.store.record import show_record
    from bench.store.one import KEY, SHORT, record_in, record_of_key

    path = Path(name)
    if not name or os.path.isdir(name):
        what = f"{name} is a folder" if name else "the name is empty"
        raise BenchError(f"{what}: name a part of a plugin, the key of a run, or the file of a record")
    is_file = os.path.lexists(path) or path.suffix == ".json"
    if not is_file and not KEY.fullmatch(name):
        if SHORT.fullmatch(name):
            raise BenchError(f"{unknown}; for a run, give four digits of its key or more")
        raise unknown
    try:
        result, path = (record_in(path), path) if is_file else record_of_key(out / "results", name)
    except StoreError as error:
        say(f"error: {error}", err=True)
        sys.exit(1)
    if not show_record(result, path):
        sys.exit(1)


def _options(kind: str, target: Callable[..., Any]) -> None:
    """Print a table of the options that `bench run` takes for it."""
    from bench.options import options_of

    if kind in OPTION_FIELDS and (options := options_of(target)):
        table("Options:", [(f"-o {option_name(kind, n)}=", str(option)) for n, option in options.items()])


def _recipe(name: str, offer: "Offer", data_dir: Path | None) -> None:
    """Print the data set's recipe or, where its files are missing, the types of what can be changed."""
    from bench.data.files import Files, default_root
    from bench.errors import DataError
    from bench.options import describe, show
    from bench.recipe import Recipe
    from bench.runs.resolve import load_dataset, recipe_options

    try:
        files = Files(data_dir or default_root(), allow_unofficial=True, download=False)
        dataset = load_dataset(name, offer, files, {})
    except DataError as error:
        rows = [(f"-o recipe.{n}=", describe(option.type)) for n, option in recipe_options(Recipe()).items()]
        table(f"Recipe, without its values, because the data cannot be read: {error}", rows)
        return
    shown: list[tuple[str, str]] = []
    for recipe in (dataset.recipe, *dataset.recipes.values()):
        rows = [(f"--model {recipe.model}", ""), (f"--protocol {recipe.protocol}", "")]
        rows += [(f"-o model.{n}={show(value)}", "") for n, value in recipe.model_options.items()]
        for owner, options in recipe.options.items():
            rows += [(f"-o {n}={show(value)}", f"for {owner}") for n, value in options.items()]
        for field, option in recipe_options(recipe).items():
            value = show(option.default)
            what = describe(option.type) if value else f"{describe(option.type)}, empty"
            rows.append((f"-o recipe.{field}={value}", what))
        title = f"Under {recipe.protocol}, what differs" if shown else "Recipe"
        table(f"{title} ({recipe.source}):", [row for row in rows if row not in shown])
        shown += rows


MORE: dict[str, tuple[Callable[..., None], ...]] = {"dataset": (_recipe,)}
"""What is shown beside the description and the options, by what has it."""
