"""`bench plot`."""

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import data_dir_option, say, settings_option, unofficial_option, warn_of
from bench.cli.store.filters import no_finished_run
from bench.errors import BenchError, OptionError, StoreError
from bench.text import join_first

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.plots.select import Arrays, Series

KINDS = (
    *("surfaces", "curves", "fraction", "gradients", "weight", "capacity", "counts"),
    *("histograms", "mislabelled", "images"),
)


@click.command()
@click.argument("kind", type=click.Choice(KINDS), metavar="KIND")
@click.option(
    "--records",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results/results"),
    show_default=True,
    help="Folder of the records of runs.",
)
@click.option("--dataset", help="Only runs on this data set.")
@click.option("--protocol", help="Only runs under this protocol.")
@click.option("--model", help="Only runs of this model.")
@click.option("--method", "methods", multiple=True, help="Only runs of this method. May be given several times.")
@settings_option("Only runs with this setting, named as for `bench run`.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="[SET/]METRIC",
    help="The metric that is drawn. May be given several times.",
)
@click.option("--x", metavar="NAME", help="The setting on the horizontal axis, such as model.hidden or parameters.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results/plots"),
    show_default=True,
    help="Folder to write the pictures to.",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="Write the picture to this file, .svg or .png. The other options must leave one picture.",
)
@data_dir_option
@unofficial_option
def plot(kind: str, out: Path, file: Path | None, **asked: Any) -> None:
    """Draw pictures from records, as PNG and SVG, one for each protocol, data set and model.

    KIND is one of:

    \b
    surfaces     decision surfaces over training, for data in a plane;
                 reads the training points from the data files
    curves       metrics over training: those that --metric names, as
                 SET/METRIC or train/COLUMN
    fraction     fraction of positive predictions over training, on each
                 test set and probe
    gradients    gradient norms over training
    weight       final fraction of positive predictions against the weight
                 of a class (--x)
    capacity     accuracy and disparity (--metric) against the capacity of
                 the model (--x), and the paired differences
    counts       training samples of each class and group
    histograms   weights of the last epoch, by group
    mislabelled  weights of the last epoch of samples with right and wrong
                 labels, and how well they tell these apart
    images       training images with the largest and the smallest
                 weights; reads them from the data files

    A record that cannot be used, or whose sidecar is missing where the picture needs it, is named and left out; the
    exit code is 1 then.
    """
    from bench.plots import style
    from bench.records.files import behind_link, check_file, check_writable, is_output, write_file, write_whole

    pictures = list(_pictures(kind, asked))
    suffixes = [_suffix(file, [name for name, _ in pictures])] if file else list(style.METADATA)
    unfit = {}
    for name, draw in pictures:
        try:
            contents = style.files(draw, suffixes)
        except BenchError as error:
            unfit[name] = error
            continue
        if file:
            check_file(file)
            write_file(file, *contents.values())
            if not is_output(file):
                say(file)
            continue
        check_writable(out)  # not before: a refused command makes no folder
        for suffix, content in contents.items():
            path = out / f"{name}.{suffix}"
            write_whole(behind_link(path), content)
            say(path)
    if len(unfit) == len(pictures):
        raise next(iter(unfit.values()))
    for name, why in unfit.items():
        say(f"left out {name}: {why}", err=True)
    if not asked["whole"]:
        sys.exit(1)


def _suffix(file: Path, names: "Sequence[str]") -> str:
    """The suffix of the file, without the dot. Raises OptionError for another suffix, or for several pictures."""
    from bench.plots import style

    if file.suffix.removeprefix(".") not in style.METADATA:
        raise OptionError(f"--file {file}: expected a name that ends in .svg or .png")
    if len(names) > 1:
        raise OptionError(
            f"--file is for one picture, and there are {len(names)}: {', '.join(names)}; choose with --dataset, "
            "--model or --protocol"
        )
    return file.suffix.removeprefix(".")


def _pictures(kind: str, asked: dict[str, Any]) -> "Iterator[tuple[str, Callable[[], Figure]]]":
    """The file name, without a suffix, of each picture and the function that draws it."""
    from bench.tables.pages.leaderboard import title_of

    tasks: dict[tuple[str, str, str], list[Series]] = defaultdict(list)
    for one in _chosen(kind, asked):
        spec = one.first.spec
        tasks[spec.protocol, spec.dataset, spec.model].append(one)
    for (protocol, dataset, model), series in tasks.items():
        name = picture_name(kind, protocol, dataset, model)
        title = f"{title_of(protocol, dataset)}, {model}"
        yield name, lambda series=series, title=title: _draw(kind, series, title, asked)  # type: ignore[misc]


def picture_name(kind: str, protocol: str, dataset: str, model: str) -> str:
    """The file name of a picture, without a suffix; another one for each task and model.

    Args:
        kind: of the picture.
        protocol: `name/version`.
        dataset, model: their names.
    """
    from bench.records.spec import file_name

    name = f"{kind}.{protocol.replace('/', '-v')}.{dataset}.{model}".replace("/", "~")
    return file_name(name, [protocol, dataset, model], one_reading="." not in protocol + dataset)


