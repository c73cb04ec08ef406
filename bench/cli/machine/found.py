"""What `bench doctor` finds out about versions, devices, plugins and folders. Torch is imported where it is asked."""

import os
import platform
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench import __version__
from bench.cli.machine.lines import LOOK, OK, Line
from bench.data.files import default_root
from bench.errors import DeviceError, StoreError
from bench.records.files import check_writable
from bench.registry import KINDS, Plugin
from bench.text import join_first

if TYPE_CHECKING:
    from bench.registry import Registry
    from bench.store.claims import RunClaim

DISTRIBUTION = "reweight-bench"
OPTIONAL = ("ray", "submitit", "tensorboard", "mlflow", "wandb")
"""What runs can be sent to or followed with, beside the packages in extras of the distribution."""
FOR_TESTS = "test"
"""The extra whose packages are not looked for."""
NAMED_CLAIMS, NAMED_PLUGINS = 5, 3
"""Claims, and plugins that are broken for one reason, up to which each is named."""


def python() -> Iterator[Line]:
    """Python, and the system that it runs on."""
    yield Line("python", f"{platform.python_version()} ({sys.implementation.name}), {platform.platform()}")


def bench(registry: "Registry") -> Iterator[Line]:
    """The version of this project, with the hash of its core and, in a checkout, the commit."""
    from bench.runs.environment import git_state
    from bench.sources.closure import core_hash
    from bench.sources.installed import INSTALLED

    git = git_state(registry.plugins)
    commit = f", commit {git.commit[:12]}{' with changes' if git.dirty else ''}" if git else ""
    yield Line("bench", f"{__version__}, core {core_hash(INSTALLED)}{commit}")


def libraries() -> Iterator[Line]:
    """The versions of the libraries that this project needs. None of them is imported."""
    installed, missing = _versions([name for name, extra in _requirements() if not extra])
    if missing:
        yield Line("libraries", f"not installed: {', '.join(missing)}", LOOK, broken=True)
    if installed:
        yield Line("libraries", ", ".join(installed), "" if missing else OK)


def optional() -> Iterator[Line]:
    """The versions of packages that it can do without."""
    of_extras = [name for name, extra in _requirements() if extra not in ("", FOR_TESTS)]
    installed, missing = _versions(list(dict.fromkeys([*OPTIONAL, *of_extras])))
    found = [", ".join(installed)] if installed else []
    found += [f"not installed: {', '.join(missing)}"] if missing else []
    yield Line("optional", "; ".join(found))


def _requirements() -> list[tuple[str, str]]:
    """The packages that the distribution names, each with its extra; empty for one that is needed everywhere."""
    found = []
    for requirement in metadata.requires(DISTRIBUTION) or []:
        name = re.split(r"[^\w.-]", requirement)[0]
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", requirement)
        if name != DISTRIBUTION and (extra or ";" not in requirement):  # what is needed in some places only is left out
            found.append((name, extra[1] if extra else ""))
    return found


def _versions(names: list[str]) -> tuple[list[str], list[str]]:
    """Each installed package with its version, and the names of those that are not installed."""
    installed, missing = [], []
    for name in names:
        try:
            installed.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    return installed, missing


def processor() -> Iterator[Line]:
    """The processor."""
    from bench.runs.environment import processor

    yield Line("processor", processor().removeprefix("CPU "))


def memory() -> Iterator[Line]:
    """The memory of the machine, and how much of it a new process can have."""
    from rich.filesize import decimal

    about = Path("/proc/meminfo")
    if about.exists():
        kilobytes = {name: int(value) for name, value in re.findall(r"(\w+): +(\d+) kB", about.read_text())}
        total, free = 1024 * kilobytes["MemTotal"], 1024 * kilobytes["MemAvailable"]
        yield Line("memory", f"{decimal(total)}, of which {decimal(free)} are free")
    else:
        yield Line("memory", decimal(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))


def gpus() -> Iterator[Line]:
    """The GPUs that torch can use, with their memory, the driver and the libraries."""
    import torch
    from rich.filesize import decimal

    from bench.runs.environment import driver, gpu

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number in range(count):
        about, (free, total) = gpu(torch.device("cuda", number)), torch.cuda.mem_get_info(number)
        libraries = f"driver {about['driver']}, CUDA {about['cuda']}, cuDNN {about['cudnn']}"
        yield Line("gpu", f"{about['name']}, {decimal(total)}, of which {decimal(free)} are free; {libraries}", OK)
    if not count:
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        there = f", and there is a driver {driver()}" if driver() else ""
        yield Line("gpu", f"none that torch can use: {built}{there}", LOOK if there else "")


