"""The convolutional network on which importance weighting was found to wear off."""

from collections.abc import Callable, Mapping

from torch import nn

from bench import BenchError, Checks, hookimpl

SMALLEST = 20  # pixels: (20 - 2 * 2) / 2 = 8, (8 - 3 * 2) / 2 = 1


def byrd_cnn(shape: tuple[int, ...], classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Byrd and Lipton's convolutional network: conv64 x2, pool, conv128 x3, pool, fc512, fc128, output; ReLU.

    The convolutions have 3x3 kernels of stride 1, and the max-pooling is 2x2. Initial weights are PyTorch's, as in the
    authors' code.

    Args:
        shape: (C, H, W) of the images, at least 20x20 pixels.
        classes: number of classes.
        dropout: probability, on the outputs of fc512 and of fc128, as in the authors' code. Default: 0.

    Source: Zha, Gao, Ma, Xu, section 3.1.

    Departures, where the report leaves it open:

    - The padding is not given. There is none here, as in the authors' code, which leaves 128 x 4 x 4 = 2048 features of
      a 32x32 image.
    - The report says that dropout is "before each dense layer" of two layers, while there are three.

    Raises:
        BenchError: for inputs that are not images of at least 20x20 pixels.
        OptionError: for a dropout outside [0, 1).
    """
    if len(shape) != 3 or min(shape[1:]) < SMALLEST:
        raise BenchError(f"byrd_cnn takes images (C, H, W) of at least {SMALLEST}x{SMALLEST} pixels, not {shape}")
    Checks.of("model.", dropout=dropout).within(0, 1, "dropout", closed="left")
    channels, height, width = shape
    features = 128 * _left(height) * _left(width)
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(
        *_conv(channels, 64),
        *_conv(64, 64),
        nn.MaxPool2d(2),
        *_conv(64, 128),
        *_conv(128, 128),
        *_conv(128, 128),
        nn.MaxPool2d(2),
        nn.Flatten(),
        *(nn.Linear(features, 512), nn.ReLU(), *drop),
        *(nn.Linear(512, 128), nn.ReLU(), *drop),
        nn.Linear(128, classes),
    )


def _conv(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3), nn.ReLU()


def _left(pixels: int) -> int:
    """Pixels that the unpadded convolutions and the pooling leave of a side."""
    return ((pixels - 4) // 2 - 6) // 2


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"byrd_cnn": byrd_cnn}
