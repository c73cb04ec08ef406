"""The memory that training steps need, measured in a process of its own."""

import gc
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import torch

from bench.allocator import return_freed_memory


def peak_bytes(device: str, new_step: Callable[[], Callable[[], object]], steps: int) -> int | None:
    """The most memory in use during so many steps after the first, above what is in use once `new_step()` has returned.

    On a GPU what torch has allocated there, elsewhere the resident memory of the process. None where the platform tells
    neither (only Linux does) or forbids to reset the peak, or the process was killed. `new_step` goes to a fresh
    process, so it must pickle.
    """
    if not device.startswith("cuda") and not Path("/proc/self/status").exists():
        return None
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_peak_bytes, device, new_step, steps).result()
        except BrokenProcessPool:
            return None


def _peak_bytes(device: str, new_step: Callable[[], Callable[[], object]], steps: int) -> int | None:
    cuda = device.startswith("cuda")
    if not cuda:
        return_freed_memory()
    _call(new_step(), 1 + steps)  # what libraries allocate once is no need of a step
    gc.collect()
    step = new_step()
    before = torch.cuda.memory_allocated(device) if cuda else _status("VmRSS")
    step()  # gradients are allocated, and look-aheads choose how they work: only what stays of that counts
    try:
        torch.cuda.reset_peak_memory_stats(device) if cuda else Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # the peak would be that since the process began
        return None
    _call(step, steps)
    return (torch.cuda.max_memory_allocated(device) if cuda else _status("VmHWM")) - before


def _call(step: Callable[[], object], times: int) -> None:
    for _ in range(times):
        step()


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024
