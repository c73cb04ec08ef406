"""Training steps of the methods with a look-ahead and of their rivals, under pytest-benchmark; each of its rounds is
one turn of all of them.

Run with `pytest -n 0 -m throughput tests/throughput/test_step.py --benchmark-json FILE`; FILE holds the ratios and
the whole records, and `bench throughput --compare FILE` fails where a ratio got worse.
"""

import pytest
import torch

from bench.registry import installed
from bench.throughput import Conditions
from bench.throughput.measure import measure
from tests.experiments import CPU_AND_GPU

pytestmark = pytest.mark.throughput

METHODS = ("forml", "l2rw", "meta_weight_net")
MOST = {
    "resnet18": {"forml": 3.4, "l2rw": 3.1, "meta_weight_net": 3.5},
    "resnet18_quarter": {"forml": 2.7},
    "mlp": {"forml": 2.7},
    "mlp_quarter": {"forml": 2.2},
    "byrd_cnn": {"forml": 2.7},
    "byrd_cnn_quarter": {"forml": 2.0},
}
"""Times of ERM's step that a step may take, on a CPU with one thread."""
MOST_STACKED = {"logistic_stacked": {"forml": 1 / 10}, "mlp_stacked": {"forml": 1 / 6}}
"""Time of stacked runs relative to the same runs one after the other."""


@pytest.mark.parametrize("device", CPU_AND_GPU)
@pytest.mark.parametrize("name", installed().offers["workloads"])
def test_step(name, device, benchmark):
    workload = installed().find("workloads", name).value
    conditions = Conditions(device=device, threads=torch.get_num_threads(), methods=METHODS)
    record = measure(
        name, workload, conditions, installed(), repeat=lambda turn, n: benchmark.pedantic(turn, rounds=n, iterations=1)
    )
    ratios = {row.label: record.ratio(row) for row in record.timed}
    gains = {row.label: gain for row in record.timed if (gain := record.gain(row))}
    benchmark.extra_info.update(ratios=ratios, record=record.values())
    print(
        f"\n{name} on {device}:",
        *(f"{label} {q.median:.2f} [{q.low:.2f}, {q.high:.2f}]" for label, q in ratios.items()),
    )
    assert [row for row in record.rows if row.failed and not row.rival_of] == []
    limits = [(ratios, MOST.get(name, {})), (gains, MOST_STACKED.get(name, {}))] if device == "cpu" else []
    assert [m for found, most in limits for m in most if found[m].median > most[m]] == []
