"""Protocols that change the classes' proportions, their parts or their labels, against counts by hand."""

from dataclasses import replace

import pytest
import torch

from bench import DataError, Dataset, OptionError, RandomStreams, Recipe, Split
from bench.data.classes import only
from bench.data.split import Splits
from bench.errors import ProtocolError
from bench.imbalanced import profile_counts
from bench.metrics import evaluate
from bench.predictions import Predictions
from bench.protocol import Protocol
from bench_plugins.protocols.covariate_shift import CovariateShift
from bench_plugins.protocols.imbalance import Imbalance
from bench_plugins.protocols.label_noise import LabelNoise
from bench_plugins.protocols.label_shift import LabelShift

RECIPE = Recipe(val_size=4, test_size=6)
NAMES = ("cat", "dog", "car", "truck", "frog")


def images(counts: list[int], first: int = 0) -> Split:
    """So many images of each class, in turns (class 0, 1, 2, 0, ...); all pixels have the image's number, mod 256."""
    y = torch.tensor([c for i in range(max(counts)) for c, n in enumerate(counts) if i < n])
    x = ((torch.arange(len(y)) + first) % 256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    return Split(x, y, y.clone())


def dataset(train: list[int], test: list[int] | None = None, **fields: object) -> Dataset:
    """Of toy images; their numbers tell the samples apart."""
    given = {"train": images(train), "test": images(test, 100) if test else None, "classes": NAMES[: len(train)]}
    return Dataset(**{"name": "toy", "recipe": RECIPE} | given | fields)


def run(protocol: Protocol, data: Dataset, seed: int = 0, recipe: Recipe = RECIPE) -> Splits:
    protocol.check(data)
    return protocol.splits(protocol.view(data), recipe, RandomStreams((seed,)))


def counts(split: Split, classes: int) -> list[int]:
    return split.y.bincount(minlength=classes).tolist()


def numbers(split: Split) -> list[int]:
    return split.x[:, 0, 0, 0].tolist()


# Classes


def test_only_some_classes_are_taken_in_the_order_given():
    data = only(dataset([3, 2, 4], [1, 2, 1]), ("car", "cat"))
    assert data.classes == ("car", "cat")
    before = dataset([3, 2, 4]).train
    assert numbers(data.train) == [i for i, y in enumerate(before.y.tolist()) if y in (2, 0)]
    assert data.train.y.tolist() == [{2: 0, 0: 1}[y] for y in before.y.tolist() if y in (2, 0)]
    assert (len(data.test), data.val) == (2, None)
    assert only(data, ()) is data


@pytest.mark.parametrize(
    ("names", "message"),
    [(("cat", "cow"), "toy has no class 'cow'; its classes: cat, dog, car"), (("cat", "cat"), "given twice")],
)
def test_wrong_classes_are_told(names, message):
    with pytest.raises(OptionError, match=message):
        only(dataset([3, 2, 4]), names)


# Imbalance


def test_a_hold_out_that_leaves_a_class_without_training_samples_is_told():
    """Of 10, 3 and 1 samples, half or more is held out."""
    data = dataset([10, 10, 10], [2, 2, 2])
    with pytest.raises(DataError, match=r"of 14 samples at factor 10, 1 are left for training, and none of 2 of 3"):
        run(Imbalance(factor=10.0), data, recipe=Recipe(val_size=13))


def test_the_long_tail_of_cifar_100_has_10847_images():
    """As the public code of LDAM has it, and its linear profile by hand."""
    found = profile_counts("long_tailed", 100, 500, 100)
    assert found == [int(500 * 0.01 ** (i / 99)) for i in range(100)]
    assert (sum(found), found[0], found[-1]) == (10_847, 500, 5)
    linear = profile_counts("linear", 100, 500, 100)
    assert linear == [500 - (495 * i + 98) // 99 for i in range(100)]
    assert (linear[0], linear[-1], sum(linear)) == (500, 5, 25_250)


@pytest.mark.parametrize(
    ("profile", "factor", "expected"),
    [
        ("long_tailed", 16, [80, 20, 5]),
        ("long_tailed", 1 / 16, [5, 20, 80]),
        ("linear", 16, [80, 42, 5]),
        ("step", 16, [80, 5, 5]),
        ("long_tailed", 1, [80, 80, 80]),
    ],
)
def test_profiles_by_hand(profile, factor, expected):
    assert profile_counts(profile, factor, 80, 3) == expected


def test_training_and_validation_data_are_imbalanced_and_the_test_data_are_not():
    data = dataset([80, 80, 90], [10, 11, 12])
    found = run(Imbalance(factor=16), data)
    assert [a + b for a, b in zip(counts(found.train, 3), counts(found.val, 3), strict=True)] == [80, 20, 5]
    assert len(found.val) == RECIPE.val_size
    assert found.tests["test"].x is data.test.x
    assert torch.equal(found.train.group, found.train.y)
    before = data.train.y.tolist()
    assert all(before[n] == y for n, y in zip(numbers(found.train), found.train.y.tolist(), strict=True))
    assert numbers(found.train) != numbers(run(Imbalance(factor=16), data, seed=1).train)


def test_test_data_that_are_held_out_keep_their_proportions():
    found = run(Imbalance(factor=5), dataset([40, 40]), recipe=Recipe(val_size=4, test_size=60))
    assert len(found.tests["test"]) == 60
    assert min(counts(found.tests["test"], 2)) > 20


def test_balanced_validation_data_are_taken_first():
    found = run(Imbalance(factor=10, validation="balanced"), dataset([52, 52], [5, 5]))
    assert (counts(found.val, 2), counts(found.train, 2)) == ([2, 2], [50, 5])
    assert not {*numbers(found.val)} & {*numbers(found.train)}


def test_the_faithful_set_has_the_labels_of_the_published_code():
    """312 + 5,000 images, of which all but 312 are cats, at 1:16; with more cats than dogs there is no defect."""
    data = dataset([5000, 5000], [5, 5])
    found = run(Imbalance(factor=1 / 16, classes=("cat", "dog"), labels="faithful"), data)
    every = Split.cat([found.train, found.val])
    assert counts(every, 2) == [312, 5000]
    assert (every.x[:, 0, 0, 0] % 2 == 1).sum() == 312  # dogs: images come in turns, so theirs are odd
    right = run(Imbalance(factor=16, labels="faithful"), data)
    assert all(n % 2 == y for n, y in zip(numbers(right.train), right.train.y.tolist(), strict=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"factor": 0}, OptionError, "protocol.factor must be above 0, not 0"),
        ({"factor": 100}, DataError, "factor 100 leaves 1 of 3 classes without a training sample .the largest has 80"),
        ({"labels": "faithful"}, ProtocolError, "is for two classes, not 3: choose them with -o protocol.classes"),
        ({"classes": ("cat",)}, ProtocolError, "needs two classes or more, not 1"),
        ({"validation": "balanced"}, DataError, "multiple of 3 classes that leaves some of the 80 .* not 4"),
    ],
)
def test_what_cannot_be_made_imbalanced_is_told(options, error, message):
    with pytest.raises(error, match=message):
        run(Imbalance(**options), dataset([80, 80, 90], [10, 11, 12]))


