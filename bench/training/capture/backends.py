"""The backends of captures: on a CPU a flat list of operations, on a GPU a CUDA graph.

Both have the same members:
- `unable`: why nothing can be captured in this process; empty if it can.
- `memory`: bytes that captures have reserved on the GPU; None on a CPU.
- `warm_up`: the context in which updates before a capture are made.
- `snapshot`: returns a function that undoes what a capture changes.
- `capture`: captures an update.
- `begin_anew`: forgets everything that the next capture would share with those before.
- `give_up`: cleans up after a capture that failed.
"""

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bench.trees import instances

if TYPE_CHECKING:
    from bench.training.method import Method

Function = Callable[..., tuple[Tensor, ...]]
"""(tensors of the training batch, then of the validation batches in order) -> losses, weights, then gradients."""
VALUE = "the update looks at the value of a tensor"


class Seeded(TorchDispatchMode):
    """Finds out whether an operator draws from a generator within this context.

    Attributes:
        draws: whether one has.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws = False
        self._counts = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.draws |= self._counts and torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take no notice of operators within this context."""
        self._counts = False
        yield
        self._counts = True


class NoValues(TorchFunctionMode):
    """Refuses functions that give the values of a tensor to Python and call no operator, such as `Tensor.tolist`.

    In a replay these values would be constants.
    """

    REFUSED: ClassVar[set[Any]] = {Tensor.tolist, Tensor.numpy, Tensor.__array__}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in self.REFUSED:
            raise RuntimeError(VALUE)
        return function(*args, **(kwargs or {}))


class Operations:
    """The backend for the CPU: captures the operations of an update while it is made."""

    memory: int | None = None
    unable = ""

    def begin_anew(self) -> None:
        """Captures share nothing here."""

    def give_up(self, reason: str) -> None:
        """A failed capture leaves nothing behind here."""

    def snapshot(self, method: "Method") -> Callable[[], None]:
        """Return a function that puts a method back: its attributes, their tensors, and its state for checkpoints."""
        attributes = dict(vars(method))
        state = copy.deepcopy(method.state_dict())
        values = [(tensor, tensor.detach().clone()) for tensor in instances(Tensor, attributes)]

        def put_back() -> None:
            _reassign(method, attributes)
            method.load_state_dict(state)
            for tensor, value in values:
                tensor.data.copy_(value)

        return put_back

    def warm_up(self, optimizers: Sequence[torch.optim.Optimizer]) -> AbstractContextManager[None]:
        """Nothing is to be prepared on the CPU."""
        return nullcontext()

    def capture(self, update: Function, tensors: Sequence[Tensor]) -> tuple[Function, tuple[Tensor, ...]]:
        """Make an update and capture it.

        Returns:
            The function that replays it, and what the update has returned.
        """
        from torch.fx.experimental.proxy_tensor import make_fx  # imported here: it takes a while, and few runs need it

        results = []

        def update_without_values(*tensors: Tensor) -> tuple[Tensor, ...]:
            with NoValues():
                results.append(update(*tensors))
            return results[-1]

        module = make_fx(update_without_values)(*tensors)
        for node in reversed(module.graph.nodes):
            name = str(node.target)
            if name == "aten.detach.default":  # a replay builds no autograd graph to detach from
                node.replace_all_uses_with(node.args[0])
            if name == "aten.detach.default" or name.startswith("profiler."):
                module.graph.erase_node(node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return torch.no_grad()(module.forward), results[0]


class CudaGraphs:
    """The backend for GPUs: captures the kernels of an update, which read their data from fixed places.

    All graphs share one memory pool, because nobody needs what a replay leaves there.
    """

    unable: ClassVar[str] = ""
    """Why nothing more can be captured in this process."""

    def __init__(self, device: torch.device) -> None:
        self.memory = 0
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Take another memory pool. A pool without graphs cannot be captured into as long as it holds a tensor, and the
        old pool holds the gradients.
        """
        self._pool = torch.cuda.graph_pool_handle()

    def give_up(self, reason: str) -> None:
        """Clean up after a failed capture.

        Before torch 2.12 the allocator does not learn that the capture has ended, so the next capture fails in an
        assertion (pytorch/pytorch#180395). The generator does not learn it either, and draws nothing until it gets
        another state.
        """
        if torch.__version__ < (2, 12):  # type: ignore[operator]  # it is a TorchVersion, which compares with tuples
            CudaGraphs.unable = f"{reason} (earlier in this process; torch {torch.__version__} cannot try again)"
            index = self._device.index if self._device.index is not None else torch.cuda.current_device()
            generator = torch.cuda.default_generators[index]
            generator.graphsafe_set_state(generator.clone_state())

    def snapshot(self, method: "Method") -> Callable[[], None]:
        """As for `Operations`; but kernels do not run while they are captured, so no tensor has to be put back."""
        attributes = dict(vars(method))
        return lambda: _reassign(method, attributes)

    @contextmanager
    def warm_up(self, optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
        """Make updates on the stream that they are captured on, with optimisers that count their steps on the GPU.

        Kernels must have run once on a stream before they can be captured there.
        """
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                if "capturable" in group and not group["capturable"]:
                    group["capturable"] = True
                    for p in group["params"]:
                        if "step" in optimizer.state.get(p, {}):  # it comes from a checkpoint
                            optimizer.state[p]["step"] = optimizer.state[p]["step"].to(p.device)
            optimizer._warned_capturable_if_run_uncaptured = True  # no warning: these updates run uncaptured on purpose
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def capture(self, update: Function, tensors: Sequence[Tensor]) -> tuple[Function, tuple[Tensor, ...]]:
        """CaptureOutcome an update and replay it once.

        Returns:
            The function that replays it, and what the first replay has returned.
        """
        fixed = [t.clone() for t in tensors]
        graph = torch.cuda.CUDAGraph()
        with _no_collection(), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            reserved = torch.cuda.memory_reserved(self._device)
            losses, weights, *gradients = update(*fixed)
        self.memory += max(torch.cuda.memory_reserved(self._device) - reserved, 0)

        def replay(*tensors: Tensor) -> tuple[Tensor, ...]:
            torch._foreach_copy_(fixed, list(tensors))
            graph.replay()
            return losses.clone(), weights.clone(), *gradients

        return replay, replay(*tensors)


def _reassign(method: "Method", attributes: dict[str, Any]) -> None:
    """Give a method these attributes and no others."""
    vars(method).clear()
    vars(method).update(attributes)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage within this context: freeing a CUDA object, such as another graph, would end a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
