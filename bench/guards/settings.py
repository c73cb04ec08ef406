"""Settings of the process that a run could leave changed for the next one, in one table with how to put them back."""

import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers
from torch.utils._device import DeviceContext

ALIVE: list[Any] = []
"""Guard objects of torch. They are stored here because each undoes its effect when nothing refers to it any more."""


@dataclass(frozen=True)
class Setting:
    """One part of the state of the process.

    Attributes:
        name: what it is, in words.
        read: returns its value, which later changes of the state do not change.
        write: sets it to a value that `read` has returned.
        reported: whether the record names it when a run has left another value behind. It does if the value could
            change the numbers of other runs and only a mistake leaves it behind. Other settings are put back silently,
            such as the state of generators and what libraries set when they are imported.
        evaluations: whether evaluations use the value from before the run, whatever the method has set.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    reported: bool = True
    evaluations: bool = False

    def value(self) -> Any:
        """The present value; UNREADABLE if reading it raises an error."""
        try:
            return self.read()
        except Exception:
            return UNREADABLE

    def put(self, before: Any) -> str:
        """Put a value back.

        Args:
            before: a value that `value` has returned. UNREADABLE changes nothing.

        Returns:
            The setting and both values in words; empty if the value was the same.
        """
        now = self.value()
        if before is UNREADABLE or now is before or _equal(now, before):
            return ""
        with suppress(Exception):
            self.write(before)
        values = f"{now} in place of {before}"
        return f"{self.name} ({values})" if len(values) <= SHORT else self.name


UNREADABLE = object()
"""Stands for the value of a setting that could not be read."""
SHORT = 80
"""The greatest number of characters of two values that a message shows."""


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # arrays are not equal as a whole
        return False


def _attribute(name: str, owner: Any, attribute: str) -> Setting:
    return Setting(name, lambda: getattr(owner, attribute), lambda value: setattr(owner, attribute, value))


def _set_inference_mode(value: bool) -> None:
    ALIVE.append(torch._C._InferenceMode(value))


def _read_autocast() -> tuple[Any, ...]:
    return tuple((kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda"))


def _write_autocast(value: tuple[Any, ...]) -> None:
    for kind, enabled, dtype in value:
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _read_deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _flushes_denormals() -> bool:
    """Whether denormal numbers are flushed to zero. Torch has no function for it, so such a number is computed."""
    return not torch.full((), 1e-310, dtype=torch.float64).mul(0.5).item()


def _read_modes() -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The active modes over torch's functions, such as a default device, and over its operators, the lowest first."""
    functions, operators = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    return (
        tuple(map(torch._C._get_function_stack_at, range(functions))),
        tuple(map(torch._C._get_dispatch_stack_at, range(operators))),
    )


def _write_modes(value: tuple[tuple[Any, ...], tuple[Any, ...]]) -> None:
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    while torch._C._len_torch_dispatch_stack():
        torch._C._pop_torch_dispatch_stack(None)
    for mode in value[0]:
        torch._C._push_on_torch_function_stack(mode)
    for mode in value[1]:
        torch._C._push_on_torch_dispatch_stack(mode)
    devices = [mode for mode in value[0] if isinstance(mode, DeviceContext)]
    torch._GLOBAL_DEVICE_CONTEXT.device_context = devices[0] if devices else None


GLOBAL_HOOKS = [hooks for owner in (modules, optimizers) for name, hooks in vars(owner).items() if "_global_" in name]
"""Torch's dictionaries of hooks that are called around every module and every optimiser."""


def _read_hooks() -> list[dict[Any, Any]]:
    return [dict(hooks) for hooks in GLOBAL_HOOKS if isinstance(hooks, dict)]


def _write_hooks(value: list[dict[Any, Any]]) -> None:
    for hooks, before in zip([h for h in GLOBAL_HOOKS if isinstance(h, dict)], value, strict=True):
        hooks.clear()
        hooks.update(before)


def _read_signals() -> dict[int, Any]:
    numbers = [number for number in signal.valid_signals() if number in HANDLED]
    return {number: signal.getsignal(number) for number in numbers}


