"""Small synthetic twins of the data sets, written in the official file formats.

They are read by the code that reads the real files: `load(Files(root, allow_unofficial=True, download=False))`.
Pixels depend on the class, so there is something to learn.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def images(count: int, classes: int, shape: tuple[int, ...], seed: int) -> tuple[Bytes, Bytes]:
    """(x [count, *shape], y [count]): a pattern for each class, plus noise; every class in turn."""
    patterns = np.random.default_rng(0).integers(0, 192, (classes, *shape))
    y = np.arange(count) % classes
    x = patterns[y] + np.random.default_rng(seed).integers(0, 64, (count, *shape))
    return x.astype(np.uint8), y.astype(np.uint8)


def mnist(root: Path, train: int = 200, test: int = 100) -> None:
    """MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate([("train", train), ("t10k", test)]):
        x, y = images(count, 10, (28, 28), seed)
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            header = np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())


def cifar10(root: Path, train: int = 200, test: int = 100) -> None:
    """cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin; `train` a multiple of 5."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    batches = np.split(_records(*images(train, 10, (3, 32, 32), 0)), 5)
    for number, batch in enumerate(batches, 1):
        (folder / f"data_batch_{number}.bin").write_bytes(batch.tobytes())
    (folder / "test_batch.bin").write_bytes(_records(*images(test, 10, (3, 32, 32), 1)).tobytes())


cat_dog = cifar10


def cifar100(root: Path, train: int = 200, test: int = 100) -> None:
    """cifar-100-binary/{train,test}.bin; the coarse label, which comes first, is a fifth of the fine one."""
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate([("train", train), ("test", test)]):
        x, y = images(count, 100, (3, 32, 32), seed)
        (folder / f"{name}.bin").write_bytes(_records(x, y // 5, y).tobytes())


def communities(root: Path, count: int = 300) -> None:
    """communities/communities.data: 128 columns, the police survey missing, every class in every group."""
    folder = root / "communities"
    folder.mkdir(parents=True)
    values = np.random.default_rng(0).integers(0, 101, (count, 128)) / 100
    score = values[:, 40:50].mean(1)
    values[:, 127] = np.where(score > np.quantile(score, 0.7), 0.5, 0.1)
    lines = []
    for row in values:
        cells = [f"{value:g}" for value in row]
        cells[3] = "Sometown"
        cells[101:118] = ["?"] * 17
        lines.append(",".join(cells) + "\n")
    (folder / "communities.data").write_text("".join(lines))


def _records(x: Bytes, *labels: Bytes) -> Bytes:
    return np.column_stack([*labels, x.reshape(len(x), -1)])
