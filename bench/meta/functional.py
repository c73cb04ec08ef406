"""A model as a function of its parameters, and the state of the random generators that its passes draw from."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import MetaStepError

Net = Callable[[Tensor], Tensor]
"""The model as a function of its input, with given values in place of its own parameters."""
Buffers = Sequence[Tensor | None]


def normal_numbers(*shape: int) -> Tensor:
    """Normal random numbers in float64 on the CPU, the same ones at every call.

    They are numpy's: a capture takes an operator of torch that draws for a draw of the update that it is made in.

    Args:
        shape: that of the numbers.
    """
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape))


class Parameters:
    """The trained parameters of a model (`requires_grad`), in the model's order.

    Args:
        model: the model.

    Attributes:
        model: the model.
        tensors: its trained parameters. One that two modules share stands there once.

    Raises:
        MetaStepError: if the model has no parameter that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise MetaStepError(
                f"{type(model).__name__} has no parameter that is trained (no requires_grad): a look-ahead "
                f"needs some to step on"
            )
        self.model = model
        self.tensors: list[Tensor] = [p for _, p in named]
        number = {id(p): i for i, p in enumerate(self.tensors)}
        self._buffers = [module._buffers for module in model.modules() if module._buffers]
        self._slots = [  # a parameter that two modules share has two
            (module._parameters, name, number[id(p)])
            for module in model.modules()
            for name, p in module._parameters.items()
            if p is not None and id(p) in number
        ]

    def at(self, values: Sequence[Tensor], buffers: Buffers | None = None) -> Net:
        """The model with other values of its parameters, as a function of its input.

        A call works on clones of the model's buffers, because such a pass must not change BatchNorm's running
        statistics. During a call the model itself holds the values and the clones, so no other thread may call it then.
        `torch.func.functional_call` does the same at a higher cost.

        Args:
            values: the values, in the order of `tensors`.
            buffers: the buffers at the start of each call; None: those of the model.

        Returns:
            The function.
        """

        def net(x: Tensor) -> Tensor:
            with self.held(values, buffers) as model:
                return model(x)

        return net

    @contextmanager
    def held(self, values: Sequence[Tensor], buffers: Buffers | None = None) -> Iterator[Net]:
        """The model with other values of its parameters, which it holds until this context ends.

        A backward pass through a checkpoint (`torch.utils.checkpoint`) runs a part of the model again, with the values
        that the model holds by then. Such a backward pass therefore belongs into the context too.

        Args:
            values: the values, in the order of `tensors`.
            buffers: the buffers at the start of each call; None: those of the model. Calls work on clones.
        """
        originals = [(buffers_of, name, b) for buffers_of in self._buffers for name, b in buffers_of.items()]
        start = [b for _, _, b in originals] if buffers is None else buffers
        before = [places[name] for places, name, _ in self._slots]

        def net(x: Tensor) -> Tensor:
            for (buffers_of, name, _), b in zip(originals, start, strict=True):
                buffers_of[name] = None if b is None else b.clone()
            return self.model(x)  # type: ignore[no-any-return]

        try:
            for places, name, i in self._slots:
                places[name] = values[i]  # type: ignore[assignment]
            yield net
        finally:
            for (places, name, _), value in zip(self._slots, before, strict=True):
                places[name] = value
            for buffers_of, name, b in originals:
                buffers_of[name] = b

    def buffers(self) -> Buffers:
        """Clones of the model's buffers as they are now, in the order in which `at` and `held` take them."""
        return [None if b is None else b.clone() for buffers in self._buffers for b in buffers.values()]

    @contextmanager
    def buffers_spared(self, start: Buffers | None = None) -> Iterator[None]:
        """Put clones in the place of the model's buffers within this context, so that passes do not change the buffers.

        Args:
            start: the values of the clones, as from `buffers`; None: those of the model's buffers.
        """
        with _clones_in_place(self._buffers, start):
            yield


def buffers_spared(model: nn.Module) -> AbstractContextManager[None]:
    """Put clones in the place of a model's buffers within a context, so that passes do not change the buffers.

    Args:
        model: any module.
    """
    return _clones_in_place([module._buffers for module in model.modules() if module._buffers], None)


@contextmanager
def _clones_in_place(places: Sequence[dict[str, Tensor | None]], start: Buffers | None) -> Iterator[None]:
    originals = [(buffers, name, b) for buffers in places for name, b in buffers.items()]
    values = [b for _, _, b in originals] if start is None else start
    try:
        for (buffers, name, _), value in zip(originals, values, strict=True):
            buffers[name] = None if value is None else value.clone()
        yield
    finally:
        for buffers, name, b in originals:
            buffers[name] = b


class RandomState:
    """The state of torch's global generators before a forward pass, so that a second pass can draw the same dropout
    masks.

    Args:
        device: the device of the pass. Of a GPU its generator is kept too, except while an update is captured, which
            draws no random numbers.
    """

    def __init__(self, device: torch.device) -> None:
        # An update that is captured draws no random numbers.
        on_gpu = device.type == "cuda" and not torch.cuda.is_current_stream_capturing()
        self._devices = [device] if on_gpu else []
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(d) for d in self._devices]

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Put the generators into this state within this context, and back into their former one afterwards."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._cpu)
            for device, state in zip(self._devices, self._cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield


def same_precision(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """Remember whether autocast is on, and in which dtype, so that it can be entered again later.

    Args:
        device: the device whose autocast is meant.

    Returns:
        A function that gives a context in which autocast is as it is now.
    """
    if not torch.is_autocast_enabled(device.type):
        return nullcontext
    dtype = torch.get_autocast_dtype(device.type)
    return lambda: torch.autocast(device.type, dtype, cache_enabled=False)
