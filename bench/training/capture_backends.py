"""How an update is captured: on a CPU as a flat list of operations, on a GPU as a CUDA graph.

Both offer the same: `warm_up`, in which the updates before are made; `snapshot`, whose result undoes what a capture
changes; `capture`; `begin_anew`, after which nothing is shared with what was captured before; `give_up`, after one that
failed; `unable`, why nothing can be captured in this process; and `memory`, the bytes that it has reserved on the GPU.
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
"""Of the tensors of the training batch and of the validation batches, in order; gives losses, weights and gradients."""
VALUE = "the update looks at the value of a tensor"


class Seeded(TorchDispatchMode):
    """Whether an operator draws from a generator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = False
        self._counts = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found |= self._counts and torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._counts = False
        yield
        self._counts = True


class NoValues(TorchFunctionMode):
    """Refuses what takes the values of a tensor to Python past all operators: in a replay they would be constants."""

    REFUSED: ClassVar[set[Any]] = {Tensor.tolist, Tensor.numpy, Tensor.__array__}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in self.REFUSED:
            raise RuntimeError(VALUE)
        return function(*args, **(kwargs or {}))


class Operations:
    """Captures the operations of an update on the CPU. To be captured, it is made."""

    memory: int | None = None
    unable = ""

    def begin_anew(self) -> None:
        """Nothing is shared by what is captured."""

    def give_up(self, reason: str) -> None:
        """A capture that failed leaves nothing behind."""

    def snapshot(self, method: "Method") -> Callable[[], None]:
        """A function that undoes what was changed since: attributes, tensors in them, and what a checkpoint holds."""
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
        return nullcontext()

    def capture(self, update: Function, tensors: Sequence[Tensor]) -> tuple[Function, tuple[Tensor, ...]]:
        from torch.fx.experimental.proxy_tensor import make_fx  # takes a while, and few need it

        results = []

        def noting(*tensors: Tensor) -> tuple[Tensor, ...]:
            with NoValues():
                results.append(update(*tensors))
            return results[-1]

        module = make_fx(noting)(*tensors)
        for node in reversed(module.graph.nodes):
            name = str(node.target)
            if name == "aten.detach.default":  # there is no graph to be detached from
                node.replace_all_uses_with(node.args[0])
            if name == "aten.detach.default" or name.startswith("profiler."):
                module.graph.erase_node(node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return torch.no_grad()(module.forward), results[0]


class CudaGraphs:
    """Captures the kernels of an update, with data in fixed places. All graphs share their memory: what one replay
    leaves there nobody needs.
    """

    unable: ClassVar[str] = ""
    """Why nothing more can be captured in this process."""

    def __init__(self, device: torch.device) -> None:
        self.memory = 0
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Take another memory pool: one whose graphs are all gone cannot be captured into as long as a tensor lies in
        it, and the gradients do.
        """
        self._pool = torch.cuda.graph_pool_handle()

    def give_up(self, reason: str) -> None:
        """Before torch 2.12 a capture that fails does not end for the allocator, where the next one fails in an
        assertion (pytorch/pytorch#180395), nor for the generator, which draws nothing until it has another state.
        """
        if torch.__version__ < (2, 12):  # type: ignore[operator]  # it is a TorchVersion, which compares with tuples
            CudaGraphs.unable = f"{reason} (earlier in this process; torch {torch.__version__} cannot try again)"
            index = self._device.index if self._device.index is not None else torch.cuda.current_device()
            generator = torch.cuda.default_generators[index]
            generator.graphsafe_set_state(generator.clone_state())

    def snapshot(self, method: "Method") -> Callable[[], None]:
        """As of `Operations`; but kernels are not run while they are captured, so that no tensor has changed."""
        attributes = dict(vars(method))
        return lambda: _reassign(method, attributes)

    @contextmanager
    def warm_up(self, optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
        """Kernels have to have run once on the stream that they are captured on, and optimisers to count on the GPU."""
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                if "capturable" in group and not group["capturable"]:
                    group["capturable"] = True
                    for p in group["params"]:
                        if "step" in optimizer.state.get(p, {}):  # of a checkpoint
                            optimizer.state[p]["step"] = optimizer.state[p]["step"].to(p.device)
            optimizer._warned_capturable_if_run_uncaptured = True  # as it is to be here
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def capture(self, update: Function, tensors: Sequence[Tensor]) -> tuple[Function, tuple[Tensor, ...]]:
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
    """Its attributes are these again."""
    vars(method).clear()
    vars(method).update(attributes)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected: what it frees of CUDA, such as another graph, would end a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
