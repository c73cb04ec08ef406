"""Time per image of each corruption beside the public implementation, on the CPU with one thread.

Run with `pytest -n 0 -m throughput tests/throughput/test_corruptions.py -s`. Ratios and their quartiles go into
pytest-benchmark's output (`--benchmark-json FILE`). What is published is measured in the same way by
`tools/corruptions.py`.
"""

from collections.abc import Iterator

import pytest

from bench.cli.common import table
from bench.images.corruptions import CORRUPTIONS
from bench.throughput.corruptions import CLOCKS, HEADS, Timing, cells
from tests.images.test_corruptions import as_bytes, cifar
from tools.corruptions import IMAGES, measure, one_thread, record_of

pytestmark = pytest.mark.throughput

LEAST = 10.0
"""What the median of all corruptions' ratios, public / ours, must be."""
ROWS: dict[str, Timing] = {}


@pytest.fixture(autouse=True, scope="module")
def alone() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruption(name, benchmark):
    images = as_bytes(cifar(IMAGES))
    row = measure(name, images, repeat=lambda turn, n: benchmark.pedantic(turn, rounds=n, iterations=1))
    ROWS[name] = row
    benchmark.extra_info.update(ratios={clock: row.ratio(clock)._asdict() for clock in CLOCKS})
    assert row.ratio("processor").median > 0.5  # none is much slower


def test_the_median_corruption_is_ten_times_as_fast():
    if set(ROWS) != set(CORRUPTIONS):
        pytest.skip("needs the times of all corruptions, from the tests before it")
    record = record_of(list(ROWS.values()), command="pytest")
    table("", cells(record), HEADS)
    assert min(map(record.median, CLOCKS)) >= LEAST
