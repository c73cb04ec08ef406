"""The trial of what a method computes from the logits, its head: the head's part of the meta-gradient without the
model's.
"""

from collections.abc import Sequence
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import MetaStepError
from bench.meta.culprit import fault
from bench.meta.functional import normal_numbers
from bench.meta.passes import Head
from bench.meta.trial import BackendTrial

CONSTANT = "what the method computes from the logits does not depend on them (detach or no_grad cuts it off)"


class HeadTrial(BackendTrial):
    """The meta-gradient through a method's head, which is used both in the virtual step and in the validation loss.

    The model of this trial is one matrix for each run, the identity, which is applied to made-up logits. The head is
    thus tried with as many samples as a whole batch has, whatever the model.
    """

    def __init__(self, head: Head, shape: Sequence[int], device: torch.device) -> None:
        """Make the trial.

        Args:
            head: what is computed from the logits.
            shape: that of the logits of a training batch, [.., B, C].
            device: where they are.
        """
        self._head = head
        confidence = torch.linspace(0.5, 8, shape[-2]).unsqueeze(1)  # with small gradients and large ones
        logits = (normal_numbers(*shape).float() * confidence).to(device)
        super().__init__(Matrix(logits), logits, stacked=len(shape) > 2, samples=shape[-2])

    def in_type(self, dtype: torch.dtype) -> "HeadTrial | None":
        """The same trial with another type of numbers.

        Args:
            dtype: the type of the logits and of the matrix.

        Returns:
            The trial; None if the device or the head cannot compute in this type.

        Raises:
            MetaStepError: as `can_be_called` does.
        """
        other = super().in_type(dtype)
        return other if isinstance(other, HeadTrial) and other.can_be_called() else None

    def can_be_called(self) -> bool:
        """Whether the head takes the made-up logits, and gives outputs [.., B, ...] for them.

        Raises:
            MetaStepError: if the outputs do not depend on the logits.
        """
        try:
            outputs = self._head(self.model(self.x))
            fits = outputs.shape[: self.w.dim()] == self.w.shape
        except Exception:
            return False
        if not outputs.requires_grad:
            raise MetaStepError(CONSTANT)
        return fits

    def fault(self) -> str:
        """What is wrong with the derivatives of the head, in words; empty if nothing is found."""
        with suppress(Exception):
            return fault(Called(self._head), (self.logits,), {})
        return ""

    def _losses(self, logits: Tensor) -> Tensor:
        """[.., B]: the outputs; of several for each sample, their sum with different coefficients."""
        outputs = self._head(logits)
        if outputs.dim() == self.w.dim():
            return outputs
        several = outputs.flatten(self.w.dim())
        return several @ torch.linspace(1, 2, several.shape[-1], dtype=several.dtype, device=several.device)


class Matrix(nn.Module):
    """The model of a HeadTrial: it multiplies logits [.., B, C] with a matrix [.., C, C] for each run, the identity.

    Args:
        logits: the logits that it will be called with, for their shape and device.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        *runs, _, classes = logits.shape
        self.weight = nn.Parameter(torch.eye(classes, device=logits.device).expand(*runs, classes, classes).clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight) if x.dim() == 2 else x @ self.weight.mT


class Called(nn.Module):
    """A function as a module, so that it can be tried as modules are.

    Args:
        function: the function of one tensor.
    """

    def __init__(self, function: Head) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x)
