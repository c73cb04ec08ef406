"""`bench data`: data sets made ready, and looked at before anything is trained on them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import (
    GREATEST_SEED,
    WholeNumber,
    data_dir_option,
    debug_option,
    installed,
    say,
    settings_option,
    table,
    unofficial_option,
)
from bench.data.files import Files, default_root
from bench.text import counts_by_name

if TYPE_CHECKING:
    from bench.data.dataset import Dataset
    from bench.data.split import Splits
    from bench.protocol import Protocol


@click.group()
def data() -> None:
    """Prepare data sets, and look for defects in them."""


@data.command()
@click.argument("name")
@settings_option("An option of the data set.", metavar="dataset.NAME=VALUE")
@data_dir_option
@unofficial_option
@debug_option
def prepare(name: str, options: Sequence[str], data_dir: Path | None, allow_unofficial_data: bool) -> None:
    """Download, verify and convert the data set NAME.

    Files that are present already are verified again, not downloaded again. `bench run` does the same where it is
    needed.
    """
    from bench.cli.progress import preparing
    from bench.options import named_values, options_of, parse
    from bench.runs.resolve import load_dataset

    offer = installed().find("datasets", name)
    given = named_values(options, ["dataset"])
    values = {option.removeprefix("dataset."): value for option, value in given.items()}
    files = _Noted(data_dir or default_root(), allow_unofficial_data)
    values = parse(options_of(offer.value), values, f"data set {name}")
    with preparing() as files.progress:
        dataset = load_dataset(name, offer, files, values)
    checked = files.noted | dict.fromkeys(_prepared(files.noted), "prepared")
    if checked:
        rows = [(str(path.relative_to(files.root)), how, _size(path)) for path, how in checked.items()]
        table(f"Files in {files.root}:", rows, ("name", "checked", "size"))
    say(f"{name} is ready: {_summary(dataset)}")
    if dataset.unofficial:
        names = ", ".join(dataset.unofficial)
        say(f"These data are not known to be the official ones, which records and tables will say: {names}", err=True)


@data.command()
@click.argument("name")
@click.option("--protocol", help="The protocol. The default is that of the data set's recipe.")
@click.option(
    "--seed", type=WholeNumber(0, GREATEST_SEED), default=0, show_default=True, help="The seed that draws the splits."
)
@settings_option(
    "An option of the data set, the protocol or the recipe, named as for `bench run`: 'dataset.NAME', 'protocol.NAME' "
    "or 'recipe.NAME'."
)
@data_dir_option
@unofficial_option
@debug_option
def audit(
    name: str,
    protocol: str | None,
    seed: int,
    options: Sequence[str],
    data_dir: Path | None,
    allow_unofficial_data: bool,
) -> None:
    """Look for defects in the data that a run on the data set NAME would get.

    These are duplicates within and between splits, labels that differ from the data set's, proportions that differ
    from the protocol's, classes and groups without samples, and validation batches that cannot be made.

    The exit code is 0 if no defect is severe, 1 if one is, and 2 for bad input.
    """
    from bench.audit import audit as look
    from bench.cli.progress import preparing
    from bench.failures import plugin_code
    from bench.options import named_values
    from bench.parts import Part
    from bench.runs.resolve import by_prefix, resolve_data
    from bench.streams import RandomStreams

    registry = installed()
    given = by_prefix(named_values(options, ["dataset", "protocol", "recipe"]))
    files = Files(data_dir or default_root(), allow_unofficial_data)
    with preparing() as files.progress:
        resolved = resolve_data(name, protocol, given, files, registry)
    dataset = resolved.dataset
    chosen = resolved.protocol
    recipe = resolved.recipe
    with plugin_code(Part("protocol", chosen.name, resolved.plugins["protocol"], type(chosen))):
        splits = chosen.splits(dataset, recipe, RandomStreams((seed,)))
        again = chosen.splits(dataset, recipe, RandomStreams((seed,)))
    heads = ["split", "samples", "groups", "classes", "most : least", "claimed"]
    if chosen.group_is_class:
        heads.remove("groups")
    table(f"{name}, {chosen.name}/{chosen.version}, seed {seed}", list(_counts(dataset, chosen, splits)), heads)
    findings = look(dataset, chosen, recipe, splits, again)
    say("\n".join(f"{finding.severity}: {finding.what}" for finding in findings) or "no defects found")
    if any(finding.severity == "severe" for finding in findings):
        sys.exit(1)


def _counts(dataset: "Dataset", protocol: "Protocol", splits: "Splits") -> Iterator[Sequence[str]]:
    """A row for each split. Its last cells are the largest over the smallest group, as it is and as claimed."""
    from bench.audit import counts, ratio
    from bench.protocol import Claim

    groups, claims = protocol.groups(dataset), protocol.claims(dataset)
    for name, split in {"train": splits.train, "val": splits.val, **splits.tests}.items():
        shares = claims.get(name, Claim()).shares
        by_group, by_class = counts(split.group, len(groups)), counts(split.y, len(dataset.classes))
        cells = [] if protocol.group_is_class else [counts_by_name(groups, by_group, "groups")]
        ratios = f"{ratio(by_group):.4g}", f"{ratio(shares):.4g}" if shares else ""
        yield name, f"{len(split):,}", *cells, counts_by_name(dataset.classes, by_class, "classes"), *ratios


def _summary(dataset: "Dataset") -> str:
    parts = {"training": dataset.train, "validation": dataset.val, "test": dataset.test}
    sizes = ", ".join(f"{len(split):,} {name} samples" for name, split in parts.items() if split)
    shape = " x ".join(map(str, dataset.shape))
    return f"{sizes} of {shape} values, {len(dataset.classes)} classes, {len(dataset.groups) or 'no'} groups"


@dataclass
class _Noted(Files):
    """Files that note each path that is looked up, and how it was verified."""

    noted: dict[Path, str] = field(default_factory=dict)

    def find(self, name: str, url: str) -> Path:
        path = super().find(name, url)
        self.noted[path] = "not verified"
        return path

    def require(self, name: str, checksum: str, url: str) -> Path:
        path = super().require(name, checksum, url)
        other = self.unofficial.get(name)
        self.noted[path] = f"not official, {other}" if other else f"official {checksum.split(':')[0]}"
        return path


def _prepared(noted: Iterable[Path]) -> list[Path]:
    """The folders of memory maps beside these files."""
    from bench.data.memory_map import ABOUT

    return sorted({about.parent for path in noted for about in path.parent.glob(f"*/{ABOUT}")})


def _size(path: Path) -> str:
    from rich.filesize import decimal

    return decimal(sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size)
