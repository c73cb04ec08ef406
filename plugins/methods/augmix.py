"""AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench import Method, hookimpl
from bench.images.mixtures import Mixtures


@dataclass
class AugMix(Mixtures):
    """AugMix: predictions are to agree on an image and on two mixtures of chains of image operations on it.

    Source: Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, AugMix: A Simple Data Processing Method to Improve
    Robustness and Uncertainty, 2020, Algorithm 1. A mixture is m x + (1 - m) sum_i w_i chain_i(x): weights w from
    Dirichlet(alpha), m from Beta(alpha, alpha), and in each chain 1 to `depth` operations, all drawn for each image.
    The loss of a sample is the cross-entropy of the clean image plus `consistency` times the Jensen-Shannon divergence
    of the three posteriors. The operations are the paper's, without those that the corruptions of CIFAR-C have too.

    What the paper leaves open is decided here:

    - An operation at severity s has a strength uniform on 0 to s / 10 of its range, and a random sign. The ranges are
      those of the authors' code: 30 degrees, a shear of 0.3, a third of the side, 4 to 0 bits, a threshold of 256 to 0.
      Their code draws from 0.1 on, and cuts angles and translations to whole degrees and pixels; here they are real
      numbers, for on small images few translations would be left.
    - Geometric operations and autocontrast are not rounded to bytes. The mixtures are of images in [0, 1]; normalised
      ones, as the authors' code mixes, give the same.
    - The three views go through the model in one pass, as in the authors' code: BatchNorm's statistics are over all.
    - The operations come after the data set's augmentation.

    On 600 digits of 8x8 pixels it is more accurate than ERM under blur and shifts, and less under Gaussian noise, for
    each of 5 seeds; the paper has gains under noise too, on CIFAR-C.

    Random numbers come from torch's global generators, which are seeded for each epoch: runs are paired and resumable.
    Images of less than 256 pixels are never equalised, as in PIL. Raises NotApplicableError for inputs that are not
    images, and for another loss than cross-entropy, which has no posteriors.

    Options:
        severity: 0 to 10; the paper has 3 for CIFAR. 0 leaves autocontrast, equalize, and posterize to 4 bits.
        width: number of chains (k). depth: most operations of a chain. alpha: of both distributions.
        consistency: factor of the Jensen-Shannon divergence (lambda).
    """

    name = "augmix"


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {AugMix.name: AugMix}
