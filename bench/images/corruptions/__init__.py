"""The common corruptions of images: ImageNet-C's fifteen and its four extra ones, at five severities, on any device.

Source: Hendrycks, Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, 2019, and
its public code (hendrycks/robustness), with the constants that it has for images of three sizes: those of CIFAR-10-C up
to 32 pixels, those of ImageNet-64x64-C, which are Tiny ImageNet-C's, up to 64, and those of ImageNet-C above. At 64
pixels ImageNet-C's own, made for 224, would leave little to see: a disc of radius 10, say, for `defocus_blur`.

Departures: the ice of `frost` is a procedural texture in place of photographs that are not ours to give away; results
are bytes that no JPEG has changed, while ImageNet-C is stored as JPEG of quality 85.
"""

from collections.abc import Mapping
from typing import Any

from bench.images.corruptions.base import Corruption
from bench.images.corruptions.blur import DEFOCUS_BLUR, GAUSSIAN_BLUR, GLASS_BLUR, MOTION_BLUR, ZOOM_BLUR
from bench.images.corruptions.digital import (
    BRIGHTNESS,
    CONTRAST,
    ELASTIC_TRANSFORM,
    JPEG_COMPRESSION,
    PIXELATE,
    SATURATE,
)
from bench.images.corruptions.noise import GAUSSIAN_NOISE, IMPULSE_NOISE, SHOT_NOISE, SPECKLE_NOISE
from bench.images.corruptions.spatter import SPATTER
from bench.images.corruptions.weather import FOG, FROST, SNOW

COMMON: Mapping[str, Corruption[Any, Any]] = {
    "gaussian_noise": GAUSSIAN_NOISE,
    "shot_noise": SHOT_NOISE,
    "impulse_noise": IMPULSE_NOISE,
    "defocus_blur": DEFOCUS_BLUR,
    "glass_blur": GLASS_BLUR,
    "motion_blur": MOTION_BLUR,
    "zoom_blur": ZOOM_BLUR,
    "snow": SNOW,
    "frost": FROST,
    "fog": FOG,
    "brightness": BRIGHTNESS,
    "contrast": CONTRAST,
    "elastic_transform": ELASTIC_TRANSFORM,
    "pixelate": PIXELATE,
    "jpeg_compression": JPEG_COMPRESSION,
}
"""The fifteen that the mean corruption error is taken over."""

EXTRA: Mapping[str, Corruption[Any, Any]] = {
    "speckle_noise": SPECKLE_NOISE,
    "gaussian_blur": GAUSSIAN_BLUR,
    "spatter": SPATTER,
    "saturate": SATURATE,
}
"""The four that were held out, to choose a method's settings on."""

CORRUPTIONS: Mapping[str, Corruption[Any, Any]] = {**COMMON, **EXTRA}
SEVERITIES = (1, 2, 3, 4, 5)
