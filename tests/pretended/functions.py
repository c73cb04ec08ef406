"""What stands for functions of `torch` and `torch.cuda` that do not go through `Names`."""

import contextlib
import time
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tests.pretended.device import CPU, CUDA, MODES, NAME, Device, is_cuda, tensors
from tests.pretended.graphs import Graph, Pool


class Stream:
    """Of the work of the device, which is done at once."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = CUDA

    def wait_stream(self, stream: "Stream") -> None:
        """There is nothing to wait for."""


class Event:
    """A time by the clock of the CPU."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.seconds = 0.0

    def record(self, stream: Stream | None = None) -> None:
        self.seconds = time.perf_counter()

    def elapsed_time(self, end: "Event") -> float:
        return 1000 * (end.seconds - self.seconds)


def of_cuda(device: Device) -> dict[str, Any]:
    """Of `torch.cuda`."""
    stream = Stream()

    def nothing(*args: Any, **kwargs: Any) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()

    return {
        **{"is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0},
        **{"init": nothing, "empty_cache": nothing, "device": nothing, "stream": nothing},
        **{"Stream": Stream, "Event": Event, "current_stream": lambda device_=CUDA: stream},
        **{"get_device_name": lambda device_=CUDA: NAME, "get_device_capability": lambda device_=CUDA: (9, 0)},
        "get_device_properties": lambda device_=CUDA: SimpleNamespace(name=NAME, total_memory=2**36, major=9, minor=0),
        "is_bf16_supported": lambda including_emulation=True: True,
        "synchronize": lambda device_=CUDA: device.wait("synchronize", told=False),
        **_of_random(device),
        **_of_debugging(device),
        **_of_memory(device),
        **_of_graphs(device),
    }


def of_accelerator(device: Device) -> dict[str, Any]:
    """Of `torch.accelerator`, which optimisers ask from torch 2.14 on."""
    stream = SimpleNamespace(is_capturing=lambda: device.recording is not None)
    return {
        "current_accelerator": lambda check_available=False: CUDA,
        "current_stream": lambda device_=CUDA: stream,
    }


def _of_random(device: Device) -> dict[str, Any]:
    def get_rng_state(device_: Any = CUDA) -> Tensor:
        if device.recording:
            device.wait("get_rng_state")
        return device.random.clone()

    def set_rng_state(state: Tensor, device_: Any = CUDA) -> None:
        device.random = state.clone()

    def manual_seed(seed: int) -> None:
        device.random = torch.Generator().manual_seed(seed).get_state()

    class Default:
        """The device's generator, of which a copy of its state has begun no capture."""

        def clone_state(self) -> None:
            """Its numbers are kept in the device."""

        def graphsafe_set_state(self, state: None) -> None:
            device.stuck = False

    return {
        "default_generators": (Default(),),
        **{"get_rng_state": get_rng_state, "set_rng_state": set_rng_state},
        **{"manual_seed": manual_seed, "manual_seed_all": manual_seed},
    }


def _of_debugging(device: Device) -> dict[str, Any]:
    def set_sync_debug_mode(mode: int | str) -> None:
        warnings.warn("Synchronization debug mode is a prototype feature and does not yet detect all", stacklevel=2)
        device.sync_mode = MODES.index(mode) if isinstance(mode, str) else mode

    return {"set_sync_debug_mode": set_sync_debug_mode, "get_sync_debug_mode": lambda: device.sync_mode}


def _of_memory(device: Device) -> dict[str, Any]:
    def reset_peak_memory_stats(device_: Any = CUDA) -> None:
        device.there.peak = device.there.bytes

    def now(device_: Any = CUDA) -> int:
        return device.there.bytes

    def most(device_: Any = CUDA) -> int:
        return device.there.peak

    return {
        **{"memory_allocated": now, "memory_reserved": now, "max_memory_allocated": most, "max_memory_reserved": most},
        "reset_peak_memory_stats": reset_peak_memory_stats,
    }


def _of_graphs(device: Device) -> dict[str, Any]:
    @contextlib.contextmanager
    def graph(graph: Graph, pool: Pool | None = None, stream: Any = None, **kwargs: Any) -> Iterator[None]:
        graph.capture_begin(pool)
        try:
            yield
        finally:
            graph.capture_end()

    return {
        "CUDAGraph": type("CUDAGraph", (Graph,), {"device": device}),
        **{"graph": graph, "graph_pool_handle": Pool},
        "is_current_stream_capturing": lambda: device.recording is not None,
    }


def of_torch(device: Device) -> dict[str, Any]:
    """Of `torch`: autocast is that of the CPU, and what is loaded onto the device is put there."""
    load, is_autocast_enabled, get_autocast_dtype = torch.load, torch.is_autocast_enabled, torch.get_autocast_dtype

    class Autocast(torch.autocast):
        def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    def loaded(file: Any, map_location: Any = None, **kwargs: Any) -> Any:
        found = load(file, map_location=CPU if is_cuda(map_location) else map_location, **kwargs)
        for tensor in tensors(found) if is_cuda(map_location) else []:
            device.there.add(tensor)
        return found

    return {
        **{"autocast": Autocast, "load": loaded},
        "is_autocast_enabled": lambda kind="cpu": is_autocast_enabled("cpu" if kind == "cuda" else kind),
        "get_autocast_dtype": lambda kind: get_autocast_dtype("cpu" if kind == "cuda" else kind),
    }
