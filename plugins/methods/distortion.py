"""An image-to-image network, and the random distortions of its weights and signals that DeepAugment makes."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]


class Autoencoder(nn.Module):
    """Images [B, C, H, W] in [0, 1] -> such images: 3x3 convolutions, the code at half the resolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.encode = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.decode = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, weight: Change = lambda w: w, signal: Change = F.relu) -> Tensor:
        """weight, signal: what becomes of the filters [out, in, 3, 3] and the sums [B, out, H, W] of inner layers."""

        def layer(conv: nn.Conv2d, h: Tensor) -> Tensor:
            return signal(F.conv2d(h, weight(conv.weight), conv.bias, conv.stride, 1))

        code = layer(self.encode, layer(self.first, x))
        decoded = layer(self.decode, F.interpolate(code, x.shape[-2:]))
        return torch.sigmoid(self.last(decoded))


def choose(usual: Tensor, others: Sequence[Tensor], rate: float, dims: int) -> Tensor:
    """Each entry over the first `dims` dimensions is the usual one, or with probability `rate` any of the others."""
    shape = usual.shape[:dims]
    changed = torch.rand(shape, device=usual.device) < rate
    kind = torch.randint(len(others), shape, device=usual.device).where(changed, -1)
    kind = kind.view(*shape, *[1] * (usual.dim() - dims))
    for i, other in enumerate(others):
        usual = other.where(kind == i, usual)
    return usual


def distort_weight(w: Tensor, rate: float) -> Tensor:
    """Filters [out, in, k, k], some of them zero, negated, transposed, or convolved with a random kernel."""
    kernel = torch.randn(1, 1, 3, 3, device=w.device) / 3  # on average it keeps the energy
    convolved = F.conv2d(w.flatten(0, 1).unsqueeze(1), kernel, padding=1).view_as(w)
    return choose(w, [torch.zeros_like(w), -w, w.mT, convolved], rate, 1)


def distort_signal(h: Tensor, rate: float) -> Tensor:
    """ReLU of [B, channels, H, W], some channels of each image zero, negated, transposed (mirrored where they are not
    square), convolved with a random kernel, or with GELU, tanh or the absolute value instead.
    """
    on, channels = h.relu(), h.shape[1]
    turned = on.mT if h.shape[-1] == h.shape[-2] else on.flip(-1)
    kernel = torch.randn(channels, 1, 3, 3, device=h.device) / 3
    convolved = F.conv2d(on, kernel, padding=1, groups=channels)
    return choose(on, [torch.zeros_like(on), -on, turned, convolved, F.gelu(h), h.tanh(), h.abs()], rate, 2)
