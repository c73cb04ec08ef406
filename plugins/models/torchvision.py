"""The image classifiers of torchvision."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from bench import BenchError, UnknownNameError, hookimpl
from bench.models.zoo import build_for_input


def torchvision_model(
    shape: tuple[int, ...], classes: int, *, name: str, pretrained: bool = False, dropout: float | None = None
) -> nn.Module:
    """An image classifier of torchvision, as in `torchvision/resnet50`.

    It takes three channels. A vision transformer is built for the size of the (square) image. Initial weights are
    torchvision's.

    Args:
        shape: (3, H, W) of the images.
        classes: number of classes.
        name: torchvision's name of the model.
        pretrained: whether to start from torchvision's default weights (downloaded), with a new last layer unless they
            are for as many classes. They were made for another normalisation than the data set's, which is kept.
            Default: no.
        dropout: torchvision's argument of that name, where the model has it. None (the default): the model's own, which
            is often not 0.

    Raises:
        UnknownNameError: for a name that torchvision has no image classifier of.
        OptionError: for the dropout of a model that has none.
        BenchError: for inputs that the model cannot take, or weights that cannot be had.
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

    return build_for_input(f"torchvision/{name}", shape, classes, build, {"dropout": dropout}, image_size=shape[1])


def with_classes(model: nn.Module, classes: int) -> nn.Module:
    """The model, with its last layer replaced by a new one where that is not for `classes` classes."""
    layers = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    path, last = layers[-1]
    if isinstance(last, nn.Linear) and last.out_features != classes:
        model.set_submodule(path, nn.Linear(last.in_features, classes))
    elif isinstance(last, nn.Conv2d) and last.out_channels != classes:
        model.set_submodule(path, nn.Conv2d(last.in_channels, classes, last.kernel_size))  # type: ignore[arg-type]
    return model


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"torchvision/*": torchvision_model}