def _chosen(kind: str, asked: dict[str, Any]) -> "list[Series]":
    """The series that are asked for. Raises BenchError, which lists those that exist, where there are none."""
    from bench.columns.reading import read_columns
    from bench.options import named_values
    from bench.plots.select import matching, series_of, with_sidecars

    if not os.path.lexists(asked["records"]):
        raise BenchError(f"{asked['records']} is not a folder: name the folder of the records with --records")
    tasks, damaged = read_columns(asked["records"])
    warn_of(damaged)
    asked["whole"] = not damaged
    recorded = series_of(tasks)
    selected = matching(
        recorded,
        dataset=asked["dataset"],
        protocol=asked["protocol"],
        model=asked["model"],
        methods=asked["methods"],
        settings=named_values(asked["options"], example="model.hidden=50"),
    )
    if not selected:
        if not recorded:
            raise no_finished_run(asked["records"], "--records")
        others = {f"{s.first.spec.method} on {s.first.spec.dataset} ({s.first.spec.model})" for s in recorded}
        raise BenchError(f"no such finished run in {asked['records']}; there is: {join_first(sorted(others), 20)}")
    if kind in ("counts", "weight", "capacity"):  # they need nothing but the records
        return selected
    found = [with_sidecars(one, asked["data_dir"]) for one in selected]
    left_out = [why for _, of_series in found for why in of_series]
    whole = [one for one, _ in found if one]
    if not whole:
        raise StoreError(left_out[0])
    for why in left_out:
        say(f"warning: left out {why}", err=True)
    asked["whole"] = asked["whole"] and not left_out
    return whole


def _draw(kind: str, series: "Sequence[Series]", title: str, asked: dict[str, Any]) -> "Figure":
    from bench.plots import against, counts, curves, mislabelled, weights

    metrics, first = list(asked["metrics"]), series[0].first
    sets = [name for name, _ in first.layout.sets if name not in ("val", *first.data.planes)]
    positive = [f"{of}/fraction_positive" for of in sets]
    ranked = [m if "/" in m else f"test/{m}" for m in metrics or first.about.metrics]
    match kind:
        case "curves":
            drawn = ranked if metrics else _over_training(series, ranked)
            return curves.curves(series, drawn, f"{title}: metrics over training")
        case "fraction":
            return curves.curves(series, positive, f"{title}: positive predictions over training")
        case "gradients":
            return curves.curves(series, ["train/gradient_norm"], f"{title}: gradient norm over training", log=True)
        case "weight":
            x = asked["x"] or against.pair_of_weights(series)
            what = f"{title}: final positive predictions against {against.title_of(series, x)}"
            return against.against(series, x, positive, what)
        case "capacity":
            what = f"{title}: metrics against the capacity of the model"
            return against.against(series, asked["x"] or against.PARAMETERS, ranked, what)
        case "counts":
            return counts.counts(series, f"{title}: training data")
        case "surfaces":
            return _surfaces(series, f"{title}: decision surfaces over training", asked)
        case "histograms":
            weighted, arrays = _weighted(series)
            return weights.histograms(weighted, arrays, f"{title}: weights of the last epoch")
        case "mislabelled":
            weighted, arrays = _weighted(series)
            return mislabelled.mislabelled(weighted, arrays, f"{title}: weights of samples with right and wrong labels")
        case _:
            return _images(series, f"{title}: images by weight in the last epoch", asked)


def _over_training(series: "Sequence[Series]", columns: list[str]) -> list[str]:
    """The columns that all series have; all columns where there is none, so that the message names what is missing."""
    return [c for c in columns if all(one.column(c) is not None for one in series)] or columns


def _surfaces(series: "Sequence[Series]", title: str, asked: dict[str, Any]) -> "Figure":
    """The surfaces of the first run of each series; its training data are read from the data files."""
    from bench.cli.store.recorded import data_of
    from bench.plots import surfaces

    arrays = [one.first.arrays for one in series]
    surfaces.epochs_of(arrays)  # raises before any data file is read
    points = []
    for one in series:
        train = data_of(one.first, asked["data_dir"], asked["allow_unofficial_data"])[1].train
        points.append((train.x.numpy(), train.y.numpy()))
    return surfaces.surfaces(series, arrays, points, title)


def _weighted(series: "Sequence[Series]") -> "tuple[list[Series], list[list[Arrays]]]":
    """The series whose runs have stored weights, and the arrays of each of their runs. Raises BenchError for none."""
    weighted = []
    arrays_of_weighted = []
    for one in series:
        arrays = [run.arrays for run in one.runs.values()]
        if all("train/weight" in of_run for of_run in arrays):
            weighted.append(one)
            arrays_of_weighted.append(arrays)
    if not weighted:
        raise BenchError("all samples weigh the same in these runs: choose a method that weights them with --method")
    return weighted, arrays_of_weighted


def _images(series: "Sequence[Series]", title: str, asked: dict[str, Any]) -> "Figure":
    """The images of the first run of the only method that weights samples, which are read from the data files."""
    from bench.cli.store.recorded import data_of, training_inputs
    from bench.plots import images
    from bench.store.weighted import extremes, true_classes, weights_of_given

    weighted, arrays = _weighted(series)
    if len(weighted) > 1:
        labels = ", ".join(one.label() for one in weighted)
        raise BenchError(f"images are of one method with its settings: choose one of {labels} with --method or -o")
    one = weighted[0]
    stored = arrays[0][0]
    dataset, splits = data_of(one.first, asked["data_dir"], asked["allow_unofficial_data"])
    if len(dataset.shape) != 3:
        raise BenchError(f"{dataset.name} has no images")
    weights = weights_of_given(stored)
    shown = [training_inputs(splits, stored, part).numpy() for part in extremes(weights)]
    return images.images(one, weights, stored["train/y"], shown, title, true_classes(stored))
