"""Drought Watch: satellite images of Northern Kenya, by how many cows the land can feed."""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from bench import Checks, DataError, Dataset, Files, Recipe, Split, hookimpl
from bench.data.memory_map import Block, memory_map
from bench.data.tfrecord import example, records

FOLDER = "droughtwatch"
ARCHIVE = "dw_train_86K_val_10K.zip"
INSIDE = "droughtwatch_data"  # the folder in the archive, with the folders train and val
URL = f"https://storage.googleapis.com/wandb_datasets/{ARCHIVE}"
SIZES = {"train": 86_317, "val": 10_778}  # the README's

SIDE = 65  # pixels
BANDS = tuple(f"B{number}" for number in range(1, 12))
CLASSES = ("0 cows", "1 cow", "2 cows", "3+ cows")

RECIPE = Recipe(
    model="byrd_cnn",
    protocol="class_fairness",
    optimizer="adam",
    lr=1e-3,
    epochs=10,
    batch_size=128,
    val_size=10_000,  # of the training data, as the official validation data serve as the test
    val_batch_size=128,
    min_per_group=3,  # no paper has a method that learns from validation data here; as on CIFAR
    source="optimiser, epochs and batch size of the benchmark's train.py; flips and rotations of Rendezvous between "
    "Robustness and Dataset Bias; byrd_cnn stands for its vanilla CNN",
)


def load_droughtwatch(files: Files, *, bands: tuple[str, ...] = ("B2", "B3", "B4", "B5", "B6", "B7", "B8")) -> Dataset:
    """Drought Watch: 86,317 + 10,778 satellite images of 65x65 pixels in 11 bands, by cows that the land feeds: 0-3+.

    x [N, len(bands), 65, 65] uint8, mapped from a file that is prepared once for each choice of bands (2.9 GB for
    seven). About 60, 15, 15 and 10 % of the images are of the four classes.

    The files are `droughtwatch/dw_train_86K_val_10K.zip` (2.15 GB; from Google's storage) or, unpacked,
    `droughtwatch/droughtwatch_data/{train,val}/part-*` (4.3 GB). No checksum of them is published. Instead the two
    CRC-32C of every record are checked when a file is prepared, the numbers of images must be the published ones (else
    the images count as unofficial), and the revision is the hash of the contents. Licence: none is stated with the
    data; they are open for the benchmark. The images are of Landsat 8.

    Source: Hobbs and Svetlichnaya 2020; github.com/wandb/droughtwatch, whose train.py reads the files as here: the
    first 65 * 65 bytes of each band.

    Departures, and what is decided here:

    - Splits. The benchmark's test set is not public. Its validation set is the test set here, and the validation data
      are held out of its training set by seed.
    - Values are divided by 255, and not normalised further. train.py takes the bytes as they are, and the
      pre-registration that uses the images does not say how it normalises.
    - The pre-registration's random rotations, of angles not given, are quarter turns: a satellite image has no upper
      side, and nothing is cut off or interpolated. The benchmark's train.py does not augment.
    - The benchmark's class weights, 1, 4, 4 and 6, are no part of the recipe: `--method importance_weighted -o
      ratio=1,4,4,6`. train.py hands them to Keras as a matrix, where a mapping is documented.

    Args:
        files: where the files are; missing ones are downloaded.
        bands: of B1 to B11, in the order of the channels. B2 to B4 are blue, green and red. Default: the benchmark's
            seven, B2 to B8.

    Raises:
        OptionError: for bands that are not among these, or not different ones.
        DataError: for a file that is missing, damaged or not the official one.
    """
    check = Checks.of("dataset.", bands=bands)
    check.not_empty("bands")
    check.one_of(BANDS, "bands")
    check.distinct("bands")
    source = _source(files)
    about = {"bands": bands, "files": {name: _sizes(source, name) for name in SIZES}}
    prepared = memory_map(
        files.root / FOLDER / f"prepared-{'-'.join(bands)}", about, partial(_blocks, files, source, bands)
    )
    sizes = prepared.arrays["part"].bincount(minlength=len(SIZES)).tolist()
    _check(files, source, sizes, prepared.sha256)
    x_train, x_test = prepared.arrays["x"].split(sizes)
    y_train, y_test = prepared.arrays["y"].long().split(sizes)
    return Dataset(
        name="droughtwatch",
        train=Split(x_train, y_train, group=y_train),
        test=Split(x_test, y_test, group=y_test),
        classes=CLASSES,
        recipe=RECIPE,
        augment=flip_and_turn,
        reference="Hobbs and Svetlichnaya 2020, Satellite-based Prediction of Forage Conditions for Livestock in "
        "Northern Kenya, arXiv:2004.04081",
        revision=prepared.sha256[:12],
        unofficial=dict(files.unofficial),
    )


