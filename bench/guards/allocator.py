"""Settings of glibc's allocator for freed memory. On systems without glibc the functions do nothing."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Keep freed memory in this process for the next allocation.

    By default glibc returns large freed blocks to the system, and the next training step gets fresh pages for them.
    That costs several percent of a step on the CPU, and more for steps that need more memory.
    """
    _mallopt({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: 2**26})


def return_freed_memory() -> None:
    """Return freed blocks of more than 64 KiB to the system at once, so that resident memory is memory in use.

    This is for measurements of memory.
    """
    _mallopt({M_MMAP_THRESHOLD: 2**16})


def _mallopt(settings: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for name, value in settings.items():
            mallopt(name, value)
