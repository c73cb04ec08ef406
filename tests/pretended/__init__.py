"""A CUDA device that is pretended on the CPU, to see without one where code would go wrong on one.

    with pretended() as device:
        x = torch.rand(3, device="cuda")  # a tensor on the CPU that says that it is on cuda:0
        x + torch.rand(3)                 # RuntimeError, as on a GPU
        x.sum().item()                    # noted in device.waits; a RuntimeError while a graph is captured

Pretended are: where tensors and generators are, and that those of two devices do not meet in one operator; which
operators make the host wait, of which `torch.cuda.set_sync_debug_mode` warns; pinned memory; the device's own random
numbers; CUDA graphs, of which nothing is run while they are captured and no Python when they are replayed; and when a
memory pool takes no further graph. Not pretended are time, streams that run at once, memory that is given to another
tensor, and the numerics of other kernels.
"""

import contextlib
import sys
from collections.abc import Iterator
from unittest.mock import patch

import torch

from tests.pretended.device import Device, Generator
from tests.pretended.functions import of_accelerator, of_cuda, of_torch
from tests.pretended.modes import Names, Operators


@contextlib.contextmanager
def pretended() -> Iterator[Device]:
    """While entered, there is one CUDA device. What is imported within keeps its `Generator`: import it before."""
    device, generator = Device(), torch.Generator
    with contextlib.ExitStack() as stack:
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", {}).get("Generator") is generator:
                stack.enter_context(patch.object(module, "Generator", Generator))
        stack.enter_context(patch.multiple(torch.cuda, **of_cuda(device)))
        stack.enter_context(patch.multiple(torch.accelerator, **of_accelerator(device)))
        stack.enter_context(patch.multiple(torch, **of_torch(device)))
        stack.enter_context(patch.object(torch.backends.cuda, "is_built", lambda: True))
        stack.enter_context(Operators(device))
        stack.enter_context(Names(device))
        yield device
