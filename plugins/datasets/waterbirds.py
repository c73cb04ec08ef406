"""Waterbirds: birds on backgrounds that mislead, a standard set for the accuracy of the worst group."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench import Checks, DataError, Dataset, Files, Recipe, Split, hookimpl
from bench.data.memory_map import Block, memory_map
from bench.data.tables import read_table

FOLDER = "waterbird_complete95_forest2water2"
FILE = f"{FOLDER}/metadata.csv"
URL = f"https://nlp.stanford.edu/data/dro/{FOLDER}.tar.gz"
SHA256 = "2f023b9dc371f6fbb82c7cb810ff0f03e19c54c8055a2e37517ae7bb56644362"  # not published; that of one other copy
BLOCK = 64  # images that are in memory at once while all are prepared

RECIPE = Recipe(
    model="torchvision/resnet50",
    model_options={"pretrained": True},
    protocol="group_fairness",
    optimizer="sgd",
    lr=1e-3,
    momentum=0.9,
    weight_decay=1e-4,
    epochs=300,
    batch_size=128,
    val_batch_size=128,  # not given: its methods learn nothing from validation data
    evaluate_every=5,
    select="worst_group_accuracy",
    metrics=("worst_group_accuracy", "accuracy"),
    options={"group_dro": {"sampling": "uniform"}},  # their --reweight_groups
    source="Sagawa, Koh, Hashimoto, Liang 2020 (group DRO), standard regularisation, and the command of their code",
)


def load_waterbirds(files: Files, *, size: int = 224) -> Dataset:
    """Waterbirds: 4,795 + 1,199 + 5,794 photographs of land- and waterbirds, each on a background of land or water.

    x [N, 3, size, size] uint8. Class 1 is a waterbird. The groups are the four pairs of bird and background. In
    training 95 % of the birds are where they belong, in the official validation and test splits half of each class.

    0.5 GB to download. No licence is named; the photographs are under the terms of CUB-200-2011 and Places. The authors
    publish no checksums. The checksum of the file of labels and splits is verified, as taken from one other copy; the
    images are not verified, and the revision holds the hash of their files, so that runs on other images are told
    apart.

    Source: Sagawa, Koh, Hashimoto, Liang 2020, Distributionally Robust Neural Networks for Group Shifts, and its code.
    Images are resized to 256 x 256 (8/7 of `size`), whatever their proportions, cropped at the centre, and normalised
    as for ImageNet; they are not augmented. All this is as in that code. They are prepared once, into a memory map of
    1.8 GB.

    Departures:

    - Weights. The paper starts from torchvision's ImageNet weights of 2019, the recipe from those of today (another
      training of the same network), which are downloaded; -o model.pretrained=no trains without them.
    - Accuracy. The paper weights the groups' test accuracies by their shares of the training data; `accuracy` here is
      over the test samples as they are.
    - Rates. A group has one class only, so the TPR is compared between two groups, and so is the FPR.

    Args:
        files: where the files are; missing ones are downloaded.
        size: pixels of a side. Default: 224.

    Raises:
        OptionError: for a size below 1.
        DataError: for a file that is missing or damaged, or an image that cannot be read; then no map is written.
    """
    Checks.of("dataset.", size=size).at_least(1, "size")
    path = files.require(FILE, f"sha256:{SHA256}", URL)
    table = read_table(path, ("img_filename", "y", "split", "place"))
    split = table.codes("split", ("0", "1", "2"))
    y = table.codes("y", ("0", "1"))
    place = table.codes("place", ("0", "1"))
    sizes = np.bincount(split, minlength=3).tolist()
    if 0 in sizes:
        raise DataError(f"{path} is damaged: it has no row with split {sizes.index(0)}, of 0, 1, 2")
    order = np.argsort(split, kind="stable")
    x, revision = _images(files, [path.parent / table.cells["img_filename"][i] for i in order], size)
    classes = torch.from_numpy(y[order]).split(sizes)
    groups = torch.from_numpy((2 * y + place)[order]).split(sizes)
    train, val, test = map(Split, x.split(sizes), classes, groups)
    return Dataset(
        name="waterbirds",
        train=train,
        val=val,
        test=test,
        classes=("landbird", "waterbird"),
        groups=("landbird on land", "landbird on water", "waterbird on land", "waterbird on water"),
        recipe=RECIPE,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        reference="Sagawa, Koh, Hashimoto, Liang 2020; images of CUB-200-2011 (Wah et al.) and Places (Zhou et al.)",
        revision=revision,
        unofficial=dict(files.unofficial),
    )


def _images(files: Files, paths: list[Path], size: int) -> tuple[torch.Tensor, str]:
    """x [N, 3, size, size] uint8, from the memory map, and the revision of the labels and of the images' contents."""
    try:
        total = sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise DataError(f"the image {error.filename} is missing: put the whole folder of {URL} there") from error
    except ValueError as error:
        raise DataError(
            f"{files.root / FILE} is damaged: it names an image whose path is not valid: {error}"
        ) from error

    def blocks() -> Iterator[Block]:
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(paths), BLOCK):
                files.report("preparing the images of waterbirds", start / len(paths))
                pixels, digests = zip(*pool.map(partial(_read, size=size), paths[start : start + BLOCK]), strict=True)
                yield {"x": np.stack(pixels), "sha256": np.stack(digests)}

    about = {"labels": files.revision, "bytes": total, "size": size}
    arrays = memory_map(files.root / FOLDER / f"prepared-{size}", about, blocks).arrays
    contents = files.revision.encode() + arrays["sha256"].numpy().tobytes()
    return arrays["x"], hashlib.sha256(contents).hexdigest()[:12]


def _read(path: Path, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pixels [3, size, size] of an image, and the SHA-256 of its file [32]."""
    resized = round(size * 8 / 7)
    edge = (resized - size) // 2
    try:
        content = path.read_bytes()
        image = Image.open(io.BytesIO(content)).convert("RGB").resize((resized, resized), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise DataError(f"{path} is not an image: get it again from {URL}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read as an image ({reason}): get it again from {URL}") from error
    pixels = np.asarray(image.crop((edge, edge, edge + size, edge + size))).transpose(2, 0, 1)
    return pixels, np.frombuffer(hashlib.sha256(content).digest(), np.uint8)


@hookimpl
def bench_datasets() -> Mapping[str, Callable[..., Dataset]]:
    return {"waterbirds": load_waterbirds}
