"""ResNet-18 for small images."""

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from bench import BenchError, Checks, hookimpl


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the first convolution has the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def resnet18(shape: tuple[int, ...], classes: int, *, width: int = 64, dropout: float = 0.0) -> nn.Module:
    """ResNet-18 with the CIFAR stem: a 3x3 convolution of stride 1 and no max-pooling.

    The stem is the one that is customary for 32x32 images (11,173,962 parameters at ten classes). Initial weights are
    as in torchvision: Kaiming normal by fan-out for convolutions, one and zero for BatchNorm, PyTorch's for the last
    layer.

    Args:
        shape: (C, H, W) of the images.
        classes: number of classes.
        width: channels of the first stage; each further stage has twice as many. Default: 64.
        dropout: probability, before the last layer; the paper has none. Default: 0.

    Source: He et al. 2016, Deep Residual Learning for Image Recognition.

    Raises:
        BenchError: for inputs that are not images.
        OptionError: for a width below 1 or a dropout outside [0, 1).
    """
    if len(shape) != 3:
        raise BenchError(f"resnet18 takes images (C, H, W), not inputs of shape {shape}")
    check = Checks.of("model.", width=width, dropout=dropout)
    check.at_least(1, "width")
    check.within(0, 1, "dropout", closed="left")
    layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    inputs = width
    for stage, outputs in enumerate((width, 2 * width, 4 * width, 8 * width)):
        layers += [BasicBlock(inputs, outputs, 2 if stage else 1), BasicBlock(outputs, outputs, 1)]
        inputs = outputs
    drop = [nn.Dropout(dropout)] if dropout else []
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *drop, nn.Linear(inputs, classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"resnet18": resnet18}
