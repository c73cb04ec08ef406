"""The rules that a model keeps before it is trained: the same ones for each run and for `bench.testing`."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.data.split import Split
from bench.errors import BenchError, ModelError
from bench.failures import told
from bench.parts import Part

SAMPLES = 4
"""Samples in the passes by which a model is checked."""
EXACT, ROUNDED = 1e-3, 5e-2
"""By how much of the largest one logits may differ that should be equal: on a CPU in float32, and where more is
rounded."""


def check_model(
    model: str | Part, build: Callable[[], nn.Module], train: Split, classes: int, tolerance: float = EXACT
) -> None:
    """Check a model as a run builds it, by a pass in training mode and three in evaluation mode over a few samples.

    Evaluation is deterministic: the logits of a sample depend on nothing but the model and the sample. A model that
    draws random numbers does so in training mode alone.

    torch's global generators are as before, and the model that is checked is not the one that is trained. Where the
    passes need more memory than there is, nothing is checked: the training meets it again, and tells it.

    Args:
        model: the model, or its name where no plugin offers it; for messages.
        build: makes the model at its initial weights, stacked where the data are; the same one at each call.
        train: the training data of the run, on the device of the model.
        classes: number of classes.
        tolerance: EXACT or ROUNDED.

    Raises:
        ModelError: for the first rule that is broken, with the shapes.
    """
    x = next(iter(train.in_order(SAMPLES))).x
    with torch.random.fork_rng([train.device] if train.device.type == "cuda" else []):
        try:
            shape = (*train.y.shape[:-1], min(len(train), SAMPLES), classes)
            _check(model if isinstance(model, Part) else f"model {model}", build, x, shape, tolerance)
        except (torch.OutOfMemoryError, MemoryError):
            return


def _check(
    whose: str | Part, build: Callable[[], nn.Module], x: Tensor, expected: tuple[int, ...], tolerance: float
) -> None:
    """`check_model` for a batch x, whose logits must be of the expected shape [.., B, C]."""
    lead, classes = expected[:-2], expected[-1]
    model, second = (_built(whose, build, x.shape[len(lead) + 1 :], classes) for _ in range(2))
    if {id(parameter) for parameter in model.parameters()} & {id(parameter) for parameter in second.parameters()}:
        raise ModelError(f"{whose}: its factory must build a new model at each call: runs would share one")
    if lazy := [name for name, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise ModelError(f"{whose}: {lazy[0]} has no shape yet: initial weights must be there when the model is built")
    _check_same_start(whose, _tensors(model), _tensors(second))
    model.train()
    logits = _checked_logits(whose, model, x, expected)
    if any(parameter.requires_grad for parameter in model.parameters()) and not logits.requires_grad:
        raise ModelError(f"{whose}: no gradient reaches its parameters: its logits are detached")
    model.eval()
    before = {name: value.clone() for name, value in _tensors(model).items()}
    with torch.no_grad():
        together, again = (_checked_logits(whose, model, x, expected) for _ in range(2))
        first = x.narrow(len(lead), 0, 1).contiguous()
        alone = _checked_logits(whose, model, first, (*lead, 1, classes))
    changed = [name for name, value in _tensors(model).items() if not torch.equal(value, before[name])]
    if changed:
        raise ModelError(f"{whose}: evaluation changes the model's state: {changed[0]}")
    allowed = tolerance * max(1.0, together.abs().max().item())
    if _difference(together, again) > allowed:
        raise ModelError(f"{whose}: evaluated twice, it gives the same samples other logits: evaluation must be exact")
    if _difference(together.narrow(len(lead), 0, 1), alone) > allowed:
        raise ModelError(f"{whose}: evaluated, a sample's logits depend on the others in its batch")


def _built(whose: str | Part, build: Callable[[], nn.Module], shape: Sequence[int], classes: int) -> nn.Module:
    """The model. Raises ModelError where building it fails."""
    try:
        return build()
    except (BenchError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"{whose} cannot be built for inputs {list(shape)} and {classes} classes: {_in_a_line(error, whose)}"
        ) from error


def check_module(whose: str | Part, model: object) -> nn.Module:
    """Check that what a model's factory returns is a module.

    Args:
        whose: what the message begins with.
        model: as it is returned.

    Returns:
        The model.

    Raises:
        ModelError: for anything else.
    """
    if not isinstance(model, nn.Module):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise ModelError(f"{whose}: its factory must return a torch.nn.Module, not {kind}")
    return model


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's state, which may hold other values too (`get_extra_state`)."""
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _check_same_start(whose: str | Part, first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Raises ModelError if a model is built with other weights again: runs of two methods are paired by them."""
    if first.keys() != second.keys() or not all(torch.equal(value, second[name]) for name, value in first.items()):
        raise ModelError(f"{whose}: initial weights must come from torch's global generator alone")


def _checked_logits(whose: str | Part, model: nn.Module, x: Tensor, expected: tuple[int, ...]) -> Tensor:
    """The logits of a batch x, of this shape.

    Raises ModelError for a pass that fails, that changes its input, or that gives anything but finite logits.
    """
    mode = "in training" if model.training else "in evaluation"
    given = x.clone()
    try:
        logits = model(given)
    except (BenchError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"{whose} fails {mode} on inputs {list(x.shape)}: {_in_a_line(error, whose)}") from error
    if not isinstance(logits, Tensor):
        raise ModelError(f"{whose} returns {type(logits).__name__} {mode}: a model returns its logits as one tensor")
    if logits.shape != expected:
        raise ModelError(
            f"{whose} {mode}: logits have shape {list(logits.shape)}, expected {list(expected)}: for each sample one "
            f"number for each class"
        )
    if not logits.is_floating_point():
        raise ModelError(f"{whose} {mode}: logits must be floating-point numbers, not {logits.dtype}")
    if not logits.isfinite().all():
        raise ModelError(f"{whose} {mode}: logits of the initial model are not finite")
    if not torch.equal(given, x):
        raise ModelError(f"{whose} {mode} changes its input in place: methods use the batch again")
    return logits


def _difference(logits: Tensor, again: Tensor) -> float:
    return (logits - again).abs().max().item()


def _in_a_line(error: Exception, whose: str | Part) -> str:
    return told(error, [whose] if isinstance(whose, Part) else [])
