"""CIFAR-10 and CIFAR-100, from the official binary version or the official Python version."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench import DataError, Dataset, Files, Recipe, Split, hookimpl
from bench.data.classes import only_with_others

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Variant:
    """What differs between CIFAR-10 and CIFAR-100.

    folder, url, train, test: the binary version: its folder, its archive, and the official SHA-1 of each file.
    label_bytes: label bytes in front of the pixels of a record; the last one is the class. python: the class of
    torchvision.datasets that reads the Python version, in `python_folder`. mean, std: of the training images, by
    channel (R, G, B); both computed from them.
    """

    name: str
    folder: str
    url: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    label_bytes: int
    classes: tuple[str, ...]
    classes_file: str
    python: str
    python_folder: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


CIFAR10 = Variant(
    name="cifar10",
    folder="cifar-10-batches-bin",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    train={
        "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    },
    test={"test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c"},
    label_bytes=1,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    classes_file="batches.meta.txt",
    python="CIFAR10",
    python_folder="cifar-10-batches-py",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)

CIFAR100 = Variant(
    name="cifar100",
    folder="cifar-100-binary",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    train={"train.bin": "e207cd2e05b73b1393c74c7f5e7bea451d63e08e"},
    test={"test.bin": "8fb6623e830365ff53cf14adec797474f5478006"},
    label_bytes=2,
    classes=tuple(map(str, range(100))),
    classes_file="fine_label_names.txt",
    python="CIFAR100",
    python_folder="cifar-100-python",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)

RECIPE = Recipe(
    model="resnet18",
    protocol="class_fairness",
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    milestones=(0.3, 0.6, 0.8),  # of 200 epochs: 60, 120, 160
    epochs=200,
    batch_size=128,
    val_size=5000,
    val_batch_size=128,  # not given; it grows to 300 on CIFAR-100 to hold 3 of each class
    min_per_group=3,
    options={"forml": {"meta_loss": "max_loss_discrepancy"}},
    source="FORML, section 4.2.2 and Table 1",
)

IMBALANCED = replace(
    RECIPE,
    protocol="imbalance",
    val_size=1000,  # ours: with 5,000, as for the whole set, a long tail would lose half of its images
    val_batch_size=100,
    min_per_group=1,
    options={**RECIPE.options, "imbalance": {"validation": "balanced"}},  # else the last have none
    source="ours: FORML's recipe (section 4.2.2) with a smaller validation set",
)

ROBUST = replace(
    IMBALANCED,
    model="byrd_cnn",
    protocol="robustness",
    optimizer="adam",
    lr=1e-4,
    momentum=0.0,
    nesterov=False,
    weight_decay=0.0,
    milestones=(),
    schedule="cyclical",
    max_lr=1e-3,
    cycle=5.0,
    epochs=50,
    options={**RECIPE.options, "robustness": {"validation": "balanced"}},
    source="Adam, cross-entropy, cyclical learning rate: Rendezvous between Robustness and Dataset Bias, without "
    "numbers; rotations and vertical flips, which it has, are left out. Its models: a plain CNN (here "
    "byrd_cnn), timm/resnet50, torchvision/squeezenet1_1",
)

PRUNED = replace(
    RECIPE,
    protocol="pruning",
    val_size=1000,
    options={**RECIPE.options, "pruning": {"validation": "balanced"}},
    source="FORML, section 4.5 and Table 5; ours: the validation samples are the least forgotten of each class, as "
    "hard classes may have none among the least forgotten of all",
)

REPORT = Recipe(
    model="byrd_cnn",
    protocol="label_shift",
    optimizer="sgd",
    lr=0.01,
    momentum=0.9,
    epochs=500,
    batch_size=16,
    val_size=500,  # ours: the report has no validation data
    val_batch_size=16,
    augment=False,
    options={"importance_weighted": {"normalize": True}},  # as nn.CrossEntropyLoss(weight=...) does in their code
    source="Zha, Gao, Ma, Xu, section 3.1, and their code",
)
BINARY = replace(REPORT, protocol="imbalance", options={**REPORT.options, "imbalance": {"factor": 16.0}})
PARTS = ("cat+dog", "automobile+truck")
SHIFTED = replace(REPORT, protocol="covariate_shift", augment=True, options={"covariate_shift": {"parts": PARTS}})


def load_cifar10(files: Files) -> Dataset:
    """CIFAR-10: 50,000 + 10,000 colour 32x32 images, 10 classes.

    x [N, 3, 32, 32] uint8. The images are read from the binary version, or from the Python version where there is only
    that. Licence: its author states none, and asks to cite the report.

    Args:
        files: where the files are; missing ones are downloaded.

    Raises:
        DataError: for a file that is missing, damaged or not the official one.
    """
    return _load(files, CIFAR10, {"imbalance": IMBALANCED, "robustness": ROBUST, "covariate_shift": SHIFTED})


def load_cat_dog(files: Files) -> Dataset:
    """CIFAR-10's cats and dogs: 10,000 + 2,000 colour 32x32 images, 2 classes, dog the positive one.

    The test images of the other eight classes are the probe `other`. Licence: its author states none, and asks to cite
    the report.

    Source: the task of Byrd and Lipton 2019 (section 4) and of Zha, Gao, Ma, Xu (Figures 8 and 9).

    Args:
        files: where the files of CIFAR-10 are; missing ones are downloaded.

    Raises:
        DataError: for a file that is missing, damaged or not the official one.
    """
    whole = only_with_others(_load(files, CIFAR10, {"imbalance": BINARY}), ("cat", "dog"))
    return replace(whole, name="cat_dog", recipe=REPORT, augment=None)


def load_cifar100(files: Files) -> Dataset:
    """CIFAR-100: 50,000 + 10,000 colour 32x32 images, 100 (fine) classes.

    x [N, 3, 32, 32] uint8. The images are read from the binary version, or from the Python version where there is only
    that. Licence: its author states none, and asks to cite the report.

    Args:
        files: where the files are; missing ones are downloaded.

    Raises:
        DataError: for a file that is missing, damaged or not the official one.
    """
    return _load(files, CIFAR100, {"imbalance": IMBALANCED, "robustness": ROBUST, "pruning": PRUNED})


def flip_and_translate(x: Tensor, generator: Generator, by: int = 4) -> Tensor:
    """Mirror each image with probability 1/2, then move it by up to `by` pixels; black moves in.

    Indices are drawn and applied on the images' device, and nothing waits for it.

    Args:
        x: images [B, C, H, W].
        generator: on the images' device.
        by: both shifts are uniform on -by..by. Default: 4.

    Returns:
        [B, C, H, W].

    Source: FORML, section 4.2.2.
    """
    batch, channels, height, width = x.shape
    device = x.device
    flip = torch.rand(batch, 1, generator=generator, device=device) < 0.5
    shift = torch.randint(0, 2 * by + 1, (2, batch, 1), generator=generator, device=device)
    rows = torch.arange(height, device=device) + shift[0]
    columns = torch.arange(width, device=device) + shift[1]
    columns = torch.where(flip, width + 2 * by - 1 - columns, columns)
    image = torch.arange(batch, device=device)
    channel = torch.arange(channels, device=device)
    padded = F.pad(x, (by, by, by, by))
    return padded[image.view(-1, 1, 1, 1), channel.view(-1, 1, 1), rows[:, None, :, None], columns[:, None, None, :]]


def _load(files: Files, variant: Variant, recipes: Mapping[str, Recipe]) -> Dataset:
    only_python = (files.root / variant.python_folder).is_dir() and not (files.root / variant.folder).is_dir()
    read = _read_python if only_python else _read_binary
    train, test, classes = read(files, variant)
    return Dataset(
        name=variant.name,
        train=train,
        test=test,
        classes=classes,
        recipe=RECIPE,
        recipes=recipes,
        mean=variant.mean,
        std=variant.std,
        augment=flip_and_translate,
        reference="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        revision=_revision(train, test),
        unofficial=dict(files.unofficial),
    )


def _read_binary(files: Files, variant: Variant) -> tuple[Split, Split, tuple[str, ...]]:
    """The training split, the test split and the names of the classes."""
    train = Split.cat([_read_records(files, variant, file, sha1) for file, sha1 in variant.train.items()])
    test = Split.cat([_read_records(files, variant, file, sha1) for file, sha1 in variant.test.items()])
    return train, test, _class_names(files.root / variant.folder / variant.classes_file, variant.classes)


def _read_records(files: Files, variant: Variant, file: str, sha1: str) -> Split:
    """One file: records of the label bytes and the pixels, red, green, blue, each row by row."""
    path = files.require(f"{variant.folder}/{file}", f"sha1:{sha1}", variant.url)
    content = np.fromfile(path, np.uint8)
    size = variant.label_bytes + PIXELS
    if not len(content) or len(content) % size:
        raise DataError(f"{path} is damaged: {len(content)} bytes are not a number of records of {size} bytes")
    records = torch.from_numpy(content).view(-1, size)
    y = records[:, variant.label_bytes - 1].long()
    if y.max() >= len(variant.classes):
        raise DataError(
            f"{path} is damaged: it has a label {int(y.max())}, and there are {len(variant.classes)} classes"
        )
    return Split(records[:, variant.label_bytes :].reshape(-1, 3, 32, 32), y, group=y)


def _class_names(path: Path, default: tuple[str, ...]) -> tuple[str, ...]:
    if not path.exists():
        return default
    names = tuple(path.read_text("utf-8", errors="replace").split())
    if len(names) != len(default):
        raise DataError(f"{path} is damaged: it has {len(names)} names for {len(default)} classes; it may be deleted")
    return names


def _read_python(files: Files, variant: Variant) -> tuple[Split, Split, tuple[str, ...]]:
    """As `_read_binary`, from the Python version, whose MD5s torchvision checks before it unpickles anything."""
    from bench.compat import torchvision

    read = getattr(torchvision.datasets, variant.python)
    try:
        train = read(files.root, train=True, download=False)
        test = read(files.root, train=False, download=False)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"{files.root / variant.python_folder} is not the complete official Python version ({error}). Unpickling "
            f"can run any code, so it is not read even with --allow-unofficial-data: delete the folder and get "
            f"{read.url}, or the binary version, {variant.url}"
        ) from error
    splits = []
    for part in (train, test):
        y = torch.tensor(part.targets)
        splits.append(Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), y, group=y))
    return splits[0], splits[1], tuple(train.classes)


def _revision(*splits: Split) -> str:
    """A revision of the contents, so that both versions of the same data have the same one."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.x.numpy().data)
        digest.update(split.y.numpy().data)
    return digest.hexdigest()[:12]


@hookimpl
def bench_datasets() -> Mapping[str, Callable[[Files], Dataset]]:
    return {"cifar10": load_cifar10, "cifar100": load_cifar100, "cat_dog": load_cat_dog}