HANDLED = {getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGPIPE")}
"""Signals whose handlers are put back; None for those that the system does not have."""


def _write_signals(value: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for number, handler in value.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _write_environment(value: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(value)


def _read_folder() -> str | None:
    with suppress(OSError):
        return os.getcwd()
    return None


def _write_folder(value: str | None) -> None:
    if value is not None:
        os.chdir(value)


def _write_warnings(value: list[Any]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]  # without this Python uses what it has cached of them


def _read_print_options() -> dict[str, Any]:
    return dict(vars(torch._tensor_str.PRINT_OPTS))


def _write_print_options(value: dict[str, Any]) -> None:
    vars(torch._tensor_str.PRINT_OPTS).update(value)


def _write_gc(value: bool) -> None:
    if value:
        gc.enable()
    else:
        gc.disable()


def _read_generators() -> tuple[Any, ...]:
    of_numpy = np.random.get_state(legacy=True)
    return torch.get_rng_state(), of_numpy, random.getstate()


def _write_generators(value: tuple[Any, ...]) -> None:
    torch.set_rng_state(value[0])
    np.random.set_state(value[1])
    random.setstate(value[2])


cudnn, cuda, mkldnn = torch.backends.cudnn, torch.backends.cuda, torch.backends.mkldnn
PRECISIONS = (torch.backends, cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)  # type: ignore[attr-defined]


def _read_precisions() -> tuple[str, ...]:
    return tuple(place.fp32_precision for place in PRECISIONS)


def _write_precisions(value: tuple[str, ...]) -> None:
    for place, precision in zip(PRECISIONS, value, strict=True):
        place.fp32_precision = precision


SETTINGS: tuple[Setting, ...] = (
    # This comes first, because a mode over torch's functions would change those that are called below.
    Setting("the default device, or a mode over torch's functions", _read_modes, _write_modes, evaluations=True),
    Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype, evaluations=True),
    Setting("inference mode", torch.is_inference_mode_enabled, _set_inference_mode, evaluations=True),
    Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled, evaluations=True),
    Setting("anomaly detection", torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    Setting("autocast", _read_autocast, _write_autocast, evaluations=True),
    Setting("autocast's cache", torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    Setting(
        "deterministic algorithms",
        _read_deterministic,
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    Setting("precision of products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    Setting("precision of float32", _read_precisions, _write_precisions),
    Setting("flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal, evaluations=True),
    _attribute("torch.backends.cudnn.enabled", cudnn, "enabled"),
    _attribute("torch.backends.cudnn.benchmark", cudnn, "benchmark"),
    _attribute("torch.backends.cudnn.deterministic", cudnn, "deterministic"),
    _attribute("torch.backends.mkldnn.enabled", mkldnn, "enabled"),
    _attribute("reductions in float16", cuda.matmul, "allow_fp16_reduced_precision_reduction"),
    _attribute("reductions in bfloat16", cuda.matmul, "allow_bf16_reduced_precision_reduction"),
    Setting("flash attention", cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
    Setting("memory-efficient attention", cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
    Setting("plain attention", cuda.math_sdp_enabled, cuda.enable_math_sdp),
    Setting("global hooks of modules and optimisers", _read_hooks, _write_hooks, evaluations=True),
    Setting("the current folder", _read_folder, _write_folder),
    Setting("handlers of signals", _read_signals, _write_signals),
    Setting("garbage collection", gc.isenabled, _write_gc),
    Setting("numpy's errors", np.geterr, lambda value: np.seterr(**value)),
    # A run, or a library that it imports, may set these with good reason.
    Setting("the number of threads", torch.get_num_threads, torch.set_num_threads, reported=False),
    Setting("generators", _read_generators, _write_generators, reported=False),
    Setting("environment variables", lambda: dict(os.environ), _write_environment, reported=False),
    Setting("filters of warnings", lambda: list(warnings.filters), _write_warnings, reported=False),
    Setting("sys.path", lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value), reported=False),
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, reported=False),
    Setting("torch's print options", _read_print_options, _write_print_options, reported=False),
    Setting("numpy's print options", np.get_printoptions, lambda value: np.set_printoptions(**value), reported=False),
    Setting("sys.stdout", lambda: sys.stdout, lambda value: setattr(sys, "stdout", value), reported=False),
    Setting("sys.stderr", lambda: sys.stderr, lambda value: setattr(sys, "stderr", value), reported=False),
)
"""Everything that is put back after a run, in the order in which it is put back."""
