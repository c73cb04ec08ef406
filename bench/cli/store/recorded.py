"""The data that a record was made from, where they are on this machine."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.common import installed
from bench.errors import BenchError

if TYPE_CHECKING:
    from torch import Tensor

    from bench.columns.run import Run
    from bench.data.dataset import Dataset
    from bench.data.split import Splits
    from bench.records.sidecar import Arrays


def data_of(result: "Run", data_dir: Path | None, unofficial: bool) -> "tuple[Dataset, Splits]":
    """The data set of a record, and its splits.

    Args:
        result: the run.
        data_dir: the folder of the data files; None for the usual one.
        unofficial: whether files are accepted that are not the official ones.

    Raises:
        BenchError: where the data or the defaults are others by now.
    """
    from bench.data.files import Files, default_root
    from bench.runs.build import splits_of
    from bench.runs.experiment import Request
    from bench.runs.resolve import resolve

    files = Files(data_dir or default_root(), allow_unofficial=unofficial)
    spec = result.spec
    request = Request(spec.dataset, spec.method, spec.model, spec.protocol_name, spec.changed, spec.validation)
    experiment = resolve(request, files, installed())
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
