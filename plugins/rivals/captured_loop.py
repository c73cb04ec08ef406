"""ERM's update as one writes it by hand for a GPU: a CUDA graph, captured once and replayed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench import Batch, Method, hookimpl


@dataclass
class CapturedLoop(Method):
    """ERM in a hand-written loop with a CUDA graph: what remains when all that a harness adds is left out.

    On a GPU the loop follows PyTorch's notes on CUDA semantics, section "Whole-network capture". The first three
    updates run eagerly on a side stream. The next is captured there with its inputs in static tensors, and from then on
    a batch is copied into these and the graph is replayed. There are no sample weights, and nothing is copied out: the
    losses that an update returns are overwritten by the next one. The graph holds the learning rate and the batch size
    as they were; when one of them changes, it is captured anew. On a CPU the same update runs eagerly.
    """

    rival_of: ClassVar[str] = "erm"
    WARM_UP: ClassVar[int] = 3

    def setup(self) -> None:
        self.on_gpu = self.task.device.type == "cuda"
        self.one = torch.ones((), device=self.task.device)  # the weight of every sample
        self.captured = False
        self.captured_for: Any = None
        self.updates = 0  # since it is to be captured
        if self.on_gpu:
            self.stream = torch.cuda.Stream(self.task.device)
            for group in self.optimizer.param_groups:
                if "capturable" in group:  # Adam counts its steps on the GPU then
                    group["capturable"] = True

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if not self.on_gpu:
            return self.eager_update(batch)
        settings = batch.x.shape, self.optimizer.param_groups[0]["lr"]
        if settings != self.captured_for:
            self.captured = False
            self.captured_for = settings
            self.updates = 0
        if not self.captured:
            self.updates += 1
            if self.updates <= self.WARM_UP:
                return self._on_side_stream(batch)
            self._capture(batch)
        self.static.x.copy_(batch.x)
        self.static.y.copy_(batch.y)
        self.graph.replay()
        return self.result

    def eager_update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same update without a graph, whose operations can be counted."""
        losses = self.task.loss(self.model(batch.x), batch.y)
        self.optimizer.zero_grad()
        losses.mean().backward()
        self.optimizer.step()
        return losses.detach(), self.one.expand(losses.shape)

    def _on_side_stream(self, batch: Batch) -> tuple[Tensor, Tensor]:
        current = torch.cuda.current_stream(self.task.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.eager_update(batch)
        current.wait_stream(self.stream)
        return result

    def _capture(self, batch: Batch) -> None:
        """CaptureOutcome an update into a graph; this does not run it."""
        self.static = Batch(*(t.clone() for t in batch))
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.result = self.eager_update(self.static)
        self.captured = True


@hookimpl
def bench_rivals() -> Mapping[str, type[Method]]:
    return {"captured_loop": CapturedLoop}
