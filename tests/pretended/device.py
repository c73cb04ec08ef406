"""The state of a pretended device: what lies on it, and when the host waits for it."""

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

if TYPE_CHECKING:
    from tests.pretended.graphs import Graph

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
NAME = "pretended"
MODES = ("default", "warn", "error")  # of torch.cuda.set_sync_debug_mode
CAPTURING = "CUDA error: operation not permitted when stream is capturing"


class Storages:
    """Storages of tensors, known by their addresses. A weak reference keeps the address of a dead one from use."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bytes, self._full = 0, 1000
        self.peak = 0  # bytes

    def add(self, tensor: Tensor) -> None:
        if tensor not in self:
            storage = tensor.untyped_storage()
            self._held[address(tensor)] = StorageWeakRef(storage), storage.nbytes()
            self._bytes += storage.nbytes()
            if len(self._held) > self._full:
                self._full = 1000 + 2 * self.alive
            self.peak = max(self.peak, self._bytes)

    def remove(self, tensor: Tensor) -> None:
        self._bytes -= self._held.pop(address(tensor), (None, 0))[1]

    def __contains__(self, tensor: Tensor) -> bool:
        return address(tensor) in self._held

    @property
    def alive(self) -> int:
        """How many."""
        self._held = {key: (ref, size) for key, (ref, size) in self._held.items() if not ref.expired()}
        self._bytes = sum(size for _, size in self._held.values())
        return len(self._held)

    @property
    def bytes(self) -> int:
        return self._bytes if self.alive else 0


class Device:
    """What is known of the device.

    waits: what made the host wait, in order. there, pinned: what lies on it, and in pinned memory.
    ambient: of the functions that are being called, whether what they make out of nothing belongs on the device.
    random: the state of its generator. recording: the graph that is being captured.
    sync_mode: number of one of MODES.
    keeps_failing, stuck: before torch 2.12 a capture that fails never ends, for the generator and for the allocator.
    """

    keeps_failing = torch.__version__ < (2, 12)

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.there, self.pinned = Storages(), Storages()
        self.ambient = [False]
        self.random = torch.Generator().manual_seed(0).get_state()
        self.recording: Graph | None = None
        self.sync_mode, self.stuck = 0, False

    def wait(self, what: str, told: bool = True) -> None:
        """The host waits for the device. told: whether `set_sync_debug_mode` sees it."""
        if self.recording:
            self.recording.broken = True
            raise RuntimeError(f"{CAPTURING}: {what}")
        self.waits.append(what)
        message = f"called a synchronizing CUDA operation: {what}"
        if told and MODES[self.sync_mode] == "error":
            raise RuntimeError(message)
        if told and MODES[self.sync_mode] == "warn":
            warnings.warn(message, stacklevel=2)

    def run(self, operator: Any, args: Any, kwargs: Any) -> Any:
        """Call an operator. Where it draws from the default generator, that is the device's."""
        if torch.Tag.nondeterministic_seeded not in operator.tags or kwargs.get("generator"):
            return operator(*args, **kwargs)
        if self.stuck:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        cpu = torch.default_generator.get_state()
        torch.default_generator.set_state(self.random)
        out = operator(*args, **kwargs)
        self.random = torch.default_generator.get_state()
        torch.default_generator.set_state(cpu)
        return out


class Generator(torch.Generator):
    """One of the CPU that says where it is."""

    def __new__(cls, device: Any = CPU) -> "Generator":
        return super().__new__(cls, CPU)

    def __init__(self, device: Any = CPU) -> None:
        self._where = CUDA if is_cuda(device) else CPU

    @property
    def device(self) -> torch.device:
        return self._where


def address(tensor: Tensor) -> int:
    """Of its storage."""
    found: int = torch._C._storage_address(tensor)
    return found


def is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def tensors(*trees: Any) -> list[Tensor]:
    """Those among the arguments or results of an operator, also in lists and dictionaries."""
    found = []
    for tree in trees:
        if isinstance(tree, Tensor):
            found.append(tree)
        elif isinstance(tree, list | tuple) and tree and not isinstance(tree[0], int | float):  # sizes, data
            found += tensors(*tree)
        elif isinstance(tree, dict):
            found += tensors(*tree.values())
    return found