# Label noise


@pytest.mark.parametrize("kind", ["one_class", "symmetric", "pair"])
def test_a_fraction_of_the_labels_is_wrong(kind):
    data = dataset([60, 60, 60], [5, 5, 5])
    clean = run(LabelNoise(fraction=0), data)
    found = run(LabelNoise(kind=kind, fraction=0.3), data)
    assert numbers(found.train) == numbers(clean.train)
    before, after = clean.train.y, found.train.y
    assert torch.equal(found.train.columns["true_class"], before)
    changed = before != after
    noisy = int(0.3 * 176)
    if kind == "one_class":
        assert (after[changed] == 2).all()
        assert noisy / 3 < changed.sum() < noisy  # some were of that class
    else:
        assert changed.sum() == noisy
    if kind == "pair":
        assert torch.equal(after[changed], (before[changed] + 1) % 3)
    if kind == "symmetric":
        steps = ((after - before)[changed] % 3).bincount(minlength=3)
        assert steps[0] == 0 and steps[1:].min() > noisy / 4
    assert torch.equal(found.tests["test"].y, data.test.y)
    assert torch.equal(found.train.group, found.train.y)


def test_twenty_percent_of_one_class_make_28_percent_of_labels():
    found = run(LabelNoise(), dataset([1000] * 5, [5] * 5))
    assert counts(found.train, 5)[2] / len(found.train) == pytest.approx(0.2 + 0.8 / 5, abs=0.01)


