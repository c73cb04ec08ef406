"""The head of a classifier, which is its last linear layer, and the features that go into it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.data.split import Split
from bench.errors import NotApplicableError
from bench.models.predict import predict
from bench.models.stack import StackedLinear

Head = nn.Linear | StackedLinear
"""A linear layer with weights [.., outputs, D]; of stacked models, those of all runs."""


class TwoLogits(nn.Module):
    """[.., 1] -> [.., 2]: the logits (0, z) of two classes, whose softmax is the sigmoid of z."""

    stackable = True

    def forward(self, z: Tensor) -> Tensor:
        return F.pad(z, (1, 0))


def output_layers(features: int, classes: int) -> list[nn.Module]:
    """The last layers of a classifier, for `nn.Sequential`.

    Args:
        features: width D of what goes in, [.., D].
        classes: number C of logits, [.., C].

    Returns:
        A linear layer; for two classes one with a single output z, and after it the logits (0, z).
    """
    if classes == 2:
        return [nn.Linear(features, 1), TwoLogits()]
    return [nn.Linear(features, classes)]


def head_of(model: nn.Module, split: Split) -> Head:
    """The last linear layer of the model, in order of registration, which gives the logits: those of the classes, or of
    two classes its one output z as (0, z).

    split: two samples of it show whether that is so; stacked as the model is. The model keeps its mode and its state.
    Raises NotApplicableError if there is no such layer.
    """
    layers = [module for module in model.modules() if isinstance(module, Head)]
    if not layers:
        raise NotApplicableError("the model has no linear layer (nn.Linear), so no head")
    samples = split.y.dim() - 1
    two = Split(*(t.narrow(samples, 0, 2) for t in (split.x, split.y, split.group)))
    with _calls(model, layers[-1]) as calls:
        logits = predict(model, two, 2)
    outputs = [output.float() for _, output in calls]
    if layers[-1].weight.shape[-2] == 1:
        outputs = [F.pad(z, (1, 0)) for z in outputs]
    if len(outputs) != 1 or not torch.equal(outputs[0], logits):
        raise NotApplicableError("the last linear layer of the model does not give its logits: it is not its head")
    return layers[-1]


def features(model: nn.Module, head: Head, split: Split, batch_size: int) -> Tensor:
    """[.., N, D]: what goes into the head for all samples in order, in evaluation mode. The model keeps its mode."""
    with _calls(model, head) as calls:
        predict(model, split, batch_size)
    return torch.cat([inputs for inputs, _ in calls], -2)


@contextmanager
def _calls(model: nn.Module, layer: Head) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Input and output of each call of the layer. In the end the model is in the mode that it had."""
    calls: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output)))
    training = model.training
    try:
        yield calls
    finally:
        hook.remove()
        model.train(training)
