"""The image classifiers of timm."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from bench import BenchError, UnknownNameError, hookimpl
from bench.models.zoo import build_for_input


def timm_model(
    shape: tuple[int, ...], classes: int, *, name: str, pretrained: bool = False, dropout: float | None = None
) -> nn.Module:
    """An image classifier of timm, as in `timm/resnet50`; a name may have a tag, as in `timm/resnet50.a1_in1k`.

    It takes any number of channels. A model whose layers depend on the size of the image, as vision transformers do, is
    built for that size. Initial weights are timm's.

    Args:
        shape: (C, H, W) of the images.
        classes: number of classes.
        name: timm's name of the model.
        pretrained: whether to start from timm's weights (downloaded), which timm adapts to the channels, the size and
            the classes. They were made for another normalisation than the data set's, which is kept. Default: no.
        dropout: timm's `drop_rate`, before the last layer, and elsewhere too in some models. None (the default): the
            model's own.

    Raises:
        UnknownNameError: for a name that timm has no model of.
        OptionError: for the dropout of a model that has none.
        BenchError: for inputs that the model cannot take, or weights that cannot be had.
    """
    import bench.compat  # noqa: F401, I001 (first, because timm imports torchvision)
    import timm

    if not timm.is_model(name):
        raise UnknownNameError("timm model", name, timm.list_models())
    if len(shape) != 3:
        raise BenchError(f"timm/{name} takes images (C, H, W), not inputs of shape {shape}")

    def build(**more: Any) -> nn.Module:
        return timm.create_model(name, pretrained=pretrained, in_chans=shape[0], num_classes=classes, **more)

    return build_for_input(f"timm/{name}", shape, classes, build, {"drop_rate": dropout}, img_size=shape[1:])


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"timm/*": timm_model}
