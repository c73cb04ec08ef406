"""DeepAugment: images passed through a randomly distorted image-to-image network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.images.operations import check_images
from bench_plugins.methods.augmix import AugMix
from bench_plugins.methods.distortion import Autoencoder, distort_signal, distort_weight


@dataclass
class DeepAugment(Method):
    """DeepAugment, a light version: part of each batch passes through a randomly distorted autoencoder.

    Source: Hendrycks et al. 2021, The Many Faces of Robustness, the section on DeepAugment: an image-to-image network,
    whose weights and signals are distorted at random (zeroed, negated, convolved, transposed, given other activation
    functions), makes images with new distortions and the same content.

    This is a light version, and results are not the paper's:

    - The paper takes two large networks that were trained elsewhere (a compressing autoencoder and a super-resolution
      network), and stores distorted copies of ImageNet beside the images. Here epochs of preparation, whose cost is in
      the record, train four convolutions on the augmented training images (squared error, Adam at 1e-3).
    - In each step, the first images of the batch (`share` of it, in random order as the batch is) are replaced by their
      distorted versions; nothing is stored. Distorted filters are drawn for each batch, distorted signals for each
      image and channel, of the kinds that the paper's text names. The last layer is left as it is.

    By itself it is no more robust than ERM on 8x8 digits under noise, blur and shifts (the tests hold that). Random
    numbers come from torch's global generators, seeded for each epoch; the autoencoder's initial weights from the run's
    seed. Raises NotApplicableError for inputs that are no images.

    Options:
        share: of each batch that is distorted. rate: probability that a filter, or a channel of a signal, is distorted.
        channels: of the autoencoder's inner layers. autoencoder_epochs: how long it is trained.
    """

    name = "deep_augment"
    stackable = False

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
        self.preparation_epochs, self.preparing = self.autoencoder_epochs, False
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
        """A step of the autoencoder; the squared errors [B], and weights of 1."""
        errors = (self.autoencoder(batch.x) - batch.x).square().flatten(1).mean(-1)
        self.autoencoder_optimizer.zero_grad()
        errors.mean().backward()
        self.autoencoder_optimizer.step()
        return errors.detach(), torch.ones_like(errors)

    def losses(self, batch: Batch) -> Tensor:
        return super().losses(batch._replace(x=self.distorted(batch.x)))

    @torch.no_grad()
    def distorted(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W], the first of them distorted."""
        first = round(self.share * len(x))
        if not first:
            return x
        weight, signal = (partial(change, rate=self.rate) for change in (distort_weight, distort_signal))
        return torch.cat([self.autoencoder(x[:first], weight, signal), x[first:]])


@dataclass
class DeepAugmentAugMix(DeepAugment, AugMix):
    """DeepAugment and AugMix together, light: what DeepAugment makes of a batch is what AugMix mixes, as if clean.

    Source: Hendrycks et al. 2021, The Many Faces of Robustness, which has both at once; see `deep_augment` for what is
    light here, and `augmix`. On 8x8 digits it gains over ERM, and no more than AugMix by itself. Raises
    NotApplicableError where one of them does.

    Options: those of `deep_augment` and of `augmix`.
    """

    name = "deep_augment_augmix"

    def __post_init__(self) -> None:
        DeepAugment.__post_init__(self)
        AugMix.__post_init__(self)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {DeepAugment.name: DeepAugment, DeepAugmentAugMix.name: DeepAugmentAugMix}
