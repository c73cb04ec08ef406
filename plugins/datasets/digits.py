"""The digits that come with scikit-learn: nothing to download, a training takes seconds on a CPU."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from bench import Dataset, Files, Recipe, Split, hookimpl

RECIPE = Recipe(
    model="mlp",
    model_options={"hidden": (64,), "activation": "relu"},
    protocol="class_fairness",
    optimizer="adam",
    lr=1e-3,
    epochs=30,
    batch_size=32,
    val_size=300,
    test_size=360,
    min_per_group=3,
    options={"forml": {"weight_lr": 10.0}},  # with the model's, as in the paper, its weights would hardly move
    source="ours, for a quick first run; no paper uses it",
)
IMBALANCED = replace(
    RECIPE,
    protocol="imbalance",
    val_size=100,  # with 300, a long tail would lose most of its images
    options={**RECIPE.options, "imbalance": {"factor": 10.0, "validation": "balanced"}},
)
ROBUST = replace(
    IMBALANCED,
    protocol="robustness",
    options={**RECIPE.options, "robustness": {"factor": 10.0, "validation": "balanced"}},
)

AS_IT_IS = {name: replace(RECIPE, protocol=name) for name in ("label_noise", "label_shift", "pruning")}


def load_digits(files: Files) -> Dataset:
    """Digits of scikit-learn: 1,797 grey 8x8 images, 10 classes; embedded, trains in seconds.

    x [1797, 1, 8, 8] uint8: the grey levels 0..16, rescaled to 0..255. There is no official test split; the recipe
    holds one out by seed. The images are the test set of UCI's Optical Recognition of Handwritten Digits. Licence:
    CC BY 4.0.

    Args:
        files: not used, because scikit-learn brings the data.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)
    y = torch.from_numpy(digits.target.astype(np.int64))
    return Dataset(
        name="digits",
        train=Split(torch.from_numpy(pixels).unsqueeze(1), y, group=y),
        test=None,
        classes=tuple(map(str, range(10))),
        recipe=RECIPE,
        recipes={"imbalance": IMBALANCED, "robustness": ROBUST, **AS_IT_IS},
        reference="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; as in scikit-learn",
        revision=hashlib.sha256(pixels.tobytes() + y.numpy().tobytes()).hexdigest()[:12],
    )


@hookimpl
def bench_datasets() -> Mapping[str, Callable[[Files], Dataset]]:
    return {"digits": load_digits}
