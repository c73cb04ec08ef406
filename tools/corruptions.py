"""Makes the record of what the corruptions cost beside their public implementation, which takes one image at a time.

The two take turns in one process, with one thread each, on the first test images of CIFAR-10 at severity 3: ours has
1,000 of them in a batch, the public one has 100 one after the other. Give it on a quiet machine, from a clean commit;
`bench leaderboard --out leaderboards` then makes the page. It takes some minutes, and needs the package
imagecorruptions.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.data.dataset import Dataset
from bench.data.files import Files, default_root
from bench.errors import DataError
from bench.guards.allocator import keep_freed_memory
from bench.images.corruptions import CORRUPTIONS
from bench.images.corruptions.base import CIFAR
from bench.registry import installed
from bench.runs.environment import environment
from bench.throughput.corruptions import CLOCKS, FOLDER, CorruptionCosts, Timing, section

sys.path.insert(0, str(Path(__file__).parents[1]))  # given as a file, a program finds only its own folder

from tools.imagenet_c import our_constants, public

DATA = "The first test images of CIFAR-10, 32 x 32"
IMAGES = 1000
"""In a batch of ours."""
ONE_BY_ONE = 100
"""Of these, how many the public implementation has."""
SEVERITY = 3
ROUNDS = 15
WARM_UP = 2
"""Rounds before those that count."""


def first_images(files: Files) -> Tensor:
    """[IMAGES, 3, 32, 32] uint8: the first test images of CIFAR-10.

    Raises:
        DataError: Where the files cannot be had, or are not the official ones and others are not allowed.
    """
    load = installed().find("datasets", "cifar10").value
    dataset: Dataset = load(files)
    assert dataset.test is not None
    return dataset.test.x[:IMAGES]


@contextmanager
def one_thread() -> Iterator[None]:
    """For both implementations; memory that is freed is kept, as in runs."""
    keep_freed_memory()
    ours = torch.get_num_threads()
    theirs = cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(ours)
        cv2.setNumThreads(theirs)


def repeated(turn: Callable[[], None], rounds: int) -> None:
    for _ in range(rounds):
        turn()


def measure(name: str, images: Tensor, repeat: Callable[[Callable[[], None], int], object] = repeated) -> Timing:
    """Time a corruption and its public implementation in turns.

    Args:
        name: Of the corruption.
        images: [N, 3, 32, 32] uint8, all of them for ours; the first ONE_BY_ONE for the public implementation.
        repeat: Calls a turn so many times.
    """
    corruption = CORRUPTIONS[name]
    theirs = getattr(public(our_constants(CIFAR)), name)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images[:ONE_BY_ONE]]
    generator = torch.Generator().manual_seed(0)
    one_by_one: list[tuple[float, float]] = []
    batches: list[tuple[float, float]] = []

    def turn() -> None:
        one_by_one.append(seconds(lambda: [np.uint8(theirs(picture, SEVERITY)) for picture in pictures]))
        batches.append(seconds(lambda: corruption(images, SEVERITY, generator)))

    repeated(turn, WARM_UP)
    repeat(turn, ROUNDS)
    return Timing(name, of_an_image(batches, len(images)), of_an_image(one_by_one, len(pictures)))


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """By the processor, which what else the machine does concerns little, and by the clock on the wall; once warm, as
    after the first of many batches, not with caches full of the other implementation's data.
    """
    run()
    start_processor = time.process_time()
    start_wall = time.perf_counter()
    run()
    return time.process_time() - start_processor, time.perf_counter() - start_wall


def of_an_image(measured: Sequence[tuple[float, float]], images: int) -> dict[str, list[float]]:
    """Clock -> seconds of an image by round, without the rounds to warm up."""
    return {
        clock: [round(pair[place] / images, 9) for pair in measured[WARM_UP:]] for place, clock in enumerate(CLOCKS)
    }


def record_of(rows: Sequence[Timing], command: str, data: str = DATA) -> CorruptionCosts:
    """The record of all corruptions, made here and now by this command on these data."""
    return CorruptionCosts(
        command=command,
        public=f"imagecorruptions {version('imagecorruptions')}, with the changes in tools/imagenet_c.py",
        data=data,
        severity=SEVERITY,
        images=IMAGES,
        one_by_one=ONE_BY_ONE,
        rows=rows,
        environment=environment({}, torch.device("cpu")),
    )


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of tables; the record goes to DIR/corruptions")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the data files (default: $BENCH_DATA)")
    parser.add_argument("--allow-unofficial-data", action="store_true", help="the record then says so")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if words is None else list(words)
    asked = arguments(given)
    files = Files(asked.data_dir or default_root(), allow_unofficial=asked.allow_unofficial_data)
    try:
        images = first_images(files)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with one_thread():
        rows = [measure(name, images) for name in CORRUPTIONS]
    data = f"{DATA}, from unofficial files" if files.unofficial else DATA
    record = record_of(rows, shlex.join(["python", "tools/corruptions.py", *given]), data)
    print("\n".join(section(record)))
    if asked.out:
        folder = asked.out / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        print(f"\nrecord: {record.save(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
