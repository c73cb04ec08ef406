"""DeepAugment: images passed through a randomly distorted image-to-image network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import Batch, Checks, Method, Step, hookimpl
from bench.images.mixtures import Mixtures
from bench.images.operations import check_images

Change = Callable[[Tensor], Tensor]


class Autoencoder(nn.Module):
    """An autoencoder of images [B, C, H, W] in [0, 1]: 3x3 convolutions, with the code at half the resolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.encode = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.decode = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, weight: Change = lambda w: w, signal: Change = F.relu) -> Tensor:
        """The images that the autoencoder makes of x [B, C, H, W].

        Args:
            x: images in [0, 1].
            weight: what becomes of the filters [out, in, 3, 3] of the inner layers.
            signal: what becomes of the sums [B, out, H, W] of the inner layers.
        """

        def layer(conv: nn.Conv2d, h: Tensor) -> Tensor:
            return signal(F.conv2d(h, weight(conv.weight), conv.bias, conv.stride, 1))

        code = layer(self.encode, layer(self.first, x))
        decoded = layer(self.decode, F.interpolate(code, x.shape[-2:]))
        return torch.sigmoid(self.last(decoded))


def choose(usual: Tensor, others: Sequence[Tensor], rate: float, dims: int) -> Tensor:
    """Each entry over the first `dims` dimensions is the usual one or, with probability `rate`, one of the others.

    All of the others are equally likely.
    """
    shape = usual.shape[:dims]
    changed = torch.rand(shape, device=usual.device) < rate
    kind = torch.randint(len(others), shape, device=usual.device).where(changed, -1)
    kind = kind.view(*shape, *[1] * (usual.dim() - dims))
    for i, other in enumerate(others):
        usual = other.where(kind == i, usual)
    return usual


def distort_weight(w: Tensor, rate: float) -> Tensor:
    """The filters [out, in, k, k], some of them zeroed, negated, transposed, or convolved with a random kernel."""
    kernel = torch.randn(1, 1, 3, 3, device=w.device) / 3  # on average it keeps the energy
    convolved = F.conv2d(w.flatten(0, 1).unsqueeze(1), kernel, padding=1).view_as(w)
    return choose(w, [torch.zeros_like(w), -w, w.mT, convolved], rate, 1)


def distort_signal(h: Tensor, rate: float) -> Tensor:
    """ReLU of h [B, channels, H, W], with some channels of each image distorted.

    Such a channel is zeroed, negated, transposed (mirrored where it is not square) or convolved with a random kernel,
    or has GELU, tanh or the absolute value instead of ReLU.
    """
    on = h.relu()
    channels = h.shape[1]
    turned = on.mT if h.shape[-1] == h.shape[-2] else on.flip(-1)
    kernel = torch.randn(channels, 1, 3, 3, device=h.device) / 3
    convolved = F.conv2d(on, kernel, padding=1, groups=channels)
    return choose(on, [torch.zeros_like(on), -on, turned, convolved, F.gelu(h), h.tanh(), h.abs()], rate, 2)


@dataclass
class DeepAugment(Method):
    """DeepAugment, a light version: part of each batch passes through a randomly distorted autoencoder.

    DeepAugment distorts the weights and signals of an image-to-image network at random (they are zeroed, negated,
    convolved, transposed, or given other activation functions), so that it makes images with new distortions and the
    same content. In each step here the first images of the batch, a fraction `share` of it in the batch's random order,
    are replaced by their distorted versions.

    By itself this light version is no more robust than ERM on 8x8 digits under noise, blur and shifts (the tests hold
    that).

    Random numbers come from torch's global generators, seeded for each epoch; the autoencoder's initial weights come
    from the run's seed.

    Source: Hendrycks et al. 2021, The Many Faces of Robustness, the section on DeepAugment.

    Departures, so that results are not the paper's:

    - The paper takes two large networks that were trained elsewhere (a compressing autoencoder and a super-resolution
      network) and stores distorted copies of ImageNet beside the images. Here epochs of preparation, whose cost is in
      the record, train four convolutions on the augmented training images (squared error, Adam at 1e-3), and nothing is
      stored.
    - Distorted filters are drawn for each batch, distorted signals for each image and channel, of the kinds that the
      paper's text names. The last layer is left as it is.

    Options:
        share: fraction of each batch that is distorted. Default: 0.5.
        rate: probability that a filter, or a channel of a signal, is distorted. Default: 0.1.
        channels: number of channels of the autoencoder's inner layers. Default: 32.
        autoencoder_epochs: number of epochs that the autoencoder is trained. Default: 5.

    Raises:
        NotApplicableError: for inputs that are not images.
    """

    name = "deep_augment"

    share: float = 0.5
    rate: float = 0.1
    channels: int = 32
    autoencoder_epochs: int = 5

    def __post_init__(self) -> None:
        check = Checks(self)
        check.within(0, 1, "share", "rate")
        check.at_least(1, "channels")
        check.at_least(0, "autoencoder_epochs")

    def setup(self) -> None:
        check_images(self.task.train, self.name)
        super().setup()
        self.preparation_epochs = self.autoencoder_epochs
        self.preparing = False
        with torch.random.fork_rng([]):
            torch.manual_seed(self.task.streams.seed("method"))
            self.autoencoder = Autoencoder(self.task.train.x.shape[1], self.channels).to(self.task.device)
        self.autoencoder_optimizer = torch.optim.Adam(self.autoencoder.parameters(), fused=True)

    def batches(self, epoch: int) -> Iterator[Batch]:
        self.preparing = epoch < 0
        return super().batches(epoch)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.prepare(batch) if self.preparing else super().update(batch)

    def prepare(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Take a step of the autoencoder; returns its squared errors [B], and weights of 1."""
        errors = (self.autoencoder(batch.x) - batch.x).square().flatten(1).mean(-1)
        self.autoencoder_optimizer.zero_grad()
        errors.mean().backward()
        self.autoencoder_optimizer.step()
        return errors.detach(), torch.ones_like(errors)

    def losses(self, batch: Step) -> Tensor:
        return super().losses(batch._replace(x=self.distorted(batch.x)))

    @torch.no_grad()
    def distorted(self, x: Tensor) -> Tensor:
        """The images [B, C, H, W], the first of them distorted."""
        first = round(self.share * len(x))
        if not first:
            return x
        weight = partial(distort_weight, rate=self.rate)
        signal = partial(distort_signal, rate=self.rate)
        return torch.cat([self.autoencoder(x[:first], weight, signal), x[first:]])


@dataclass
class DeepAugmentAugMix(DeepAugment, Mixtures):
    """DeepAugment and AugMix together, light: AugMix mixes the images that DeepAugment made of a batch, as if clean.

    On 8x8 digits it gains over ERM, and no more than AugMix by itself.

    Source: Hendrycks et al. 2021, The Many Faces of Robustness, which has both at once.

    Departures: those of `deep_augment`, which says what is light here, and those of `augmix`.

    Options:
        All options of `deep_augment` and of `augmix`.

    Raises:
        NotApplicableError: where `deep_augment` or `augmix` does.
    """

    name = "deep_augment_augmix"

    def __post_init__(self) -> None:
        DeepAugment.__post_init__(self)
        Mixtures.__post_init__(self)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {DeepAugment.name: DeepAugment, DeepAugmentAugMix.name: DeepAugmentAugMix}
