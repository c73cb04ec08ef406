"""What glibc's allocator does with memory that is freed. On other systems nothing is changed."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep freed memory in this process for the next allocation.

    By default glibc gives large blocks back to the system, and gets them again as fresh pages in the next training
    step. That costs a step on the CPU several percent, and the more, the more memory it needs.
    """
    _mallopt({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: 2**26})


def return_freed_memory() -> None:
    """Give freed blocks of more than 64 KiB back to the system at once, so that resident memory is memory in use. For
    measurements of memory.
    """
    _mallopt({M_MMAP_THRESHOLD: 2**16})


def _mallopt(settings: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for name, value in settings.items():
            mallopt(name, value)
