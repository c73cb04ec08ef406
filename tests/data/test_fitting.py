"""What is fitted on training rows, against closed forms and scikit-learn."""

from dataclasses import replace

import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from bench import DataError, Dataset, Recipe, Split
from bench.data.fitting import fitted, moments, statistics_of_tests
from bench.data.split import Splits


def rows(x: Tensor) -> Split:
    y = torch.arange(len(x)) % 2
    return Split(x, y, y)


def features(n: int, seed: int = 0) -> Tensor:
    return 3 + 2 * torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def dataset(train: Split, test: Split | None = None, **fields) -> Dataset:
    return Dataset("toy", train, test, ("no", "yes"), Recipe(), reference="made up", **fields)


# The mean and the deviation


def test_moments_of_features_are_those_of_the_closed_form():
    mean, std = moments(rows(torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]])))
    assert mean.tolist() == [3, 20]
    torch.testing.assert_close(std, torch.tensor([(8 / 3) ** 0.5, 200**0.5]))
    assert mean.dtype == std.dtype == torch.float32


def test_moments_of_features_are_those_of_scikit_learn():
    x = features(9000)  # more than are read at once
    scaler = StandardScaler().fit(x.double().numpy())
    mean, std = moments(rows(x))
    torch.testing.assert_close(mean.double(), torch.from_numpy(scaler.mean_), rtol=1e-6, atol=0)
    torch.testing.assert_close(std.double(), torch.from_numpy(scaler.scale_), rtol=1e-6, atol=0)


def test_moments_of_images_are_by_channel_in_units_of_one():
    x = torch.zeros(2, 2, 2, 2, dtype=torch.uint8)
    x[0, 0], x[:, 1] = 255, torch.tensor([[51, 102], [153, 204]])
    mean, std = moments(rows(x))
    torch.testing.assert_close(mean, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(std, torch.tensor([0.5, (0.02 + 0.18) ** 0.5 / 2]))


def test_a_constant_feature_has_deviation_one():
    mean, std = moments(rows(torch.tensor([0.1, 1e6, 0.0]).repeat(5000, 1)))
    torch.testing.assert_close(mean, torch.tensor([0.1, 1e6, 0.0]))
    assert std.tolist() == [1, 1, 1]


def test_moments_far_from_zero_are_exact():
    _, std = moments(rows(torch.tensor([[1e6 - 1], [1e6 + 1]])))
    assert std.tolist() == [1]


@pytest.mark.parametrize("images", [False, True])
def test_stacked_runs_have_the_moments_of_each_run(images):
    x = torch.randint(0, 256, (3, 7, 2, 4, 4)).byte() if images else torch.rand(3, 7, 5)
    splits = [rows(one) for one in x]
    together = moments(Split.stack(splits))
    for run, split in enumerate(splits):
        assert all(torch.equal(of_all[run], alone) for of_all, alone in zip(together, moments(split), strict=True))


# What a data set fits


def centred(train: Split):
    mean = train.x.mean(0)
    return lambda x: x.sub_(mean)  # in place, as a plugin may do


def splits(test: Tensor) -> Splits:
    return Splits(
        rows(features(6)), rows(features(4, 1)), {"test": rows(test)}, {"probe": rows(test)}, rows(features(3, 2))
    )


def test_it_is_fitted_on_the_training_rows_and_applied_to_all():
    drawn, test = splits(features(5, 3)), features(5, 3)
    mean = drawn.train.x.mean(0)
    made = fitted(dataset(drawn.train, fit=centred), drawn)
    for split, x in (
        (made.train, features(6)),
        (made.val, features(4, 1)),
        (made.tests["test"], test),
        (made.probes["probe"], test),
        (made.target, features(3, 2)),
    ):
        assert torch.equal(split.x, x - mean)
    assert torch.equal(drawn.train.x, features(6)), "the rows of the data set stay as they are"
    assert torch.equal(made.val.y, drawn.val.y)


def test_test_rows_change_nothing_of_what_methods_see():
    usual, marked = (
        fitted(dataset(rows(features(6)), fit=centred), splits(x)) for x in (features(5, 3), features(5, 3) + 1e9)
    )
    for a, b in ((usual.train, marked.train), (usual.val, marked.val), (usual.target, marked.target)):
        assert torch.equal(a.x, b.x)


def test_without_a_fit_nothing_is_copied():
    drawn = splits(features(5, 3))
    assert fitted(dataset(drawn.train), drawn) is drawn


@pytest.mark.parametrize(
    ("makes", "got"),
    [
        (lambda x: x.double(), r"torch\.float64 of \[6, 4\]"),
        (lambda x: x[:2], r"torch\.float32 of \[2, 4\]"),
        (lambda x: x.numpy(), "a ndarray"),
        (lambda x: x.sum(), r"torch\.float32 of \[\]"),
    ],
)
def test_a_fit_that_does_not_make_inputs_is_refused_in_one_line(makes, got):
    drawn = splits(features(5, 3))
    with pytest.raises(DataError, match=f"toy: what its `fit` returns must make 6 inputs of 6.* and makes {got}$"):
        fitted(dataset(drawn.train, fit=lambda train: makes), drawn)


def test_constants_and_the_moments_of_training_rows_exclude_each_other():
    with pytest.raises(DataError, match="not with both"):
        dataset(rows(features(6)), mean=(0.0,) * 4, std=(1.0,) * 4, standardize=True)


def test_the_shape_is_that_of_the_inputs_of_a_model():
    assert dataset(rows(features(6)), fit=lambda train: lambda x: x[:, :3]).shape == (3,)
    assert dataset(rows(features(6))).shape == (4,)


# Statistics that have seen test rows


def scaled(x: Tensor, of: Tensor, correction: int = 0) -> Tensor:
    return (x - of.mean(0)) / of.std(0, correction=correction)


EVERY = features(400)
PAST = slice(0, 300)
"""Of these, the rows of an official training split."""


@pytest.mark.parametrize("correction", [0, 1])
def test_inputs_standardised_with_test_rows_are_known(correction):
    x = scaled(EVERY, EVERY, correction)
    held_out = dataset(rows(x))
    official = dataset(rows(x[PAST]), rows(x[300:]))
    for data in (held_out, official):
        assert statistics_of_tests(data, rows(x[:200])) == "the inputs are standardised with"


def test_constants_of_all_rows_are_known():
    mean, std = ([round(value, 4) for value in values.tolist()] for values in (EVERY.mean(0), EVERY.std(0)))
    data = dataset(rows(EVERY), mean=tuple(mean), std=tuple(std))
    assert statistics_of_tests(data, rows(EVERY[:200])) == "`mean` and `std` are"
    official = replace(data, train=rows(EVERY[PAST]), test=rows(EVERY[300:]))
    assert statistics_of_tests(official, rows(EVERY[:200])) == "`mean` and `std` are"


def test_constants_of_training_rows_are_not_found():
    official = EVERY[PAST]
    mean, std = ([round(value, 4) for value in values.tolist()] for values in (official.mean(0), official.std(0)))
    data = dataset(rows(official), rows(EVERY[300:]), mean=tuple(mean), std=tuple(std))
    assert statistics_of_tests(data, rows(EVERY[:200])) == ""
    alone = dataset(rows(scaled(official, official)), rows(scaled(EVERY[300:], official)))
    assert statistics_of_tests(alone, alone.train.select(torch.arange(200))) == ""
    assert statistics_of_tests(dataset(rows(EVERY)), rows(EVERY[:200])) == ""
