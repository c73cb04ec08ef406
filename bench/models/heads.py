"""The head of a classifier, which is its last linear layer, and the features that it takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.data.split import Split
from bench.errors import NotApplicableError
from bench.models.predict import predict
from bench.models.stack import StackedLinear

Head = nn.Linear | StackedLinear
"""A linear layer with weights [.., outputs, D], or the linear layers of stacked models."""


class TwoLogits(nn.Module):
    """The logits (0, z) of two classes, whose softmax is the sigmoid of z: [.., 1] -> [.., 2]."""

    stackable = True

    def forward(self, z: Tensor) -> Tensor:
        return F.pad(z, (1, 0))


def output_layers(features: int, classes: int) -> list[nn.Module]:
    """The last layers of a classifier, for `nn.Sequential`.

    Args:
        features: width D of the input [.., D].
        classes: number C of logits [.., C].

    Returns:
        A linear layer; for two classes a linear layer with a single output z, followed by the logits (0, z).
    """
    if classes == 2:
        return [nn.Linear(features, 1), TwoLogits()]
    return [nn.Linear(features, classes)]


def head_of(model: nn.Module, split: Split) -> Head:
    """The head of a classifier: its last linear layer in order of registration, if the layer gives the logits.

    The output of the layer is the logits, or for two classes one number z of the logits (0, z). Two samples are
    predicted to find out. The model keeps its mode and its state.

    Args:
        model: the classifier.
        split: samples to try, stacked if the model is.

    Raises:
        NotApplicableError: if the model has no such layer.
    """
    layers = [module for module in model.modules() if isinstance(module, Head)]
    if not layers:
        raise NotApplicableError("the model has no linear layer (nn.Linear), so no head")
    samples = split.y.dim() - 1  # the dimension of the samples
    x, y, group = (field.narrow(samples, 0, 2) for field in (split.x, split.y, split.group))
    first_two = Split(x, y, group)
    with _calls_of(layers[-1]) as calls, _in_its_mode(model):
        logits = predict(model, first_two, 2)
    outputs = [output.float() for _, output in calls]
    if layers[-1].weight.shape[-2] == 1:
        outputs = [F.pad(z, (1, 0)) for z in outputs]
    if len(outputs) != 1 or not torch.equal(outputs[0], logits):
        raise NotApplicableError("the last linear layer of the model does not give its logits: it is not its head")
    return layers[-1]


def features(model: nn.Module, head: Head, split: Split, batch_size: int) -> Tensor:
    """What goes into the head in evaluation mode. The model keeps its mode.

    Args:
        model: a classifier.
        head: its head (`head_of`).
        split: the samples.
        batch_size: as for `predict`.

    Returns:
        [.., N, D], for all samples in order.
    """
    with _calls_of(head) as calls, _in_its_mode(model):
        predict(model, split, batch_size)
    return torch.cat([inputs for inputs, _ in calls], -2)


HEADS: WeakKeyDictionary[nn.Module, Head] = WeakKeyDictionary()
"""Model -> its head, as long as the model exists: to find it, two samples have to be predicted."""


def with_features(
    model: nn.Module, split: Split, forward: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Tensor, Tensor]:
    """A forward pass in which the features are kept.

    Args:
        model: the classifier.
        split: samples to find its head by.
        forward: the pass, through the model: inputs -> logits.
        x: the inputs.

    Returns:
        The logits [.., B, C] and what went into the head [.., B, D], with their graph.

    Raises:
        NotApplicableError: if the model has no head.
    """
    if model not in HEADS:
        HEADS[model] = head_of(model, split)
    with _calls_of(HEADS[model]) as calls:
        logits = forward(x)
    return logits, calls[-1][0]


@contextmanager
def _calls_of(layer: Head) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The input and the output of each call of a layer within this context.

    Args:
        layer: the head of a model.
    """
    calls: list[tuple[Tensor, Tensor]] = []
    hook = layer.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output)))
    try:
        yield calls
    finally:
        hook.remove()


@contextmanager
def _in_its_mode(model: nn.Module) -> Iterator[None]:
    """Afterwards the model is in the mode that it was in before."""
    training = model.training
    try:
        yield
    finally:
        model.train(training)
