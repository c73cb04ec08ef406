"""AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench import Method, hookimpl
from bench.images.mixtures import Mixtures


@dataclass
class AugMix(Mixtures):
    """AugMix: the model must predict the same for an image and for two mixtures of image operations applied to it.

    A mixture is m x + (1 - m) sum_i w_i chain_i(x). The weights w are drawn from Dirichlet(alpha), m from Beta(alpha,
    alpha), and each chain has 1 to `depth` operations; all of this is drawn for each image. The loss of a sample is the
    cross-entropy of the clean image plus `consistency` times the Jensen-Shannon divergence of the three posteriors.

    On 600 digits of 8x8 pixels AugMix is more accurate than ERM under blur and shifts, and less accurate under Gaussian
    noise, for each of 5 seeds. On CIFAR-C the paper reports gains under noise too.

    Random numbers come from torch's global generators, which are seeded for each epoch, so that runs are paired and can
    be resumed.

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, AugMix: A Simple Data Processing Method to Improve
    Robustness and Uncertainty, 2020, Algorithm 1. The operations are the paper's, without those that are also among the
    corruptions of CIFAR-C.

    Departures, and what the paper leaves open:

    - An operation at severity s has a strength uniform on 0 to s / 10 of its range, and a random sign. The ranges are
      those of the authors' code: 30 degrees, a shear of 0.3, a third of the side, 4 to 0 bits, a threshold of 256 to 0.
      Their code draws from 0.1 on and cuts angles and translations to whole degrees and pixels. Here they are real
      numbers, because few translations would be left on small images.
    - Geometric operations and autocontrast are not rounded to bytes. The mixtures are of images in [0, 1]. The authors'
      code mixes normalised images, which gives the same.
    - The three views go through the model in one pass, as in the authors' code, so BatchNorm's statistics are over all.
    - The operations come after the data set's augmentation.
    - Images of less than 256 pixels are never equalised, as in PIL.

    Options:
        severity: largest strength of the operations, 0 to 10. Default: 3, the paper's for CIFAR. At 0, autocontrast,
            equalize, and posterize to 4 bits still act.
        width: number of chains, the paper's k. Default: 3.
        depth: largest number of operations in a chain. Default: 3.
        alpha: parameter of both distributions. Default: 1.
        consistency: factor of the Jensen-Shannon divergence, the paper's lambda. Default: 12.

    Raises:
        NotApplicableError: for inputs that are not images, and for another loss than cross-entropy, which has no
            posteriors.
    """

    name = "augmix"


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {AugMix.name: AugMix}
