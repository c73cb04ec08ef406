"""What glibc does with memory that is freed. Elsewhere nothing is changed."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep it for the next allocation. Given back to the system, as is usual for large blocks, it comes as fresh pages
    again in the next step, which costs a step on the CPU several percent, and more of them the more memory it needs.
    """
    _mallopt({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: 2**26})


def return_freed_memory() -> None:
    """Give blocks above 64 KiB back to the system, so that resident memory is memory in use."""
    _mallopt({M_MMAP_THRESHOLD: 2**16})


def _mallopt(settings: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for name, value in settings.items():
            mallopt(name, value)
