"""Time per image of each corruption beside the public implementation, on the CPU with one thread.

Run with `pytest -n 0 -m throughput tests/throughput/test_corruptions.py -s`. The two take turns in one process: a batch
of 1,000 images of 32 pixels at severity 3, and 20 of them one after the other. The ratio of the processor times of each
turn and its quartiles go into pytest-benchmark's output (`--benchmark-json FILE`).
"""

import statistics
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from bench.corruptions import CORRUPTIONS
from bench.corruptions.base import CIFAR
from tests.imagenet_c import public
from tests.test_corruptions import as_bytes, constants, photographs

pytestmark = pytest.mark.throughput

IMAGES, ONE_BY_ONE, SEVERITY = 1000, 20, 3
LEAST = 10.0
"""What the median of all corruptions' ratios, public / ours, must be."""
RATIOS: dict[str, float] = {}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def seconds(run: Callable[[], object]) -> float:
    """Of the processor: both have one thread, and what else the machine does counts little."""
    start = time.process_time()
    run()
    return time.process_time() - start


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption(name, benchmark):
    given = photographs(32)
    x = as_bytes(np.concatenate([given] * (IMAGES // len(given))))
    pictures = [Image.fromarray(image) for image in given[:ONE_BY_ONE]]
    theirs, generator = getattr(public(constants(CIFAR)), name), torch.Generator().manual_seed(0)
    times = []

    def turn() -> None:
        one_by_one = seconds(lambda: [np.uint8(theirs(picture, SEVERITY)) for picture in pictures])
        ours = seconds(lambda: CORRUPTIONS[name](x, SEVERITY, generator))
        times.append((one_by_one / ONE_BY_ONE, ours / IMAGES))

    benchmark.pedantic(turn, rounds=15, warmup_rounds=2)
    public_time, our_time = (1e6 * statistics.median(column) for column in zip(*times[2:], strict=True))
    low, median, high = statistics.quantiles([one_by_one / ours for one_by_one, ours in times[2:]], n=4)
    RATIOS[name] = median
    benchmark.extra_info.update(ratio=median, quartiles=[low, high], microseconds=our_time, public=public_time)
    print(
        f"\n{name}: {our_time:.1f} us, public {public_time:.0f} us: {median:.1f} [{low:.1f}, {high:.1f}] times as fast"
    )
    assert median > 0.5  # none is much slower


def test_the_median_corruption_is_ten_times_as_fast():
    if set(RATIOS) != set(CORRUPTIONS):
        pytest.skip("needs the ratios of all corruptions, from the tests before it")
    print(f"\nmedian: {statistics.median(RATIOS.values()):.1f}")
    assert statistics.median(RATIOS.values()) >= LEAST
