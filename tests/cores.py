"""The cores, shared out among the processes that run the tests. Nothing here loads what reads the settings."""

import os
from collections.abc import Mapping
from pathlib import Path

SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""Of OpenMP, which torch goes by, and of libraries with threads of their own, which read them when they are loaded."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def share(environment: Mapping[str, str], cores: int) -> dict[str, str]:
    """What to add to the environment of a worker of pytest-xdist, and so of the processes that its tests start: its
    part of the cores. Nothing where there are no workers, or where the user has set OMP_NUM_THREADS.
    """
    workers = int(environment.get("PYTEST_XDIST_WORKER_COUNT", 0))
    if not workers or "OMP_NUM_THREADS" in environment:
        return {}
    return {name: str(max(1, cores // workers)) for name in SETTINGS if name not in environment}


def usable_cores(quota: Path = QUOTA) -> int:
    """Those that this process may use: of the machine's, what its affinity and the quota of its container leave."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit, period = quota.read_text().split() if quota.exists() else ("max", "")
    return allowed if limit == "max" else max(1, min(allowed, int(limit) // int(period)))