@pytest.mark.parametrize(
    ("classes", "target", "number"),
    [(NAMES[:3], NAMES[1], 1), (NAMES[:3], "1", 1), (("1", "2", "0"), "1", 0), (("1", "2", "3"), "0", 0)],
)
def test_the_class_of_all_noise_is_named_or_numbered(classes, target, number):
    found = run(LabelNoise(target=target, fraction=1), dataset([20] * 3, [5] * 3, classes=classes))
    assert found.train.y.unique().tolist() == [number]


@pytest.mark.parametrize("clean", [True, False])
def test_validation_labels_are_noisy_unless_they_are_to_be_clean(clean):
    data = dataset([60, 60, 60], [5, 5, 5])
    recipe = Recipe(val_size=90)
    before = run(LabelNoise(fraction=0), data, recipe=recipe).val.y
    after = run(LabelNoise(kind="pair", fraction=0.5, clean_validation=clean), data, recipe=recipe).val.y
    assert (before != after).sum() == (0 if clean else 45)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 1.5}, r"^protocol\.fraction must be in \[0, 1\], not 1\.5$"),
        ({"target": "3"}, f"toy has no class '3'; its classes: {', '.join(NAMES[:3])}"),
        ({"target": "-1"}, "toy has no class '-1'"),
    ],
)
def test_noise_that_cannot_be_is_told(options, message):
    with pytest.raises(OptionError, match=message):
        run(LabelNoise(**options), dataset([6, 6, 6], [5, 5, 5]))


# Label shift


def test_the_probes_are_the_other_classes_and_noise():
    data = dataset([20] * 5, [7, 8, 9, 10, 11])
    found = run(LabelShift(classes=("dog", "cat")), data)
    assert counts(found.tests["test"], 2) == [8, 7]
    assert {name: len(split) for name, split in found.probes.items()} == {"other": 30, "noise": 1000}
    taken = [n for n, y in zip(numbers(data.test), data.test.y.tolist(), strict=True) if y > 1]
    assert numbers(found.probes["other"]) == taken
    noise = found.probes["noise"].x.float()
    assert noise.mean().item() == pytest.approx(127.5, abs=2)
    assert noise.std().item() == pytest.approx((256**2 - 1) ** 0.5 / 12**0.5, abs=2)
    assert not torch.equal(noise, run(LabelShift(classes=("dog", "cat")), data, seed=1).probes["noise"].x.float())


def test_a_prior_draws_the_test_data_anew_and_gives_half_of_them_as_the_target():
    data = dataset([20, 20], [60, 60])
    found = run(LabelShift(prior=(3, 1)), data)
    assert len(found.tests["test"]) == len(found.target) == 40  # 60 + 20, halved
    together = numbers(found.tests["test"]) + numbers(found.target)
    assert len({*together}) == 80 and {*together} <= {*numbers(data.test)}
    labels = dict(zip(numbers(data.test), data.test.y.tolist(), strict=True))
    assert sum(labels[n] for n in together) == 20
    assert not found.target.y.any() and not found.target.group.any()
    assert run(LabelShift(), data).target is None


def test_a_prior_that_leaves_a_class_without_samples_is_told_unless_it_is_zero():
    data = dataset([60, 60], [10, 10])
    with pytest.raises(DataError, match=r"toy: this prior leaves 5 test samples, and none of cat: choose one less"):
        run(LabelShift(prior=(1, 1000)), data)
    assert counts(run(LabelShift(prior=(0, 1)), data).tests["test"], 2) == [0, 5]


