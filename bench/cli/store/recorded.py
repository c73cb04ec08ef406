"""The data that a record was made from, where they are on this machine."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import Command, data_dir_option, installed, unofficial_option
from bench.errors import BenchError, DataError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.columns.run import Run
    from bench.data.dataset import Dataset
    from bench.data.split import Splits
    from bench.records.sidecar import Arrays, Sidecar
    from bench.site.rows.pictured import Pictured

MOST_BYTES = 2_000_000
"""So many bytes of images the rows of a page hold: the first ones, as those that are asked about come first."""
NO_LICENCE = "Its description names no licence."


def images_options(command: Command) -> Command:
    """The options of commands that write a site whose rows may have images: `images`, `data_dir` and
    `allow_unofficial_data`.
    """
    words = "Show the worst and the most weighted samples of rows as images, read from the data files, in the site."
    return click.option("--images", is_flag=True, help=words)(data_dir_option(unofficial_option(command)))


def images_asked(images: bool, data_dir: Path | None, allow_unofficial_data: bool) -> "Callable[[], Images] | None":
    """What makes the images that the options ask for; None where they ask for none.

    Raises:
        OptionError: for data files without images.
    """
    if not images and (data_dir or allow_unofficial_data):
        raise OptionError("--data-dir and --allow-unofficial-data are for --images: no other part reads data files")
    return partial(Images, data_dir, allow_unofficial_data) if images else None


def data_of(
    result: "Run", data_dir: Path | None, unofficial: bool, download: bool = True, loaded: "Dataset | None" = None
) -> "tuple[Dataset, Splits]":
    """The data set of a record, and its splits.

    Args:
        result: the run.
        data_dir: the folder of the data files; None for the usual one.
        unofficial: whether files are accepted that are not the official ones.
        download: whether missing files are downloaded.
        loaded: the data set of another record of the same task; None: it is loaded.

    Raises:
        BenchError: where the data or the defaults are others by now.
    """
    from bench.data.files import Files, default_root
    from bench.runs.build import splits_of
    from bench.runs.experiment import Request
    from bench.runs.resolve import resolve

    files = Files(data_dir or default_root(), allow_unofficial=unofficial, download=download)
    spec = result.spec
    request = Request(spec.dataset, spec.method, spec.model, spec.protocol_name, spec.changed, spec.validation)
    experiment = resolve(request, files, installed(), loaded)
    if experiment.spec(spec.seed).key != spec.key or not result.data.may_be(experiment.dataset.content):
        raise BenchError(f"{spec.dataset}: the data or the defaults are no longer those of the record: run it again")
    return experiment.dataset, splits_of(experiment, spec.seed)


def training_inputs(splits: "Splits", stored: "Arrays", places: Iterable[int]) -> "Tensor":
    """The inputs of some training samples of a run.

    Args:
        splits: of the run.
        stored: what lies beside its record.
        places: of the samples in `train/weight`; none of a sample that the method has made.

    Returns:
        [n, ...], as the data set has them.
    """
    from bench.data.split import Split

    x, chosen = splits.train.x, list(places)
    if "train/origin" in stored:  # the method has made its training data
        chosen = stored["train/origin"][chosen]
    if "train/position" in stored:  # the protocol has chosen the training data anew
        x = Split.cat([splits.train, splits.val]).x
        chosen = stored["train/position"][chosen]
    return x[[int(place) for place in chosen]]


class Images:
    """Finds the images of samples of runs, for a site (`bench.site.rows.pictured.Pictures`).

    Args:
        data_dir: the folder of the data files; None for the usual one. Nothing is downloaded.
        unofficial: whether files are accepted that are not the official ones.
    """

    def __init__(self, data_dir: Path | None, unofficial: bool) -> None:
        self._where = data_dir, unofficial
        self._loaded: dict[Any, Dataset | BenchError] = {}
        self._bytes: Counter[tuple[str, str]] = Counter()

    def __call__(self, run: "Run", beside: "Sidecar", test: Sequence[int], train: Sequence[int]) -> "Pictured":
        """The images of some places in the test and in the training data of a run, or why there are none."""
        from bench.site.rows.pictured import Pictured, data_uri

        page = run.spec.protocol, run.spec.dataset
        if self._bytes[page] > MOST_BYTES:
            return Pictured(why=f"the page holds {MOST_BYTES / 1e6:.0f} MB of images already; see `bench plot images`")
        try:
            dataset, splits = self._data(run)
        except BenchError as error:
            return Pictured(why=str(error))
        if len(dataset.shape) != 3:
            return Pictured(why=f"{dataset.name} is no data set of images")
        tests = splits.tests["test"]
        if test and tests.y.tolist() != beside.arrays["test/y"].tolist():
            return Pictured(why=f"{dataset.name}: the test data are no longer those of the record")
        of_test = [data_uri(image.numpy()) for image in tests.x[list(test)]]
        of_train = [data_uri(image.numpy()) for image in training_inputs(splits, beside.arrays, train)]
        self._bytes[page] += sum(map(len, [*of_test, *of_train]))
        return Pictured(of_test, of_train, _about(run, dataset))

    def _data(self, run: "Run") -> "tuple[Dataset, Splits]":
        """Those of a run; a data set that cannot be loaded is not tried again. Raises BenchError."""
        spec = run.spec
        key = (spec.dataset, repr(spec.dataset_options), spec.protocol, repr(spec.protocol_options))
        loaded = self._loaded.get(key)
        if isinstance(loaded, BenchError):
            raise loaded
        try:
            dataset, splits = data_of(run, *self._where, download=False, loaded=loaded)
        except DataError as error:
            self._loaded[key] = error
            raise
        self._loaded[key] = dataset
        return dataset, splits


def _about(run: "Run", dataset: "Dataset") -> list[str]:
    """What a data set says of where it comes from and of its licence."""
    description = installed().find("datasets", run.spec.dataset).description
    sentences = re.split(r"(?<=[.!?])\s+", " ".join(description.split()))
    licence = [sentence for sentence in sentences if re.search(r"licen[cs]e", sentence, re.IGNORECASE)]
    reference = dataset.reference.rstrip(".") or "no reference"
    return [f"{run.spec.dataset}, {reference}.", " ".join(licence) or NO_LICENCE]
