"""MNIST, in torchvision's folder layout."""

import gzip
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from bench import DataError, Dataset, Files, Recipe, Split, hookimpl
from bench.records.files import part_of, remove_abandoned

FOLDER = "MNIST/raw"
URL = "https://ossci-datasets.s3.amazonaws.com/mnist"

# file -> MD5 of the file and of its .gz. Published are those of the .gz; those of the files are of what the verified
# .gz hold.
MD5 = {
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
}

RECIPE = Recipe(
    model="mlp",
    model_options={"hidden": (50,), "activation": "sigmoid"},
    protocol="class_fairness",
    optimizer="adam",
    lr=1e-3,
    epochs=50,
    batch_size=100,
    val_size=5000,
    min_per_group=3,  # not given for MNIST; as on CIFAR (section 4.2.2). The size of validation batches is not given
    options={"forml": {"meta_loss": "max_loss_discrepancy"}},
    source="FORML, section 4.2.1 and Figure 3 (largest model, d = 50)",
)

NOISY = replace(
    RECIPE,
    model_options={"hidden": (512, 512, 512), "activation": "relu"},  # "two hidden layers", but three sizes are given
    protocol="label_noise",  # its optimiser and budget are not given: as above
    options={**RECIPE.options, "label_bias": {"positive": 2, "rate": 0.1}},
    source="FORML, section 4.4 and Table 4",
)

PRUNED = replace(
    RECIPE,
    protocol="pruning",
    val_size=1000,
    source="ours: FORML's recipe for MNIST (section 4.2.1) with as many validation samples as in its section 4.5",
)


def load_mnist(files: Files) -> Dataset:
    """MNIST: 60,000 + 10,000 grey 28x28 images of digits, 10 classes.

    x [N, 1, 28, 28] uint8. The images are neither normalised nor augmented, as FORML mentions neither.
    Licence: CC BY-SA 3.0, as distributors of the files state it.

    Args:
        files: where the files are; missing ones are downloaded.

    Raises:
        DataError: for a file that is missing, damaged or not the official one.
    """
    return Dataset(
        name="mnist",
        train=_split(files, "train"),
        test=_split(files, "t10k"),
        classes=tuple(map(str, range(10))),
        recipe=RECIPE,
        recipes={"label_noise": NOISY, "pruning": PRUNED},
        reference="LeCun, Cortes, Burges, The MNIST database of handwritten digits",
        revision=files.revision,
        unofficial=dict(files.unofficial),
    )


def _split(files: Files, prefix: str) -> Split:
    # The readers rather than the class torchvision.datasets.MNIST, which prefers a folder MNIST/processed, unverified.
    from bench.compat import torchvision

    images = _verified(files, f"{prefix}-images-idx3-ubyte")
    labels = _verified(files, f"{prefix}-labels-idx1-ubyte")
    x = _read(torchvision.datasets.mnist.read_image_file, images)
    y = _read(torchvision.datasets.mnist.read_label_file, labels)
    if x.shape[1:] != (28, 28):
        raise DataError(f"{images} is damaged: it holds images of {list(x.shape[1:])} pixels, not 28 x 28")
    if len(x) != len(y) or not len(y) or y.max() > 9:
        raise DataError(f"{labels} is damaged: it needs a label in 0..9 for each of {len(x)} images of {images.name}")
    return Split(x.unsqueeze(1), y, group=y)


def _read(reader: Callable[[str], Tensor], path: Path) -> Tensor:
    try:
        return reader(str(path))
    except (AssertionError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is damaged: it is not a whole file of MNIST's format; delete it to get it again"
        ) from error


def _verified(files: Files, name: str) -> Path:
    """The verified file, decompressed from its verified .gz where there is only that or it can be downloaded."""
    path = files.root / FOLDER / name
    url = f"{URL}/{name}.gz"
    md5, md5_gz = MD5[name]
    if not path.exists():
        # `files` must know the data by what is read, whether or not it is decompressed now: the .gz has its own Files.
        archives = Files(files.root, files.allow_unofficial, files.download, progress=files.progress)
        packed = archives.require(f"{FOLDER}/{name}.gz", f"md5:{md5_gz}", url)
        _decompress(packed, path)
    return files.require(f"{FOLDER}/{name}", f"md5:{md5}", url)


def _decompress(packed: Path, path: Path) -> None:
    part = part_of(path)
    remove_abandoned(path.parent)
    try:
        with gzip.open(packed) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
        part.replace(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed} could not be decompressed to {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


@hookimpl
def bench_datasets() -> Mapping[str, Callable[[Files], Dataset]]:
    return {"mnist": load_mnist}
