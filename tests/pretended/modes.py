"""What stands between a program and torch: functions see a CUDA device, operators keep to it."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bench.models.operators import waits_for_a_gpu
from tests.pretended.device import CPU, CUDA, Device, address, is_cuda, tensors

aten = torch.ops.aten
COPIES = {aten.copy_, aten._foreach_copy_}
"""Operators on tensors of two devices."""
INDEXING = {aten.index, aten.index_put, aten.index_put_}
"""Operators that take indices from the CPU, and wait for them."""
TAKE_SCALARS = {aten.where, aten.fill, aten.fill_, aten.masked_fill, aten.masked_fill_, *INDEXING}
"""Operators that are not tagged as element by element and take a scalar of the CPU beside tensors of the device."""
PRODUCTS = {aten.mm, aten.bmm, aten.mv, aten.dot, aten.addmm, aten.baddbmm, aten.addmv, aten.convolution}
"""Operators that a GPU has for floating-point numbers alone."""


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """On a GPU it does not look at the values, if it is told how many there are."""
    if num_classes == -1:
        return F.one_hot(tensor)
    return torch.zeros(*tensor.shape, num_classes, dtype=torch.int64).scatter_(-1, tensor.unsqueeze(-1), 1)


OTHERWISE = {F.one_hot: _one_hot}
"""Functions that do something else on a GPU, before any operator."""
FROM_THE_HOST = {torch.tensor, torch.as_tensor, Tensor.new_tensor}
ANSWERS: dict[Any, Callable[[bool, Callable[[], Any]], Any]] = {
    Tensor.device.__get__: lambda there, own: CUDA if there else own(),  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__: lambda there, own: there,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: lambda there, own: own() and not there,  # type: ignore[attr-defined]
    Tensor.get_device: lambda there, own: 0 if there else own(),
}
"""What a tensor is asked: the answer, by whether it is on the device and by what it says itself."""


class Names(TorchFunctionMode):
    """Functions that are told a device, or tell it: they make tensors there and move them there and back."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in ANSWERS:
            return ANSWERS[function](args[0] in self.device.there, lambda: function(*args))
        if function in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return self._moved(function, *args, **kwargs)
        if function in (Tensor.pin_memory, Tensor.is_pinned):
            return self._pinned(function, args[0])
        return self._called(function, args, kwargs)

    def _called(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        given = args[:1] if function is Tensor.__deepcopy__ else (args, kwargs)  # its second one is all that was copied
        wanted, there = kwargs.get("device"), any(t in self.device.there for t in tensors(*given))
        if there and function in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if wanted is not None:
            there = is_cuda(wanted)
            kwargs["device"] = CPU if there else wanted
        if there and function in (Tensor.tolist, *FROM_THE_HOST):
            self.device.wait(function.__name__)
        generator = kwargs.get("generator")
        if generator is not None and is_cuda(generator.device) != there:
            raise RuntimeError(f"Expected a '{CUDA if there else CPU}' device type for generator")
        self.device.ambient.append(there)
        try:
            out = (OTHERWISE.get(function, function) if there else function)(*args, **kwargs)
        finally:
            self.device.ambient.pop()
        explicit = wanted is not None or function in FROM_THE_HOST
        return self._placed(out, there) if explicit and isinstance(out, Tensor) else out

    def _placed(self, tensor: Tensor, there: bool) -> Tensor:
        (self.device.there.add if there else self.device.there.remove)(tensor)
        return tensor

    def _moved(self, function: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Tensor.to(device, dtype, non_blocking), .to(dtype), .to(other), .cpu(), .cuda(device, non_blocking)."""
        here, first = tensor in self.device.there, kwargs.pop("device", args[0] if args else None)
        to = here
        if function is not Tensor.to:
            to, args = function is Tensor.cuda, (CPU, None, *args[function is Tensor.cuda :])
        elif isinstance(first, Tensor):
            to = first in self.device.there
        elif isinstance(first, str | torch.device):
            to, args = is_cuda(first), (CPU, *args[1:])
        if to == here:
            return Tensor.to(tensor, *args, **kwargs)
        queued = kwargs.get("non_blocking") or args[2:3] == (True,)
        if self.device.recording or not (queued and (here or tensor in self.device.pinned)):
            self.device.wait("to the CPU" if here else "to the device")
        return self._placed(Tensor.to(tensor, *args, **kwargs | {"copy": True}), to)

    def _pinned(self, function: Any, tensor: Tensor) -> Any:
        if function is Tensor.is_pinned:
            return tensor in self.device.pinned
        if tensor in self.device.there:
            raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
        if self.device.recording:
            self.device.wait("pin_memory")
        self.device.pinned.add(copy := tensor.clone())
        return copy


class Operators(TorchDispatchMode):
    """Operators: what they make is where their inputs are. Refuses those that a GPU would, notes waits, and records."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, device = kwargs or {}, self.device
        given = tensors(args, kwargs)
        others = [t for t in given if t not in device.there]
        if len(others) == len(given) and (given or not device.ambient[-1]):
            return func(*args, **kwargs)
        if others:
            self._check_mixture(func, args, kwargs, others)
        if func.overloadpacket in PRODUCTS and not given[0].is_floating_point():
            raise NotImplementedError(f"{func.name()}: not implemented for '{given[0].dtype}' on CUDA")
        if waits_for_a_gpu(func, args):
            device.wait(func.name())
        known = set(map(address, given))
        out = (device.recording.record if device.recording else device.run)(func, args, kwargs)
        for tensor in tensors(out):
            if address(tensor) not in known:
                device.there.add(tensor)
        return out

    def _check_mixture(self, func: Any, args: Any, kwargs: Any, others: list[Tensor]) -> None:
        operator, first = func.overloadpacket, tensors(args)[0]
        if operator in COPIES:
            pinned = all(t in self.device.pinned for t in others)
            if self.device.recording or not (pinned and (kwargs.get("non_blocking") or True in args)):
                self.device.wait(func.name())
        elif operator in INDEXING and first in self.device.there:
            self.device.wait(f"{func.name()} with indices of the CPU")
        elif first not in self.device.there or any(t.dim() for t in others) or not _takes_scalars(func):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
                f"({func.name()})"
            )


def _takes_scalars(func: Any) -> bool:
    elementwise = torch.Tag.pointwise in func.tags or func.name().startswith("aten::_foreach")
    return elementwise or func.overloadpacket in TAKE_SCALARS
