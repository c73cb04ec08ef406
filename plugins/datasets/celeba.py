"""CelebA: faces with forty attributes, in torchvision's folder layout."""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bench import Checks, DataError, Dataset, Files, OptionError, Recipe, Split, UnknownNameError, hookimpl
from bench.data.memory_map import Block, memory_map

FOLDER = "celeba"
ATTRIBUTES, PARTITION, ARCHIVE = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba.zip"
IMAGES = "img_align_celeba"  # the folder in the archive, and beside it where it is unpacked
PAGE = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="

# file -> its MD5 and its id on the authors' Google Drive, both as torchvision has them
SOURCES = {
    ATTRIBUTES: ("75e246fa4810816ffd6ee81facbd244c", "0B7EVK8r0v71pblRyaVFSWGxPY0U"),
    PARTITION: ("d32c9cbf5e040fd4025c592c306e6668", "0B7EVK8r0v71pY0NSMzRuSXJEVkk"),
    ARCHIVE: ("00d2c5bc6d35e252742224ab0c1e8fcb", "0B7EVK8r0v71pZjFTYXZWM3FlRnM"),
}

WIDTH, HEIGHT = 178, 218  # pixels of every aligned image
SQUARE = (0, (HEIGHT - WIDTH) // 2, WIDTH, (HEIGHT + WIDTH) // 2)  # left, upper, right, lower: the square in the centre
BLOCK = 256  # images that are prepared at once

RECIPE = Recipe(
    model="torchvision/resnet18",
    protocol="group_fairness",
    optimizer="adam",
    lr=1e-3,
    epochs=10,
    batch_size=256,
    val_batch_size=256,  # not given
    min_per_group=20,  # printed as "per class"; the classes compared are the groups
    options={
        "forml": {"meta_loss": "mean_loss_discrepancy"},
        "label_bias": {"eta": 1.0},
        "class_balanced": {"by": "group"},
    },
    source="FORML, section 4.3.2 and Table 3",
)


def load_celeba(files: Files, *, target: str = "Attractive", group: str = "Male", size: int = 128) -> Dataset:
    """CelebA: 162,770 + 19,867 + 19,962 aligned faces, an attribute to predict and one as the sensitive group.

    x [N, 3, size, size] uint8, mapped from a file that is prepared once for each size (10 GB for 128). Class 1 and
    group 1 have the attribute. The splits are the official partition into training, validation and test.

    The files belong into `celeba/`: `list_attr_celeba.txt`, `list_eval_partition.txt` and `img_align_celeba.zip` (1.4
    GB). Each is checked against the MD5 that torchvision has, and is downloaded from the authors' Google Drive where
    that allows it. Single images have no published checksums: where there is only the unpacked folder
    `img_align_celeba`, its images count as unofficial. Licence: for non-commercial research only, see the agreement on
    the authors' page.

    Source: Yan, Seto, Apostoloff, FORML, section 4.3.2; target=Young group=Pale_Skin are those of its Table 10.

    What the paper leaves open is decided here:

    - "center-crop and resize to size 128x128": of the 178x218 pixels the square of 178 in the centre is kept, which
      distorts nothing, then resized bilinearly (as torchvision's CenterCrop and Resize of a PIL image do).
    - "normalize": the values are not given. Mean and standard deviation are 0.5, which gives -1..1. There is no
      augmentation.
    - ResNet-18 is that of its paper, with the stem for large images.
    - "A minimum of 20 samples per class per batch" is read as 20 of each group.
    - The paper takes FORML's last epoch and the others' best; records and tables have both for every method.

    Args:
        files: where the files are; missing ones are downloaded.
        target: the attribute to predict. Default: Attractive.
        group: the sensitive attribute, another one than `target`. Default: Male.
        size: pixels of a side. Default: 128.

    Raises:
        UnknownNameError: for a `target` or `group` that is no attribute.
        OptionError: where `target` and `group` are the same, or `size` is below 1.
        DataError: for a file that is missing, damaged or not the official one.
    """
    if target == group:
        raise OptionError(f"dataset.target and dataset.group must be different attributes, and both are {target}")
    Checks.of("dataset.", size=size).at_least(1, "size")
    attributes = _required(files, ATTRIBUTES)
    partition = _required(files, PARTITION)
    names, labels = _read_attributes(attributes, (target, group))
    part = _read_partition(partition, names)
    order = part.argsort(stable=True)  # so that each part is a range of the map
    x = _images(files, [names[i] for i in order], size)
    sizes = part.bincount().tolist()
    y = labels[order, 0].split(sizes)
    members = labels[order, 1].split(sizes)
    train, val, test = map(Split, x.split(sizes), y, members)
    return Dataset(
        name="celeba",
        train=train,
        val=val,
        test=test,
        classes=(f"not {target}", target),
        groups=(f"not {group}", group),
        recipe=RECIPE,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        reference="Liu, Luo, Wang, Tang 2015, Deep Learning Face Attributes in the Wild, ICCV",
        revision=files.revision,
        unofficial=dict(files.unofficial),
    )


def _required(files: Files, name: str) -> Path:
    """The verified file. Where it cannot be had, the error names all files that are missing, and their folder."""
    md5, drive = SOURCES[name]
    folder = files.root / FOLDER
    try:
        return files.require(f"{FOLDER}/{name}", f"md5:{md5}", DRIVE + drive)
    except DataError as error:
        if (folder / name).exists():
            raise
        missing = ", ".join(name for name in SOURCES if not (folder / name).exists())
        raise DataError(
            f"{error}. Put {missing} into {folder}: the authors' page, {PAGE}, has them; Google Drive often refuses "
            f"the download for a day, when its quota is used up"
        ) from error


def _read_attributes(path: Path, wanted: Sequence[str]) -> tuple[list[str], Tensor]:
    """The names of the images [N], and whether they have the wanted attributes, [N, len(wanted)] 0 or 1."""
    lines = path.read_text("utf-8", errors="replace").splitlines()
    (count, header), rows = [*lines[:2], "", ""][:2], lines[2:]
    if not rows or count.strip() != str(len(rows)):
        raise DataError(f"{path} is damaged: its first line says {count[:20]!r}, and it has {len(rows)} images")
    known = header.split()
    for name in wanted:
        if name not in known:
            raise UnknownNameError("attribute", name, known, hint=f" (the columns of {path})")
    columns = [1 + known.index(name) for name in wanted]
    names = []
    labels = []
    for line, row in enumerate(rows, 3):
        cells = row.split()
        if len(cells) != 1 + len(known):
            raise DataError(f"{path} is damaged: line {line} has {len(cells)} cells, not {1 + len(known)}")
        values = [cells[column] for column in columns]
        if not set(values) <= {"-1", "1"}:
            raise DataError(f"{path} is damaged: line {line} has the values {', '.join(values)}, which must be -1 or 1")
        names.append(cells[0])
        labels.append([int(value == "1") for value in values])
    return names, torch.tensor(labels)


def _read_partition(path: Path, names: Sequence[str]) -> Tensor:
    """[N]: 0 for training, 1 for validation, 2 for test."""
    rows = [line.split() for line in path.read_text("utf-8", errors="replace").splitlines()]
    if [row[:1] for row in rows] != [[name] for name in names]:
        raise DataError(f"{path} is damaged: it does not have the {len(names)} images of {ATTRIBUTES}, in that order")
    parts = [" ".join(row[1:]) for row in rows]
    if set(parts) != {"0", "1", "2"}:
        raise DataError(f"{path} is damaged: it needs parts 0, 1 and 2, and has {', '.join(sorted(set(parts)))[:50]}")
    return torch.tensor([int(part) for part in parts])


def _images(files: Files, names: Sequence[str], size: int) -> Tensor:
    """[N, 3, size, size] uint8, mapped: from the verified archive or, where there is none, from the unpacked folder."""
    folder = files.root / FOLDER
    unpacked = folder / IMAGES
    only_unpacked = unpacked.is_dir() and not (folder / ARCHIVE).exists()
    source = unpacked if only_unpacked else _required(files, ARCHIVE)
    sizes = [path.stat().st_size for path in unpacked.iterdir()] if only_unpacked else []
    about = {"size": size, "source": files.revision, "unpacked": [len(sizes), sum(sizes)]}
    prepared = partial(memory_map, folder / f"prepared-{size}", about, partial(_blocks, files, source, names, size))
    if only_unpacked:
        files.unverified(
            f"{FOLDER}/{IMAGES}",
            lambda: prepared().sha256,
            f"the images in {unpacked} cannot be verified, as no checksums of single images are published: put "
            f"{ARCHIVE} beside the folder",
        )
    return prepared().arrays["x"]


def _blocks(files: Files, source: Path, names: Sequence[str], size: int) -> Iterator[Block]:
    """Blocks of x [n, 3, size, size], in the order of `names`."""
    with _opened(source) as read:
        for start in range(0, len(names), BLOCK):
            files.report(f"{FOLDER}: preparing images", start / len(names))
            images = [_image(read, name, source, size) for name in names[start : start + BLOCK]]
            yield {"x": np.stack(images).transpose(0, 3, 1, 2)}


@contextmanager
def _opened(source: Path) -> Iterator[Callable[[str], bytes]]:
    """A function that gives the content of an image by its name, from the folder or the archive."""
    if source.is_dir():
        yield lambda name: (source / name).read_bytes()
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{source} is damaged: {error}; delete it to get it again") from error
    with archive:
        yield lambda name: archive.read(f"{IMAGES}/{name}")


def _image(read: Callable[[str], bytes], name: str, source: Path, size: int) -> NDArray[np.uint8]:
    """The pixels of an image, [size, size, 3]."""
    try:
        with Image.open(io.BytesIO(read(name)), formats=["JPEG"]) as image:
            width, height = image.size
            pixels = image.convert("RGB").crop(SQUARE).resize((size, size), Image.Resampling.BILINEAR)
    except UnidentifiedImageError as error:
        raise DataError(f"{source}: the image {name} cannot be read: it is not a JPEG image") from error
    except (OSError, KeyError, ValueError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{source}: the image {name} cannot be read: {error}") from error
    if (width, height) != (WIDTH, HEIGHT):
        raise DataError(f"{source}: the image {name} has {width}x{height} pixels, not {WIDTH}x{HEIGHT}")
    return np.asarray(pixels)


@hookimpl
def bench_datasets() -> Mapping[str, Callable[..., Dataset]]:
    return {"celeba": load_celeba}
