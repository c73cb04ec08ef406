"""Small synthetic twins of the data sets, written in the official file formats, by the data sets' names.

They are read by the code that reads the real files: `load(Files(root, allow_unofficial=True, download=False))`.
"""

from tests.twins.arrays import cat_dog, cifar10, cifar100, communities, images, mnist
from tests.twins.fairness import adult, compas, waterbirds
from tests.twins.photographs import celeba, droughtwatch

__all__ = [
    "adult",
    "cat_dog",
    "celeba",
    "cifar10",
    "cifar100",
    "communities",
    "compas",
    "droughtwatch",
    "images",
    "mnist",
    "waterbirds",
]
