"""Adversarial noise training."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import Batch, Checks, Method, hookimpl
from bench.images.attacks import InputRange
from bench.images.operations import check_images


class NoiseGenerator(nn.Module):
    """A network that turns Gaussian noise [n, C, H, W] into noise of another distribution.

    It adds to its input what four convolutions with ReLU between them make of it.
    """

    HIDDEN = 20

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        widths = [channels, self.HIDDEN, self.HIDDEN, self.HIDDEN, channels]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z: Tensor) -> Tensor:
        return z + self.layers(z)  # type: ignore[no-any-return]


@dataclass
class ANT(Method):
    """Adversarial noise training: a generator learns the most harmful noise while the model learns to withstand it.

    The generator is a small network that maps Gaussian noise, pixel by pixel, to noise. That noise is scaled to a fixed
    L2 norm and added to the image, and the sum is clamped to [0, 1]. The generator learns to raise the model's loss.
    The model learns from batches of which one part has noise and the rest is clean. Some of the noise comes from
    earlier generators (experience replay), so that the model does not forget what it learned from them. From time to
    time a new generator begins, because the old one may be stuck.

    Source: Rusak, Schott, Zimmermann, Bitterwolf, Bringmann, Bethge, Brendel, A Simple Way to Make Neural Networks
    Robust Against Diverse Image Corruptions, 2020. "The code" below is the authors', bethgelab/game-of-noise.

    The norm of the noise is 135 for images of 224 x 224 x 3 values, in the paper and in the code. As noise per value
    that is 135 / sqrt(150,528) = 0.348, which is the default here for images of all sizes: it gives a norm of 19.3 for
    32 x 32 x 3 values and of 2.8 for 8 x 8.

    Departures, and what the paper leaves open:

    - The norm is that of the noise before the clamp. The code scales the noise so that what the clamp leaves has the
      norm.
    - One step of the generator, by Adam, precedes each step of the model, as in the code. It uses the samples that then
      get noise; the code uses the whole batch. The model is in evaluation mode during it, so no running statistic of
      BatchNorm moves and no dropout is drawn. The model's own pass is in training mode, with clean and noisy samples
      together.
    - Generators change at the ends of epochs. A replayed part of a batch has the noise of one earlier generator, drawn
      uniformly; while there is no earlier one, it has the noise of the current generator. The code replays the states
      at the ends of epochs, two of them in a batch, and begins a new generator every 10 epochs with up to 1,000 steps
      before the model's.
    - The model is trained from the start. The paper tunes a trained one.
    - The initial weights of generators are PyTorch's. The code draws them from a normal distribution of 0.01, with
      biases of 0, so that the first noise is almost Gaussian. With `kernel=3` all four convolutions are 3x3; in the
      code only the second is.
    - The defaults of share and replay are the code's. Those of restart_every and generator_lr (1e-4 in the code) are
      ours.

    Options:
        eps: root mean square of the noise over the values of an image, before the clamp. Default: 0.348.
        kernel: side of the generator's convolutions. 1 (the default) mixes the colours of each pixel alone; 3
            correlates neighbouring pixels (the paper's ANT3x3).
        share: fraction of the samples of a batch that gets noise. Default: 0.5.
        replay: fraction of those samples whose noise comes from an earlier generator. Default: 0.4.
        restart_every: number of epochs after which a new generator begins. Default: 5.
        generator_lr: learning rate of the generator. Default: 1e-3.

    Raises:
        NotApplicableError: for inputs that are not images, because the noise is made for the pixels and colours of one.
    """

    name = "ant"

    eps: float = 0.348
    kernel: Literal[1, 3] = 1
    share: float = 0.5
    replay: float = 0.4
    restart_every: int = 5
    generator_lr: float = 1e-3

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(0, "eps", "generator_lr")
        check.within(0, 1, "share", closed="right")
        check.within(0, 1, "replay")
        check.at_least(1, "restart_every")

    def setup(self) -> None:
        train = self.task.train
        check_images(train, self.name)
        self.range = InputRange.of(train)
        self.current = 0  # the number of the generator that learns
        with torch.random.fork_rng([]):
            torch.manual_seed(self.task.streams.seed("method"))
            self.generators = nn.ModuleList(  # all that this training will use, in order
                NoiseGenerator(train.x.shape[1], self.kernel)
                for _ in range(0, self.training_epochs, self.restart_every)
            ).to(train.device)
        self.generator_optimizer = torch.optim.Adam(self.generators.parameters(), self.generator_lr, maximize=True)

    def batches(self, epoch: int) -> Iterator[Batch]:
        self.current = epoch // self.restart_every
        return super().batches(epoch)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        noisy = max(1, round(self.share * len(batch.y)))
        self.train_generator(batch.x[:noisy], batch.y[:noisy])
        with torch.no_grad():
            x = self.with_noise(batch.x[:noisy])
        return super().update(batch._replace(x=torch.cat([x, batch.x[noisy:]])))

    def train_generator(self, x: Tensor, y: Tensor) -> None:
        """Take one step of the current generator that raises the model's loss on the images x [n, C, H, W]."""
        generator = self.generators[self.current]
        parameters = list(generator.parameters())
        training = self.model.training
        self.model.eval()
        loss = self.task.loss(self.model(self.noisy(generator, x)), y).mean()
        self.model.train(training)
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        self.generator_optimizer.step()
        self.generator_optimizer.zero_grad()  # those of one generator are not another's

    def with_noise(self, x: Tensor) -> Tensor:
        """The images with noise: the last `replay` of them that of an earlier generator, the rest the current one's."""
        fresh = len(x) - round(self.replay * len(x))
        earlier = int(torch.randint(max(self.current, 1), ()))
        with_current = self.noisy(self.generators[self.current], x[:fresh])
        with_earlier = self.noisy(self.generators[earlier], x[fresh:])
        return torch.cat([with_current, with_earlier])

    def noisy(self, generator: nn.Module, x: Tensor) -> Tensor:
        """The images [n, C, H, W] with noise of the generator added."""
        return self.range.perturbed(x, self.noise(generator, x))

    def noise(self, generator: nn.Module, x: Tensor) -> Tensor:
        """Noise for images [n, C, H, W]; for each image its L2 norm is eps * sqrt(C H W)."""
        unit = F.normalize(generator(torch.randn_like(x)).flatten(1)).view_as(x)
        radius: float = self.eps * x.shape[1:].numel() ** 0.5
        return radius * unit


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {ANT.name: ANT}
