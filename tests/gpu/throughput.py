"""A short `bench throughput` on the device: its columns are filled and plausible. No time is judged."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch

from bench.models.operators import Operators
from bench.registry import installed
from bench.throughput import Conditions, ThroughputRecord, Workload, counts, measure
from bench.throughput.record import EAGER
from bench_plugins.rivals.captured_loop import CapturedLoop
from tests.gpu.common import batch, dataset, exact, experiment, is_gpu, small, trained

METHODS = ("forml",)


def workload(device: torch.device, name: str) -> Workload:
    if name == "mlp_stacked":
        return Workload("mlp", (20,), 2, {"hidden": (32,)}, batch_size=64, stack=3)
    if is_gpu(device):
        return Workload("resnet18", (3, 32, 32), 10, batch_size=128)
    return Workload("byrd_cnn", (3, 20, 20), 2, batch_size=10)


def measured(device: torch.device, name: str, **conditions: object) -> ThroughputRecord:
    given = Conditions(device=device.type, rounds=2, methods=METHODS, rivals=False, **conditions)  # type: ignore[arg-type]
    without_profiler = device.type == "cuda" and not is_gpu(device)
    with patch.object(counts, "_kernels", operators) if without_profiler else nullcontext():
        return measure.measure(name, workload(device, name), given, installed())


def operators(step: Callable[[], object], device: torch.device) -> int:
    """In place of kernels."""
    with Operators() as found:
        step()
    return found.calls


def plausible(record: ThroughputRecord, device: torch.device) -> str:
    cuda, told = device.type == "cuda", []
    for row in record.rows:
        assert not row.error, f"{row.label}: {row.error}"
        assert min(row.seconds) > 0 and row.flops and row.calls, row
        assert row.peak_bytes or not cuda, row
        captured = cuda or (not row.way and record.workload.stack > 1)
        assert row.captured == (captured and row.way != EAGER), row
        assert row.waits == 0, f"{row.label} waits {row.waits} times for the device"
        told.append(f"{row.label} {row.calls} calls")
    assert record.environment.device == (torch.cuda.get_device_name() if cuda else record.environment.device)
    return ", ".join(told)


def check_steps_on_images_in_bf16(device: torch.device) -> str:
    return plausible(measured(device, "images", precision="bf16", channels_last=True), device)


def check_steps_of_stacked_runs(device: torch.device) -> str:
    return plausible(measured(device, "mlp_stacked"), device)


def check_the_hand_written_loop_trains_as_erm_does(device: torch.device) -> str:
    """Its graph is captured for batches of two sizes and, as the learning rate falls, for each rate."""
    data = dataset(device, 6 * batch(device) + batch(device) // 2)
    given = small(experiment(data, recipe__epochs=3, recipe__milestones=(0.5,)), device)
    by_hand = replace(given, method=_Captured, method_name="captured_loop")
    with exact():
        (_, found), (_, expected) = (trained(made, device, eager=True) for made in (by_hand, given))
    logits, others = (of["test/last"].astype(np.float32) for of in (found, expected))
    far = float((np.abs(logits - others) - 2.0**-10 * np.abs(others)).max())  # but for one rounding to float16
    assert far < 1e-3, f"logits differ by {far:.1e}"
    return f"logits {'bit for bit' if np.array_equal(logits, others) else f'up to {max(far, 0):.1e} and float16'}"


class _Captured(CapturedLoop):
    """Says in the end whether a graph was captured, on a GPU."""

    def end_epoch(self, epoch: int) -> None:
        assert self.captured_for or not self.on_gpu, "nothing was captured"
