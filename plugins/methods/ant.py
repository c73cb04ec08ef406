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
    """Gaussian noise [n, C, H, W] to noise of another distribution: itself, and four convolutions of it with ReLU."""

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
    """Adversarial noise training: a generator learns the noise that harms most while the model learns to bear it.

    Source: Rusak, Schott, Zimmermann, Bitterwolf, Bringmann, Bethge, Brendel, A Simple Way to Make Neural Networks
    Robust Against Diverse Image Corruptions, 2020. A small network maps Gaussian noise, pixel by pixel, to noise, which
    is scaled to a fixed L2 norm and added to the image; the sum is clamped to [0, 1]. It learns to raise the model's
    loss. The model learns from batches of which one part has noise and one part is clean; some of the noise is that of
    earlier generators (experience replay), so that what was learned of them is not forgotten, and from time to time a
    new generator begins, for the old one may be stuck. "The code" is the authors', bethgelab/game-of-noise.

    The norm is 135 for images of 224 x 224 x 3 values, in the paper and the code. As noise per value that is
    135 / sqrt(150,528) = 0.348, the default here for images of all sizes: a norm of 19.3 for 32 x 32 x 3 values, 2.8
    for 8 x 8. Here it is the norm before the clamp; the code scales the noise so that what the clamp leaves has it.

    What the paper leaves open, and departures:

    - One step of the generator, by Adam, precedes each step of the model, as in the code. It is made on the samples
      that then get noise (in the code, on the whole batch), with the model in evaluation mode: no running statistic of
      BatchNorm moves, no dropout is drawn. The model's own pass is in training mode, clean and noisy samples together.
    - Generators change at the ends of epochs. A replayed part of a batch has the noise of one earlier generator, drawn
      uniformly; while there is none, that of the current one. The code replays the states at the ends of epochs, two of
      them in a batch; it begins a new generator every 10 epochs, with up to 1,000 steps before the model's.
    - The model is trained from the start, where the paper tunes a trained one.
    - Initial weights of generators are PyTorch's; the code has normal ones of 0.01 and biases of 0, so that the first
      noise is almost Gaussian. With `kernel=3` all four convolutions are 3x3, in the code the second alone.
    - share and replay are the code's. The defaults of restart_every and generator_lr (1e-4 in the code) are ours.

    Raises NotApplicableError for inputs that are not images: noise is made for the pixels and colours of one.

    Options:
        eps: root mean square of the noise over the values of an image, before clamping.
        kernel: 1 mixes the colours of each pixel alone, 3 correlates neighbours (the paper's ANT3x3).
        share: part of the samples of a batch that gets noise.
        replay: part of those whose noise is that of an earlier generator.
        restart_every: epochs after which a new generator begins.
        generator_lr: learning rate of the generator.
    """

    name = "ant"
    stackable = False

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
        self.range, self.current = InputRange.of(train), 0
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
        """One step of the current generator up the model's loss."""
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
        """Images with the noise of the current generator, the last `replay` of them with that of an earlier one."""
        fresh = len(x) - round(self.replay * len(x))
        earlier = int(torch.randint(max(self.current, 1), ()))
        parts = (self.current, x[:fresh]), (earlier, x[fresh:])
        return torch.cat([self.noisy(self.generators[number], part) for number, part in parts])

    def noisy(self, generator: nn.Module, x: Tensor) -> Tensor:
        """Images [n, C, H, W] with noise of the generator."""
        return self.range.perturbed(x, self.noise(generator, x))

    def noise(self, generator: nn.Module, x: Tensor) -> Tensor:
        """Noise for images [n, C, H, W], each of the L2 norm eps * sqrt(C H W)."""
        unit = F.normalize(generator(torch.randn_like(x)).flatten(1)).view_as(x)
        radius: float = self.eps * x.shape[1:].numel() ** 0.5
        return radius * unit


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {ANT.name: ANT}
