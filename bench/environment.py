"""The machine and the code that a record comes from."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.registry import Plugin

LIBRARIES = ("reweight-bench", "torch", "torchvision", "timm", "numpy")


def environment(plugins: Mapping[str, Plugin], device: torch.device) -> dict[str, Any]:
    """Versions, device, the plugins used and the state of the source, where it is a git checkout."""
    cuda = device.type == "cuda"
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
        "plugins": {use: str(plugin) for use, plugin in plugins.items()},
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "platform": sys.platform,
        "git": _git(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"CPU {name or platform.machine()}"


def _git() -> dict[str, Any] | None:
    """Commit of the checkout that `bench` is imported from, and whether it has uncommitted changes."""

    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # else it is installed below somebody else's checkout
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", ".", "../plugins")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None
