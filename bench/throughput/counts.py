"""What one step does, counted: calls, FLOPs, and how often it makes the host wait for a GPU."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from bench.models.operators import Operators, flops


class Counts(NamedTuple):
    """What one step does.

    Attributes:
        calls: kernels, copies and fills on a GPU; elsewhere operators that are no views.
        waits: how often the host waits for a GPU; elsewhere, calls that would wait.
        flops: of matrix products and convolutions.
    """

    calls: int
    waits: int
    flops: int


def counts(step: Callable[[], object], eager: Callable[[], object], device: torch.device) -> Counts:
    """Count what a step does.

    Args:
        step: makes one step when it is called.
        eager: makes the same step without replays; its FLOPs are counted, because a replay on a GPU does not tell them.
        device: on which the step runs.

    Returns:
        The counts of one step.
    """
    if device.type == "cuda":
        return Counts(_kernels(step, device), _waits(step), flops(eager))
    with Operators() as operators:
        step()
    return Counts(operators.calls, operators.waits, flops(eager))


def _kernels(step: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize(device)
    return sum(e.device_type.name == "CUDA" and not e.is_user_annotation for e in profiled.events())


def _waits(step: Callable[[], object]) -> int:
    """Torch's own count of calls that wait for the GPU."""
    with warnings.catch_warnings(record=True) as caught, sync_debug_mode("warn"):
        warnings.simplefilter("always")
        step()
    return sum("called a synchronizing CUDA operation" in str(w.message) for w in caught)


@contextmanager
def sync_debug_mode(mode: str) -> Iterator[None]:
    """Within this context, calls that wait for a GPU do what torch calls this mode.

    Args:
        mode: `default`, `warn` or `error`.
    """
    before = torch.cuda.get_sync_debug_mode()
    try:
        _set_sync_debug_mode(mode)
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype", UserWarning)
        torch.cuda.set_sync_debug_mode(mode)
