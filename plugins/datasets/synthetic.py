"""The two-dimensional sets on which importance weighting is watched: generated, nothing to download."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bench import Dataset, Files, Recipe, Split, hookimpl

Points = tuple[NDArray[np.float64], NDArray[np.int64]]
"""(x [N, 2], y [N]), class 1 the positive one."""

REPORT = "Zha, Gao, Ma, Xu, Understand the Effect of Importance Weighting in Deep Learning on Dataset Shift"
CLASSES = ("negative", "positive")

RADIUS = 2.0
TRANSLATION = np.array([3.0, 3.0])
ANGLE = math.pi / 4

GRID = 50


def load_moons(files: Files) -> Dataset:
    """Two moons, 512 + 512 points in 2-D: not linearly separable.

    Source: Zha, Gao, Ma, Xu, section 3.1. The noise (0.1), the seeds and the half-and-half split into training and test
    data are in the authors' code only.

    Departures: the report has no validation data. Here they are 256 further points of another seed, so that training
    keeps all of its 512.

    Args:
        files: not used, because the points are generated.
    """
    from sklearn.datasets import make_moons
    from sklearn.model_selection import train_test_split

    x, y = make_moons(n_samples=1024, noise=0.1, random_state=1)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.5, random_state=42)
    val = make_moons(n_samples=256, noise=0.1, random_state=2)
    return _dataset("moons", (x_train, y_train), val, (x_test, y_test))


def load_separable(files: Files) -> Dataset:
    """Two rotated clouds, 512 + 512 points in 2-D for training and as many for testing: linearly separable.

    The positives are a truncated standard normal sample; the negatives are the same points rotated and translated.

    Source: Zha, Gao, Ma, Xu, section 3.1, which does not give the numbers.

    What the report leaves open is decided here:

    - The sample is truncated at distance 2 from the mean, rotated by 45 degrees and translated by (3, 3), so that the
      gap between the classes is at least |(3, 3)| - 2 * 2 = 0.24 and the learning rate comes out near the report's
      1e-4.
    - Test data, and validation data (128 + 128; the report has none), are made in the same way with other seeds.

    Args:
        files: not used, because the points are generated.
    """
    return _dataset("separable", separable(512, seed=1), separable(128, seed=2), separable(512, seed=3))


def separable(per_class: int, seed: int) -> Points:
    """`per_class` positives around the origin and as many negatives around `TRANSLATION`, drawn by the seed."""
    random = np.random.default_rng(seed)
    points = random.standard_normal((4 * per_class, 2))  # 86 % lie within the radius
    positive = points[np.linalg.norm(points, axis=1) <= RADIUS][:per_class]
    cos = math.cos(ANGLE)
    sin = math.sin(ANGLE)
    negative = positive @ np.array([[cos, sin], [-sin, cos]]) + TRANSLATION
    return np.concatenate([positive, negative]), np.repeat([1, 0], per_class)


def recipe(x: NDArray[np.float64]) -> Recipe:
    """The report's training (section 3.1): 10,000 epochs of batches of 8, which takes long; `--epochs` shortens it.

    The learning rate is 0.01 / sigma_max(X). Both models of the report are trained alike: the MLP here, logistic
    regression with `--model logistic`. Its sigmoid output and binary cross-entropy are two logits and cross-entropy
    here.

    Args:
        x: X, the training data [N, 2].
    """
    return Recipe(
        model="mlp",
        model_options={"hidden": (64,), "activation": "relu"},
        protocol="class_fairness",
        optimizer="sgd",
        lr=0.01 / float(np.linalg.norm(x, ord=2)),
        epochs=10_000,
        batch_size=8,
        val_batch_size=8,
        evaluate_every=100,
        evaluate_at=(1, 10, 100, 1000, 10_000),  # those of the report's Figures 1 to 4, 6 and 7
        source=f"{REPORT}, section 3.1",
    )


def _dataset(name: str, train: Points, val: Points, test: Points) -> Dataset:
    contents = b"".join(array.tobytes() for points in (train, val, test) for array in points)
    base = recipe(train[0])
    return Dataset(
        name=name,
        train=_split(train),
        val=_split(val),
        test=_split(test),
        classes=CLASSES,
        probes={"grid": grid(train[0])},
        recipe=base,
        recipes={
            "label_shift": replace(base, protocol="label_shift"),
            "imbalance": replace(base, protocol="imbalance", options={"imbalance": {"factor": 10.0}}),
        },
        reference=f"{REPORT}; after Byrd and Lipton 2019, What is the Effect of Importance Weighting in Deep Learning?",
        revision=hashlib.sha256(contents).hexdigest()[:12],
    )


def grid(x: NDArray[np.float64]) -> Split:
    """A probe for pictures of predictions in the plane: GRID * GRID points, row by row; their class means nothing.

    The points cover what the training data span and a tenth more on each side.

    Args:
        x: the training data [N, 2].
    """
    margin = np.ptp(x, axis=0) / 10
    first, second = np.linspace(x.min(0) - margin, x.max(0) + margin, GRID).T
    points = np.stack(np.meshgrid(first, second), -1).reshape(-1, 2)
    return _split((points, np.zeros(len(points), dtype=np.int64)))


def _split(points: Points) -> Split:
    x = torch.from_numpy(points[0]).float()
    y = torch.from_numpy(points[1]).long()
    return Split(x, y, group=y)


@hookimpl
def bench_datasets() -> Mapping[str, Callable[[Files], Dataset]]:
    return {"moons": load_moons, "separable": load_separable}