def device(asked: str) -> Iterator[Line]:
    """The device that is asked for."""
    from bench.runs.runner import device_of

    try:
        yield Line("device", f"{asked}: {device_of(asked)}", OK)
    except DeviceError as error:
        yield Line("device", str(error), LOOK, broken=True)


def cores() -> Iterator[Line]:
    """The cores that this process may use, and how busy the machine is."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{usable} usable of {os.cpu_count()}"
    if not hasattr(os, "getloadavg"):  # Windows has none
        yield Line("cores", found)
        return
    load = os.getloadavg()[0]
    yield Line("cores", f"{found}, load of the last minute {load:.2f}", LOOK if load > usable else OK)


def threads() -> Iterator[Line]:
    """The threads that torch takes on a CPU where nothing else is asked for."""
    import torch

    asked = os.environ.get("OMP_NUM_THREADS")
    yield Line("threads", f"torch takes {torch.get_num_threads()}; OMP_NUM_THREADS is {asked or 'not set'}")


def plugins(registry: "Registry") -> Iterator[Line]:
    """What each distribution offers, with the hash of its code, and the plugins that could not be loaded."""
    codes = _codes([*registry.plugins, *registry.broken])
    for distribution, count in Counter(map(_distribution, registry.plugins)).items():
        code = f"code {codes[distribution]}" if distribution in codes else "its code cannot be hashed"
        offered = [_counted(count, "plugins")]
        for kind in KINDS:
            if number := sum(_distribution(offer.plugin) == distribution for offer in registry.offers[kind].values()):
                offered.append(_counted(number, kind))
        yield Line("plugins", f"{distribution}, {code}: {', '.join(offered)}", OK)
    broken: dict[tuple[str, str], list[str]] = defaultdict(list)
    for plugin, why in registry.broken.items():
        broken[_distribution(plugin), why].append(plugin.name)
    for (distribution, why), names in broken.items():
        told = f"{join_first(names, NAMED_PLUGINS)} ({distribution}) could not be loaded: {why}"
        yield Line("plugins", told, LOOK, broken=True)
    if not registry.plugins:
        yield Line("plugins", "none could be loaded", LOOK, broken=True)


def _distribution(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}"


def _codes(every: list[Plugin]) -> dict[str, str]:
    try:
        from bench.runs.code import code_of_distributions

        return code_of_distributions(every)
    except Exception:  # such as where torch cannot be imported, which other lines say
        return {}


def _counted(count: int, what: str) -> str:
    words = what.replace("datasets", "data sets")
    return f"{count} {words.removesuffix('s') if count == 1 else words}"


def data_folder(given: Path | None) -> Iterator[Line]:
    """The folder of data files. One that cannot be written to is no error, if all that is needed lies in it."""
    where = "--data-dir" if given else "$BENCH_DATA" if os.environ.get("BENCH_DATA") else "the platform's cache folder"
    folder = given or default_root()
    state, writable = _writable(folder)
    yield Line("data folder", f"{folder} ({where}), {state}", OK if writable else LOOK)


def out_folder(out: Path) -> Iterator[Line]:
    """The folder of records."""
    for folder in (out, out / "results"):
        state, writable = _writable(folder)
        if not writable:
            break
    yield Line("records", f"{folder}, {state}", OK if writable else LOOK, broken=not writable)


def _writable(folder: Path) -> tuple[str, bool]:
    """Whether a folder can be written to, in words with the space that is left, and as a truth value."""
    from rich.filesize import decimal

    try:
        check_writable(folder)
    except StoreError as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        return f"cannot be written to: {why}", False
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    left = f"{decimal(shutil.disk_usage(existing).free)} are free"
    return (f"can be written, {left}" if folder.exists() else f"not there yet, can be made, {left}"), True


def claims(out: Path) -> Iterator[Line]:
    """The claims on runs, of processes that make them and of those that have ended. Nothing is changed."""
    from bench.store.claims import NAME, RunClaim, holder_of

    folder, now = out / "results", time.time()
    told = []
    stale = 0
    for base in sorted(folder.rglob("*.claim")):
        run = NAME.fullmatch(base.relative_to(folder).as_posix())
        held = holder_of(base, now)
        claim = held or RunClaim.read(base)
        if run and claim:
            stale += not held
            told.append(f"{run[1]} by {claim}, {_age(claim, now)} old" + ("" if held else " and stale"))
    found = f"{len(told):,}: {join_first(told, NAMED_CLAIMS, '; ')}" if told else "none"
    yield Line("claims", found + (" (stale: the next command takes it over)" if stale else ""), LOOK if stale else OK)


def _age(claim: "RunClaim", now: float) -> str:
    """The time since a claim was made; if it does not say when, since its file was last touched."""
    made = claim.touched
    with suppress(ValueError):
        made = datetime.fromisoformat(claim.time).timestamp()
    seconds = max(0.0, now - made)
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