def flip_and_turn(x: Tensor, generator: Generator) -> Tensor:
    """Turn each square image into one of its eight orientations, all equally likely.

    It is mirrored left to right, top to bottom and along the diagonal, each with probability 1/2: that is what flips
    both ways and a random number of quarter turns come to. Nothing waits for the device.

    Args:
        x: images [B, C, H, H].
        generator: on the images' device.

    Returns:
        [B, C, H, H].
    """
    across, down, diagonal = torch.rand(3, len(x), 1, 1, 1, generator=generator, device=x.device) < 0.5
    x = x.flip(-1).where(across, x)
    x = x.flip(-2).where(down, x)
    return x.mT.where(diagonal, x)


def _source(files: Files) -> Path:
    """The unpacked folder where there is one, else the archive."""
    unpacked = files.root / FOLDER / INSIDE
    return unpacked if unpacked.is_dir() else files.find(f"{FOLDER}/{ARCHIVE}", URL)


def _sizes(source: Path, name: str) -> dict[str, list[int]]:
    """The sizes and times of change of the files by name, which tell files on the disk apart without reading them."""
    paths = (source / name).glob("*") if source.is_dir() else [source]
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(paths)}


def _check(files: Files, source: Path, sizes: Sequence[int], sha256: str = "") -> None:
    """Note data whose numbers of images are not the published ones. Raises DataError where these are not allowed."""
    if list(sizes) != list(SIZES.values()):
        files.unverified(
            f"{FOLDER}/{source.name}",
            lambda: sha256,
            f"{source} is not the official data: it has {sizes[0]} and {sizes[1]} images, "
            f"expected {SIZES['train']} and {SIZES['val']}; delete it to download it again from {URL}",
        )


def _blocks(files: Files, source: Path, bands: tuple[str, ...]) -> Iterator[Block]:
    """The records, one block each: x [1, C, 65, 65], y [1] and part [1], 0 for training and 1 for validation data.

    They come split by split, file by file in the order of their names. At the end the numbers of images are checked, so
    that data that are refused are not written.
    """
    sizes = [0] * len(SIZES)
    try:
        parts = {name: _parts(source, name) for name in SIZES}
        for number, (name, paths) in enumerate(parts.items()):
            for done, part in enumerate(paths):
                files.report(f"{FOLDER}: preparing {name}", done / len(paths))
                path = f"{source}/{name}/{part.name}"
                with part.open("rb") as file:
                    for place, data in enumerate(records(file, path), 1):
                        sample = _sample(data, bands, f"{path} is damaged: record {place}")
                        yield {**sample, "part": np.array([number], np.uint8)}
                        sizes[number] += 1
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{source} is damaged: {error}; delete it to get it again from {URL}") from error
    if not files.allow_unofficial:
        _check(files, source, sizes)


def _parts(source: Path, name: str) -> list[Path | zipfile.Path]:
    """The files of a split, in order."""
    root = source if source.is_dir() else zipfile.Path(source, f"{INSIDE}/")
    paths = (root / name).iterdir() if (root / name).is_dir() else ()
    parts = [path for path in paths if path.name.startswith("part-")]
    parts = [part for part in parts if not part.name.endswith("gstmp")]  # as train.py does
    if not parts:
        raise DataError(f"{source} holds no files {name}/part-*: get it from {URL}")
    return sorted(parts, key=lambda part: part.name)


def _sample(data: bytes, bands: tuple[str, ...], where: str) -> Block:
    try:
        features = example(data)
    except ValueError as error:
        raise DataError(f"{where} is not a tf.train.Example: {error}") from error
    images = [_image(features.get(band, []), f"{where}, band {band},") for band in bands]
    label = features.get("label", [])
    if len(label) != 1 or label[0] not in range(len(CLASSES)):
        raise DataError(f"{where} needs one label in 0..{len(CLASSES) - 1}, not {label}")
    return {"x": np.stack(images)[np.newaxis], "y": np.array(label, np.uint8)}


def _image(values: list[Any], where: str) -> NDArray[np.uint8]:
    """The first 65 * 65 pixels of a band, [65, 65]."""
    sizes = [len(value) for value in values if isinstance(value, bytes)]
    if len(values) != 1 or len(sizes) != 1 or sizes[0] < SIDE**2:
        raise DataError(f"{where} needs {SIDE**2} bytes or more, and has {sum(sizes)}")
    return np.frombuffer(values[0], np.uint8, SIDE**2).reshape(SIDE, SIDE)


@hookimpl
def bench_datasets() -> Mapping[str, Callable[..., Dataset]]:
    return {"droughtwatch": load_droughtwatch}
