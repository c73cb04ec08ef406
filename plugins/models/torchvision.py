"""The image classifiers of torchvision, and how a classifier of any zoo is built for a given input."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bench import BenchError, OptionError, UnknownNameError, hookimpl


def torchvision_model(
    shape: tuple[int, ...], classes: int, *, name: str, pretrained: bool = False, dropout: float | None = None
) -> nn.Module:
    """An image classifier of torchvision, as in `torchvision/resnet50`.

    Three channels; initial weights are torchvision's. A vision transformer is built for the size of the (square) image.
    pretrained: start from torchvision's default weights (downloaded), with a new last layer unless they are for as
    many classes. They were made for another normalisation than the data set's, which is kept.
    dropout: torchvision's argument of that name, where the model has it; none: the model's own, often not 0.
    Raises UnknownNameError, OptionError for dropout of a model that has none, and BenchError for inputs that the model
    cannot take or weights that cannot be had.
    """
    from bench.compat import torchvision

    zoo = torchvision.models
    known = zoo.list_models(module=zoo)  # detection, segmentation and video models are in submodules
    if name not in known:
        raise UnknownNameError("torchvision model", name, known)
    if len(shape) != 3 or shape[0] != 3:
        raise BenchError(f"torchvision/{name} takes images (3, H, W), not inputs of shape {shape}; see timm/*")

    def build(**more: Any) -> nn.Module:
        if not pretrained:
            return zoo.get_model(name, num_classes=classes, **more)  # type: ignore[no-any-return]
        return with_classes(zoo.get_model(name, weights="DEFAULT", progress=False, **more), classes)

    return built(f"torchvision/{name}", shape, classes, build, {"dropout": dropout}, image_size=shape[1])


def built(
    what: str,
    shape: tuple[int, ...],
    classes: int,
    build: Callable[..., nn.Module],
    dropout: Mapping[str, float | None],
    **size: Any,
) -> nn.Module:
    """`build(**dropout, **size)`, without `size` where the model has no such argument, found to map [2, *shape] to
    [2, classes].

    dropout: its probability, by the argument's name; left out if None.
    Raises OptionError for dropout that the model does not take, and BenchError with what the model says when it is
    built or run.
    """
    given = {argument: p for argument, p in dropout.items() if p is not None}
    for p in given.values():
        if not 0 <= p < 1:
            raise OptionError(f"{what} needs 0 <= dropout < 1, not {p}")
    try:
        try:
            model = build(**given, **size)
        except TypeError as error:
            if not any(argument in str(error) for argument in size):
                raise
            model = build(**given)
    except Exception as error:
        if any(f"unexpected keyword argument '{argument}'" in str(error) for argument in given):
            raise OptionError(f"{what} takes no dropout") from error
        raise BenchError(f"{what} cannot be built for inputs of shape {shape}: {_reason(error)}") from error
    _try(model, what, shape, classes)
    return model


def with_classes(model: nn.Module, classes: int) -> nn.Module:
    """The model with its last layer replaced by a new one if that is not for `classes` classes."""
    path, last = [(p, m) for p, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    if isinstance(last, nn.Linear) and last.out_features != classes:
        model.set_submodule(path, nn.Linear(last.in_features, classes))
    elif isinstance(last, nn.Conv2d) and last.out_channels != classes:
        model.set_submodule(path, nn.Conv2d(last.in_channels, classes, last.kernel_size))  # type: ignore[arg-type]
    return model


def _try(model: nn.Module, what: str, shape: tuple[int, ...], classes: int) -> None:
    """Run a copy as in training, so that neither the model's statistics nor the random stream move."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = copy.deepcopy(model).train()(torch.zeros(2, *shape))
    except Exception as error:
        raise BenchError(f"{what} cannot take inputs of shape {shape}: {_reason(error)}") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        raise BenchError(f"{what} cannot be trained here: it does not give one logit for each of {classes} classes")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"torchvision/*": torchvision_model}
