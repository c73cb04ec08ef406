"""Time per image of each corruption beside the public implementation, on the CPU with one thread.

Run with `pytest -n 0 -m throughput tests/throughput/test_corruptions.py -s`. The two take turns in one process, on the
first test images of CIFAR-10 at severity 3: a batch of 1,000, and 100 of them one after the other. Ratios and their
quartiles go into pytest-benchmark's output (`--benchmark-json FILE`); with `--records leaderboards` the whole becomes a
record there, of which `bench leaderboard` makes a page.
"""

import shlex
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli.common import table
from bench.images.corruptions import CORRUPTIONS
from bench.images.corruptions.base import CIFAR
from bench.runs.allocator import keep_freed_memory
from bench.runs.environment import environment
from bench.throughput.corruptions import CLOCKS, FOLDER, HEADS, CorruptionCosts, Timing, cells
from tests.imagenet_c import public
from tests.images.test_corruptions import as_bytes, cifar, constants

pytestmark = pytest.mark.throughput

IMAGES, ONE_BY_ONE, SEVERITY, ROUNDS, WARM_UP = 1000, 100, 3, 15, 2
LEAST = 10.0
"""What the median of all corruptions' ratios, public / ours, must be."""
ROWS: dict[str, Timing] = {}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    keep_freed_memory()  # as runs have it
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """By the processor, which what else the machine does concerns little, and by the clock on the wall; once warm, as
    after the first of many batches, not with caches full of the other implementation's data.
    """
    run()
    start = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - start[0], time.perf_counter() - start[1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption(name, benchmark):
    given = cifar(IMAGES)
    x, pictures = as_bytes(given), [Image.fromarray(image) for image in given[:ONE_BY_ONE]]
    theirs, generator = getattr(public(constants(CIFAR)), name), torch.Generator().manual_seed(0)
    one_by_one, ours = [], []

    def turn() -> None:
        one_by_one.append(seconds(lambda: [np.uint8(theirs(picture, SEVERITY)) for picture in pictures]))
        ours.append(seconds(lambda: CORRUPTIONS[name](x, SEVERITY, generator)))

    benchmark.pedantic(turn, rounds=ROUNDS, warmup_rounds=WARM_UP)
    row = ROWS[name] = Timing(name, of_an_image(ours, IMAGES), of_an_image(one_by_one, ONE_BY_ONE))
    benchmark.extra_info.update(ratios={clock: row.ratio(clock)._asdict() for clock in CLOCKS})
    assert row.ratio("processor").median > 0.5  # none is much slower


def of_an_image(measured: list[tuple[float, float]], images: int) -> dict[str, list[float]]:
    """By clock, without the rounds to warm up."""
    return {clock: [round(pair[i] / images, 9) for pair in measured[WARM_UP:]] for i, clock in enumerate(CLOCKS)}


def test_the_median_corruption_is_ten_times_as_fast(request):
    if set(ROWS) != set(CORRUPTIONS):
        pytest.skip("needs the times of all corruptions, from the tests before it")
    record = CorruptionCosts(
        command=shlex.join(["pytest", *request.config.invocation_params.args]),
        public=f"imagecorruptions {version('imagecorruptions')}, with the changes in tests/imagenet_c.py",
        data="The first test images of CIFAR-10, 32 x 32",
        severity=SEVERITY,
        images=IMAGES,
        one_by_one=ONE_BY_ONE,
        rows=list(ROWS.values()),
        environment=environment({}, torch.device("cpu")),
    )
    table("", cells(record), HEADS)
    if folder := request.config.getoption("records"):
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        record.save(folder / FOLDER)
    assert min(map(record.median, CLOCKS)) >= LEAST
