"""What has to hold on a GPU. Each group is a module of functions `check_*(device)`, and runs in a process of its own:

    python -m tests.gpu                          all groups, one after the other
    python -m tests.gpu runner --device cuda     one of them, in this process
    python -m tests.gpu --list                   their names

A check fails by an exception; what it returns, if anything, is shown. The default suite runs all of them on a pretended
device (`tests.pretended`), small; `pytest -m gpu` on a GPU. A line of a GPU's table is no claim about speed.
"""

import functools
import importlib
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch

GROUPS = ("runner", "methods", "protocols", "images", "waits", "throughput", "failures")
Check = Callable[[torch.device], str | None]


class Outcome(NamedTuple):
    """Of a check. trace: of its exception, else empty. message: in one line."""

    name: str
    seconds: float
    message: str
    trace: str

    def __str__(self) -> str:
        return f"{'FAIL' if self.trace else 'ok  '} {self.name} {self.seconds:.1f} {self.message}".rstrip()


def each(values: Iterable[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a check for each of the values, which is its second argument."""

    def mark(check: Callable[..., Any]) -> Callable[..., Any]:
        check.values = tuple(values)  # type: ignore[attr-defined]
        return check

    return mark


def checks(group: str) -> dict[str, Check]:
    """Those of a group, by name."""
    module, found = importlib.import_module(f"tests.gpu.{group}"), {}
    for name, check in vars(module).items():
        if name.startswith("check_"):
            own = f"{group}.{name.removeprefix('check_')}"
            for value in getattr(check, "values", ()):
                found[f"{own}[{value}]"] = functools.partial(_with_value, check, value)
            if not hasattr(check, "values"):
                found[own] = check
    return found


def _with_value(check: Callable[..., Any], value: str, device: torch.device) -> str | None:
    found: str | None = check(device, value)
    return found


def outcome(name: str, check: Check, device: torch.device) -> Outcome:
    start, message, trace = time.perf_counter(), "", ""
    try:
        message = check(device) or ""
    except Exception as error:
        trace = traceback.format_exc()
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return Outcome(name, time.perf_counter() - start, message, trace)
