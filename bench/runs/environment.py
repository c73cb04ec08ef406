"""The machine, the libraries and the state of the source that a record comes from."""

import ast
import functools
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records.sections import Environment, Git
from bench.registry import Plugin

if TYPE_CHECKING:
    import torch  # imported late here, so that the machine can be described where torch cannot be imported

LIBRARIES = ("reweight-bench", "torch", "torchvision", "numpy")
"""Distributions that every run computes with."""


def environment(plugins: Mapping[str, Plugin], device: "torch.device", left_behind: Sequence[str] = ()) -> Environment:
    """Describe what a run was computed with, for its record.

    Args:
        plugins: use, such as `method` -> plugin, for all plugins of the run.
        device: the device of the model.
        left_behind: settings of the process that the run had changed and not put back, in words.

    Returns:
        The section of the record: versions, device, how numbers are rounded, plugins, and the git commit if `bench` is
        imported from a checkout.
    """
    cuda = device.type == "cuda"
    return Environment(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        versions=versions(plugins.values()),
        plugins={use: str(plugin) for use, plugin in plugins.items()},
        device=device_name(device),
        platform=sys.platform,
        numerics=_numerics(),
        git=git_state(plugins.values()),
        gpu=gpu(device) if cuda else {},
        left_behind=list(left_behind),
    )


def versions(plugins: Iterable[Plugin]) -> dict[str, str]:
    """The versions of the libraries that a run computes with: LIBRARIES, and those that its plugins import.

    Args:
        plugins: the plugins of the run.

    Returns:
        Distribution -> its version.
    """
    imported = {name for plugin in plugins for name in _imported(plugin.module)}
    return {name: version(name) for name in [*LIBRARIES, *sorted(imported - set(LIBRARIES))]}


@functools.cache
def _imported(module: str) -> frozenset[str]:
    """Distributions that a module of a plugin imports anywhere in its source; empty if the source cannot be read."""
    spec = find_spec(module) if module else None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return frozenset()
    packages = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.partition(".")[0])
    return frozenset(name for package in packages for name in _distributions().get(package, [])[:1])


@functools.cache  # it takes half a second
def _distributions() -> Mapping[str, list[str]]:
    """Top package -> the distributions that install it."""
    return packages_distributions()


def _numerics() -> dict[str, Any]:
    """The precision of matrix products in float32, and whether torch uses deterministic algorithms only."""
    import torch

    return {
        "float32_matmul_precision": _float32_matmul_precision(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def _float32_matmul_precision() -> str | None:
    """Torch's setting; None if it was made by torch's newer names, for which this older function raises an error."""
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def gpu(device: "torch.device") -> dict[str, Any]:
    """The GPU, its driver and libraries, and the settings that the numbers and times of a run depend on.

    By default torch allows TF32, whose mantissa has 10 bits like that of float16, for convolutions of float32, and
    does not allow it for matrix products.

    Args:
        device: the GPU.
    """
    import torch

    properties, cudnn = torch.cuda.get_device_properties(device), torch.backends.cudnn
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
        "float32_matmul": torch.backends.cuda.matmul.fp32_precision,
        "float32_convolution": cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "cudnn_deterministic": cudnn.deterministic,
        "cudnn_benchmark": cudnn.benchmark,
    }


@functools.cache  # it takes a second
def driver() -> str | None:
    """Version of the NVIDIA driver, the same for all GPUs of a machine; None if `nvidia-smi` does not give it."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def device_name(device: "torch.device") -> str:
    """The name of a device, as records have it.

    Args:
        device: the CPU or a GPU.
    """
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The name of the processor, as records have it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"CPU {name or platform.machine()}"


def git_state(plugins: Iterable[Plugin]) -> Git | None:
    """Commit of the git checkout that `bench` is imported from; None if it is imported from no checkout.

    Also whether there are uncommitted changes in the core or in the packages of plugins in the same checkout.

    Args:
        plugins: whose packages are looked at too.
    """
    here = Path(__file__).parents[1]
    root = here.parent
    packages = {folder for plugin in plugins if (folder := _package(plugin.module)) and folder.is_relative_to(root)}

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # fails if another project's checkout holds bench
        changes = git("status", "--porcelain", "--", *map(str, sorted({here, *packages})))
        return Git(git("rev-parse", "HEAD"), dirty=bool(changes))
    except (OSError, subprocess.CalledProcessError):
        return None


def _package(module: str) -> Path | None:
    """The folder of the top package that a module is in, or the file of a module that is in no package."""
    spec = find_spec(module.partition(".")[0]) if module else None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).resolve()
    return path.parent if path.name == "__init__.py" else path
