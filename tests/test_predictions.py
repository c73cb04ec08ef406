"""The form in which predictions are stored, against a loop in numpy, and that it keeps every count."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.metrics import METRICS, evaluate
from bench.predictions import Predictions, confusion, not_finite, stored_logits, whole_numbers

TINY = 2.0**-24
SCORES = {"ece"}
"""Metrics that depend on more than the predicted classes."""


def loop(logits: Tensor) -> Tensor:
    """Row by row, number by number: the distance in the type of the logits, then the nearest number of float16."""
    kind = logits.numpy().dtype.type
    rows = []
    for row in logits.flatten(0, -2).numpy():
        largest = max(row)
        numbers = []
        for value in row:
            if value == largest:
                numbers.append(np.float16(0))
                continue
            with np.errstate(over="ignore"):
                distance = kind(value - largest)
            rounded = np.float16(np.float32(max(distance, kind(-65504))))
            numbers.append(np.float16(-TINY) if rounded == 0 else rounded)
        rows.append(numbers)
    return torch.from_numpy(np.array(rows, dtype=np.float16)).view(logits.shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, 30.0, 1e5, 1e30])
@pytest.mark.parametrize("shape", [(40, 2), (3, 20, 7)])
def test_it_is_that_of_a_loop(dtype, scale, shape):
    logits = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1)) * scale
    made = stored_logits(logits)
    assert made.dtype == torch.float16
    assert torch.equal(made, loop(logits))
    assert torch.equal(made.argmax(-1), logits.argmax(-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([5.0, 5.0, 1.0], [0, 0, -4]),  # equal ones stay equal
        ([2.0, 3.0, 3.0], [-1, 0, 0]),
        ([7.0, 7.0, 7.0], [0, 0, 0]),
        ([1e-12, 0.0, 1e-12], [0, -TINY, 0]),  # nearest to 0, and not 0
        ([1e6, 0.0, 1e6 - 1], [0, -65504, -1]),
        ([-1e6, 0.0, -65519.0], [-65504, 0, -65504]),
        ([3e38, -3e38, 0.0], [0, -65504, -65504]),  # whose distance overflows float32
        ([-1.0, -1.0 - 2**-11, -3.0], [0, -(2**-11), -2]),
        ([-0.0, 0.0, -1e-45], [0, 0, -TINY]),
    ],
)
def test_extremes(dtype, row, expected):
    assert stored_logits(torch.tensor([row], dtype=dtype))[0].tolist() == expected


def test_a_distance_that_float32_does_not_have():
    logits = torch.tensor([[1.0, 1.0 - 1e-12], [1e6 + 1e-9, 1e6]], dtype=torch.float64)
    assert stored_logits(logits).tolist() == [[0, -TINY], [0, -TINY]]


def test_a_form_that_is_stored_stays_as_it_is():
    made = stored_logits(torch.randn(50, 4) * 100)
    assert torch.equal(stored_logits(made.float()), made)


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1)
)
def test_the_largest_logits_of_any_sample_are_the_same(rows):
    logits = torch.tensor(rows, dtype=torch.float32)
    made = stored_logits(logits)
    largest = logits == logits.amax(-1, keepdim=True)
    assert torch.equal(made == 0, largest)
    assert ((made < 0) == ~largest).all() and made.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_sample_with_a_logit_that_is_not_finite_has_none(value, place):
    logits = torch.zeros(2, 3, 2)
    logits[1, 2, place] = value
    made = stored_logits(logits)
    assert made[1, 2].isnan().all() and made.isnan().sum() == 2
    y = torch.zeros(2, 3, dtype=torch.int64)
    both = [Predictions(of, y, y, 2, True) for of in (logits, made.float())]
    assert [not_finite(p).tolist() for p in both] == [[0, 1]] * 2


def near(shape: tuple[int, ...], scale: float, seed: int) -> Tensor:
    """Logits of which many are equal, and many are nearly so."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=g) + scale * torch.randn(*shape, generator=g)


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize(("classes", "group_is_class"), [(2, False), (2, True), (6, True)])
def test_every_metric_of_counts_is_bit_equal_to_that_of_the_raw_logits(scale, classes, group_is_class):
    logits = near((3, 200, classes), scale, 5)
    y = torch.randint(classes, (3, 200), generator=torch.Generator().manual_seed(6))
    group = y if group_is_class else torch.randint(4, (3, 200), generator=torch.Generator().manual_seed(7))
    raw, stored = (
        Predictions(of, y, group, classes if group_is_class else 4, group_is_class)
        for of in (logits, stored_logits(logits).float())
    )
    assert torch.equal(confusion(raw), confusion(stored))
    values, of_stored = evaluate(raw), evaluate(stored)
    assert SCORES < values.keys() == METRICS.keys()
    for name in values.keys() - SCORES:
        assert torch.equal(values[name].nan_to_num(-1), of_stored[name].nan_to_num(-1)), name
    if scale <= 1:
        assert torch.allclose(values["ece"], of_stored["ece"], atol=1e-2)


@pytest.mark.parametrize(
    ("least", "most", "kind"),
    [
        (0, 255, "uint8"),
        (0, 256, "int16"),
        (-1, 1, "int16"),
        (0, 32767, "int16"),
        (0, 32768, "int32"),
        (-32769, 0, "int32"),
        (0, 2**31 - 1, "int32"),
        (0, 2**31, "int64"),
    ],
)
def test_whole_numbers_take_the_smallest_type_that_holds_them(least, most, kind):
    array = whole_numbers(torch.tensor([least, most]))
    assert array.dtype == kind
    assert array.tolist() == [least, most]


def test_no_whole_numbers_are_an_empty_array():
    assert whole_numbers(torch.zeros(0, dtype=torch.int64)).shape == (0,)
