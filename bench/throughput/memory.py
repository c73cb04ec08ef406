"""The memory that training steps need: counted by torch on a GPU, elsewhere measured in a process of its own."""

import gc
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import torch

from bench.guards.allocator import return_freed_memory


def peak_bytes(device: str, new_step: Callable[[], Callable[[], object]], steps: int) -> int | None:
    """The most memory in use during steps after the first, above what is in use once these are set up.

    On a GPU it is what torch has allocated there, whatever else is allocated. Elsewhere it is the resident memory of a
    fresh process, so that `new_step` must pickle.

    Args:
        device: as torch names it.
        new_step: sets up, and returns a function that makes one step.
        steps: number of steps after the first.

    Returns:
        Bytes; None if a GPU's memory does not suffice, if the platform does not tell the memory (only Linux does) or
        forbids to reset its peak, or if the process was killed.
    """
    if device.startswith("cuda"):
        try:
            return _gpu_peak(device, new_step, steps)
        except torch.OutOfMemoryError:
            return None
    if not Path("/proc/self/status").exists():
        return None
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_process_peak, new_step, steps).result()
        except BrokenProcessPool:
            return None


def _gpu_peak(device: str, new_step: Callable[[], Callable[[], object]], steps: int) -> int:
    """Of memory that torch has allocated, in this process, in which libraries have what they allocate once."""
    gc.collect()  # what is freed meanwhile would count as if the steps had freed it
    step = new_step()
    before = torch.cuda.memory_allocated(device)
    step()  # gradients are allocated, and look-aheads choose how they work: only what stays of that counts
    torch.cuda.reset_peak_memory_stats(device)
    _call(step, steps)
    return torch.cuda.max_memory_allocated(device) - before


def _process_peak(new_step: Callable[[], Callable[[], object]], steps: int) -> int | None:
    """Of resident memory, in a process that has nothing yet."""
    return_freed_memory()
    _call(new_step(), 1 + steps)  # what libraries allocate once is no need of a step
    gc.collect()
    step = new_step()
    before = _status("VmRSS")
    step()  # as above
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # the peak would be that since the process began
        return None
    _call(step, steps)
    return _status("VmHWM") - before


def _call(step: Callable[[], object], times: int) -> None:
    for _ in range(times):
        step()


def _status(name: str) -> int:
    line = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert line
    return int(line[1]) * 1024
