"""The checkpoints of a training: when one is due, and the file that it is written to and read from."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.errors import StoreError
from bench.records.files import write_whole
from bench.training.observer import Observer


class Checkpoints:
    """The checkpoint file of one training, and the times at which it is written.

    The first checkpoint is due after FIRST_SECONDS, the next after twice as many, then after four times as many, and
    so on, but never later than SECONDS after the one before. For a large model the first one is due after one second
    for every BYTES_PER_SECOND of its parameters. As long as the time between two checkpoints is below SECONDS, saving
    takes no more than a SHARE of it.

    Args:
        path: the file; None: there are no checkpoints.
        observer: told of each checkpoint, and why one could not be written or read.
    """

    SECONDS = 30.0
    FIRST_SECONDS = 1.0
    BYTES_PER_SECOND = 5_000_000
    SHARE = 0.05

    def __init__(self, path: Path | None, observer: Observer) -> None:
        self.path = path
        self._observer = observer
        self._saved_at = time.perf_counter()
        self._wait = self.FIRST_SECONDS

    def begin(self, model: nn.Module) -> None:
        """Before the first epoch. The larger the model, the later the first checkpoint is due."""
        self._wait = max(self._wait, parameter_bytes(model) / self.BYTES_PER_SECOND)

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        waited = time.perf_counter() - self._saved_at
        return self.path is not None and waited >= min(self._wait, self.SECONDS)

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint now. If writing is interrupted, the checkpoint before stays.

        Args:
            state: of the training, as `torch.save` takes it; `state["epoch"]` is the number of epochs that are done.
        """
        if self.path is None:
            return
        begun = time.perf_counter()
        try:
            write_whole(self.path, partial(torch.save, state))
            self._observer.saved(state["epoch"])
        except (StoreError, OSError, RuntimeError) as error:  # a full disk should not stop a training
            self._observer.note(f"no checkpoint at epoch {state['epoch']}: {error}")
        self._saved_at = time.perf_counter()
        self._wait = max(2 * self._wait, (self._saved_at - begun) / self.SHARE)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state that was saved, with its tensors on the device; None if there is no file, or it cannot be read."""
        if self.path is None or not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            self._observer.note(f"{self.path} cannot be read, so the training starts from the beginning: {error}")
            return None
        return state


def parameter_bytes(model: nn.Module) -> int:
    """The number of bytes that the parameters of a model take."""
    return sum(p.numel() * p.element_size() for p in model.parameters())