def test_a_dirichlet_prior_has_its_variance_over_seeds():
    """Var p_1 = (1/2)(1/2) / (2 alpha + 1)."""
    data = dataset([20, 20], [60, 60])
    found = [run(LabelShift(dirichlet=2.0), data, seed) for seed in range(200)]
    rates = torch.tensor([f.tests["test"].y.double().mean() for f in found])
    assert rates.mean().item() == pytest.approx(0.5, abs=0.06)
    assert rates.var().item() == pytest.approx(0.25 / 5, rel=0.35)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": (1.0,)}, r"^protocol\.prior needs 2 numbers, one for each class \(cat, dog\), not 1$"),
        ({"prior": (1.0, -1.0)}, r"^protocol\.prior must be at least 0, not -1$"),
        ({"prior": (0.0, 0.0)}, r"^protocol\.prior must have an entry above 0, not 0,0$"),
        ({"prior": (1.0, 1.0), "dirichlet": 1.0}, "protocol.prior or protocol.dirichlet, not both"),
        ({"dirichlet": 0.0}, "protocol.dirichlet must be above 0, not 0"),
        ({"classes": ("cat",)}, "two classes or more of toy, not 1"),
    ],
)
def test_shifts_that_cannot_be_are_told(options, message):
    with pytest.raises(OptionError, match=message):
        run(LabelShift(**options), dataset([6, 6], [5, 5]))


# Covariate shift

PARTS = ("cat+dog", "car+truck")


def test_classes_are_made_of_parts_in_the_ratio():
    data = dataset([50] * 5, [9, 8, 10, 11, 12])
    found = run(CovariateShift(parts=PARTS), data)
    every = Split.cat([found.train, found.val])
    assert every.group.bincount().tolist() == [5, 50, 5, 50]
    assert torch.equal(every.y, every.group // 2)
    assert found.tests["test"].group.bincount().tolist() == [8, 8, 8, 8]
    before = data.train.y.tolist()
    assert all(before[n] == g for n, g in zip(numbers(found.train), found.train.group.tolist(), strict=True))
    task = CovariateShift(parts=PARTS).view(data)
    assert (task.classes, task.groups) == (PARTS, ("cat", "dog", "car", "truck"))


def test_the_faithful_test_set_is_4000_training_cats_and_half_of_every_prediction_is_right():
    data = dataset([5000] * 4, [1000] * 4)
    found = run(CovariateShift(parts=PARTS, labels="faithful"), data)
    test = found.tests["test"]
    cats = data.train.select((data.train.y == 0).nonzero().squeeze(1))
    assert torch.equal(test.x, cats.x[:4000])
    assert counts(test, 2) == [2000, 2000]
    p = Predictions(torch.eye(2)[torch.zeros(4000, dtype=torch.int64)], test.y, test.group, 4)
    assert evaluate(p)["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ProtocolError, r"made of two or more of toy's, such as -o protocol.parts=cat.dog,car.truck, not none"),
        ({"parts": ("cat", "dog+car")}, ProtocolError, "not cat,dog.car"),
        ({"parts": ("cat+dog", "dog+car")}, OptionError, "a class is given twice"),
        ({"parts": ("cat+dog", "cow+car")}, OptionError, "has no class 'cow'"),
        ({"parts": PARTS, "ratio": -1}, OptionError, "protocol.ratio must be above 0, not -1"),
        ({"parts": PARTS, "ratio": 100}, DataError, "ratio 100 leaves a part of 50 samples without any"),
    ],
)
def test_parts_that_cannot_be_are_told(options, error, message):
    with pytest.raises(error, match=message):
        run(CovariateShift(**options), dataset([50] * 4, [9] * 4))


def test_two_classes_are_not_made_of_two():
    with pytest.raises(ProtocolError, match="needs at least four classes, from which it makes two; toy has 2"):
        run(CovariateShift(), dataset([50] * 2, [9] * 2))


def test_protocols_leave_the_data_as_they_are():
    data = dataset([50] * 5, [20] * 5)
    before = replace(data.train, x=data.train.x.clone(), y=data.train.y.clone(), group=data.train.group.clone())
    for protocol in (Imbalance(factor=2), LabelNoise(), LabelShift(prior=(1, 1, 1, 1, 2)), CovariateShift(parts=PARTS)):
        run(protocol, data)
    for name in ("x", "y", "group"):
        assert torch.equal(getattr(data.train, name), getattr(before, name))
