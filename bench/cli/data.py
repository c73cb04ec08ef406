"""`bench data`: data sets made ready, and looked at before anything is trained on them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import data_dir_option, installed, settings_option, table, unofficial_option
from bench.data.files import Files, default_root
from bench.tables.wording import NAMED

if TYPE_CHECKING:
    from bench.data.dataset import Dataset
    from bench.data.split import Splits
    from bench.protocol import Protocol


@click.group()
def data() -> None:
    """Get data sets ready, and look for defects in them."""


@data.command()
@click.argument("name")
@settings_option("Option of the data set.", metavar="dataset.NAME=VALUE")
@data_dir_option
@unofficial_option
def prepare(name: str, options: Sequence[str], data_dir: Path | None, allow_unofficial_data: bool) -> None:
    """Download, verify and convert the data set NAME.

    What is there already is verified again and not repeated. `bench run` does the same when it needs to.
    """
    from bench.cli.progress import preparing
    from bench.options import named_values, options_of, parse

    load = installed().find("datasets", name).value
    given = named_values(options, ["dataset"])
    values = {option.removeprefix("dataset."): value for option, value in given.items()}
    files = _Noted(data_dir or default_root(), allow_unofficial_data)
    values = parse(options_of(load), values, f"data set {name}")
    with preparing() as files.progress:
        dataset = load(files, **values)
    found = files.noted | dict.fromkeys(_prepared(files.noted), "prepared")
    if found:
        rows = [(str(path.relative_to(files.root)), how, _size(path)) for path, how in found.items()]
        table(f"Files in {files.root}:", rows, ("name", "checked", "size"))
    click.echo(f"{name} is ready: {_summary(dataset)}")
    if dataset.unofficial:
        names = ", ".join(dataset.unofficial)
        click.echo(f"not the official data, or not known to be, which records and tables will say: {names}", err=True)


@data.command()
@click.argument("name")
@click.option("--protocol", help="Protocol; the data set's recipe names one.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the splits.")
@settings_option("'dataset.NAME', 'protocol.NAME' or 'recipe.NAME', as for `bench run`.")
@data_dir_option
@unofficial_option
def audit(
    name: str,
    protocol: str | None,
    seed: int,
    options: Sequence[str],
    data_dir: Path | None,
    allow_unofficial_data: bool,
) -> None:
    """Look for defects in what a run on the data set NAME would get.

    Duplicates within and between splits, labels that are not the data set's, proportions that are not the protocol's,
    classes and groups without samples, validation batches that cannot be had.

    Exit codes: 0, nothing severe; 1, something is; 2, bad input.
    """
    from bench.audit import audit as look
    from bench.cli.progress import preparing
    from bench.options import named_values
    from bench.runs.resolve import by_prefix, resolve_data
    from bench.streams import RandomStreams

    registry = installed()
    given = by_prefix(named_values(options, ["dataset", "protocol", "recipe"]))
    files = Files(data_dir or default_root(), allow_unofficial_data)
    with preparing() as files.progress:
        found = resolve_data(name, protocol, given, files, registry)
    dataset, chosen, recipe = found.dataset, found.protocol, found.recipe
    splits, again = (chosen.splits(dataset, recipe, RandomStreams((seed,))) for _ in range(2))
    heads = ["split", "samples", "groups", "classes", "most : least", "claimed"]
    if chosen.group_is_class:
        heads.remove("groups")
    table(f"{name}, {chosen.name}/{chosen.version}, seed {seed}", list(_counts(dataset, chosen, splits)), heads)
    findings = look(dataset, chosen, recipe, splits, again)
    click.echo("\n".join(f"{finding.severity}: {finding.what}" for finding in findings) or "no defects found")
    if any(finding.severity == "severe" for finding in findings):
        sys.exit(1)


def _counts(dataset: "Dataset", protocol: "Protocol", splits: "Splits") -> Iterator[Sequence[str]]:
    """A row for each split; its last cells are the largest over the smallest group, as it is and as is claimed."""
    from bench.audit import counts, ratio
    from bench.protocol import Claim

    groups, claims = protocol.groups(dataset), protocol.claims(dataset)
    for name, split in {"train": splits.train, "val": splits.val, **splits.tests}.items():
        shares = claims.get(name, Claim()).shares
        by_group, by_class = counts(split.group, len(groups)), counts(split.y, len(dataset.classes))
        cells = [] if protocol.group_is_class else [_by_name(groups, by_group)]
        ratios = f"{ratio(by_group):.4g}", f"{ratio(shares):.4g}" if shares else ""
        yield name, f"{len(split):,}", *cells, _by_name(dataset.classes, by_class), *ratios


def _by_name(names: Sequence[str], counts: Sequence[int]) -> str:
    """Of each; of many, the least and the most."""
    if len(names) > NAMED:
        return f"{min(counts):,} to {max(counts):,} in each of {len(names)}"
    return ", ".join(f"{name}: {count:,}" for name, count in zip(names, counts, strict=False))


def _summary(dataset: "Dataset") -> str:
    parts = {"training": dataset.train, "validation": dataset.val, "test": dataset.test}
    sizes = ", ".join(f"{len(split):,} {name} samples" for name, split in parts.items() if split)
    shape = " x ".join(map(str, dataset.shape))
    return f"{sizes} of {shape} values, {len(dataset.classes)} classes, {len(dataset.groups) or 'no'} groups"


@dataclass
class _Noted(Files):
    """Notes each file that is found, and by what it was verified."""

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
    """Folders of memory maps beside these files."""
    from bench.data.memory_map import ABOUT

    return sorted({about.parent for path in noted for about in path.parent.glob(f"*/{ABOUT}")})


def _size(path: Path) -> str:
    from rich.filesize import decimal

    return decimal(sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size)
