"""The rules of data: each broken in one place of data that keep them all, and what is no mistake."""

import dataclasses
from typing import Any

import pytest
import torch

from bench.data.dataset import Dataset
from bench.data.rules import check_loaded, check_splits
from bench.data.split import Split, Splits
from bench.errors import DataError
from bench.recipe import Recipe

NAN, INF = float("nan"), float("inf")
CLASSES, GROUPS = ("no", "yes"), ("a", "b", "c")


def table(n: int = 6, **parts: Any) -> Split:
    """n samples of two classes in three groups, with two features."""
    x = torch.arange(2.0 * n).view(n, 2)
    return dataclasses.replace(Split(x, torch.arange(n) % 2, torch.arange(n) % 3), **parts)


def images(n: int = 6, x: torch.Tensor | None = None) -> Split:
    whole = torch.zeros(n, 3, 4, 4, dtype=torch.uint8) if x is None else x
    return Split(whole, torch.arange(n) % 2, torch.arange(n) % 3)


def dataset(**parts: Any) -> Dataset:
    return dataclasses.replace(Dataset("toy", table(), table(), CLASSES, Recipe(), GROUPS), **parts)


def splits(**parts: Any) -> Splits:
    return dataclasses.replace(Splits(table(), table(), {"test": table()}, {"noise": table()}, table()), **parts)


def with_value(value: float, at: tuple[int, int] = (4, 1)) -> Split:
    x = table().x.clone()
    x[at] = value
    return table(x=x)


def labels(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers)


EMPTY = table().select(torch.tensor([], dtype=torch.int64))
WIDER = table(x=torch.zeros(6, 3))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": table(y=labels(0, 1, 2, 1, 2, 1))}, r"train has a class outside 0\.\.1 in 2 of 6 .* first time 2"),
        ({"val": table(y=labels(0, 1, 0, -1, 0, 1))}, r"val has a class outside 0\.\.1 in 1 of 6 .* first time -1"),
        ({"tests": {"test": table(y=table().y - 100)}}, r"test has a class outside 0\.\.1 in 6 of 6"),
        (
            {"train": table(group=table().group + 1)},
            r"train has a group outside 0\.\.2 in 2 of 6 samples.* names are a, b, c",
        ),
        ({"tests": {"test": table(), "hard": table(group=table().group - 1)}}, r"hard has a group outside 0\.\.2"),
        ({"train": with_value(NAN)}, r"train has inputs that are not finite \(NaN or infinite\) in 1 of 6"),
        ({"val": with_value(INF)}, "val has inputs that are not finite"),
        ({"tests": {"test": with_value(-INF)}}, "test has inputs that are not finite"),
        ({"probes": {"noise": with_value(NAN)}}, "noise has inputs that are not finite"),
        ({"target": with_value(NAN)}, "target has inputs that are not finite"),
        ({"train": EMPTY}, "train is empty"),
        ({"val": EMPTY}, "val is empty"),
        ({"tests": {"test": EMPTY}}, "test is empty"),
        ({"probes": {"noise": EMPTY}}, "noise is empty"),
        ({"target": EMPTY}, "target is empty"),
        ({"tests": {}}, "no test data"),
        ({"val": WIDER}, r"val has inputs of another shape than train: \[3\], not \[2\]"),
        ({"tests": {"test": images()}}, r"test has inputs of another shape than train: \[3, 4, 4\], not \[2\]"),
        ({"probes": {"noise": WIDER}}, "noise has inputs of another shape"),
        ({"target": WIDER}, "target has inputs of another shape"),
        ({"tests": {"test": table(), "val": table()}}, "need names of their own, which val is not"),
        ({"probes": {"test": table()}}, "need names of their own, which test is not"),
        ({"probes": {"epoch": table()}}, "need names of their own, which epoch is not"),
        ({"train": table(x=table().x.requires_grad_())}, r"train has inputs that require a gradient"),
        ({"val": Split(*(t.to("meta") for t in (table().x, table().y, table().group)))}, "val must be dense tensors"),
        ({"val": table(x=table().x.to_sparse())}, "val must be dense tensors"),
        (
            {"val": Split(torch.zeros(6, 1, 2), labels(*range(6)).view(6, 1) % 2, torch.zeros(6, 1).long())},
            r"val needs",
        ),
    ],
)
def test_splits_of_a_run_that_break_a_rule_are_refused_in_a_line(parts, message):
    check_splits(dataset(), GROUPS, splits())
    with pytest.raises(DataError, match=f"^toy: .*{message}") as caught:
        check_splits(dataset(), GROUPS, splits(**parts))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(6, 5, dtype=torch.uint8), r"train has vectors of uint8.*give x\.float\(\)"),
        (torch.full((6, 3, 4, 4), 1.01), r"train has images with values from 1\.01 to 1\.01: give them in \[0, 1\]"),
        (torch.full((6, 3, 4, 4), -0.01), "train has images with values from -0.01"),
        (torch.full((6, 3, 4, 4), NAN), "train has inputs that are not finite"),
        (torch.zeros(6, 4, 4), r"train has inputs of shape \[4, 4\]: valid are images \[C, H, W\] and vectors \[D\]"),
        (torch.zeros(6), r"train has inputs of shape \[\]"),
        (torch.zeros(6, 0), r"train has inputs of shape \[0\]"),
        (torch.zeros(6, 2, 3, 4, 4), r"train has inputs of shape \[2, 3, 4, 4\]"),
    ],
)
def test_inputs_that_are_neither_images_nor_vectors_are_refused(x, message):
    one = images(x=x)
    with pytest.raises(DataError, match=message):
        check_splits(dataset(), GROUPS, Splits(one, one, {"test": one}))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"classes": ("no", "no")}, "class names must be distinct, and no stands there twice"),
        ({"classes": ("no", "")}, "class names must be a tuple of texts that are not empty"),
        ({"classes": ("no", " ")}, "class names must be a tuple"),
        ({"classes": ("no", 1)}, "class names must be a tuple"),
        ({"classes": "ny"}, "class names must be a tuple"),
        ({"classes": ["no", "yes"]}, "class names must be a tuple"),
        ({"classes": ("no",)}, "a task needs 2 or more class names"),
        ({"classes": ()}, "a task needs 2 or more class names"),
        ({"groups": ("a", "b", "a")}, "group names must be distinct, and a stands there twice"),
        ({"groups": ("a", "b", "")}, "group names must be a tuple"),
        ({"groups": "abc"}, "group names must be a tuple"),
        ({"groups": ("a", "b")}, r"train has a group outside 0\.\.1"),
        ({"train": table(y=table().y - 1)}, r"train has a class outside 0\.\.1"),
        ({"test": EMPTY}, "test is empty"),
        ({"val": EMPTY}, "val is empty"),
        ({"test": table(y=table().y * 2)}, r"test has a class outside 0\.\.1"),
        ({"test": (table().x, table().y)}, "test must be a bench.Split, not tuple"),
        ({"groups": ()}, r"train has a group outside 0\.\.1"),
        ({"classes": ("no", "y\nes")}, "class names must be in one line, without control characters"),
        ({"groups": ("a", "b", "\x1b[31mc")}, "group names must be in one line"),
        ({"reference": None}, "`reference` must be text, not None"),
        ({"revision": 7}, "`revision` must be text, not 7"),
        ({"unofficial": {"a.zip": 3}}, "`unofficial` must be text, not 3"),
        ({"mean": torch.zeros(2), "std": torch.ones(2)}, "`mean` must be a tuple of numbers, not Tensor"),
        ({"mean": (0.0, torch.ones(())), "std": (1.0, 1.0)}, "`mean` must be a tuple of numbers"),
    ],
)
def test_what_a_protocol_would_draw_from_is_refused_before_it_does(parts, message):
    check_loaded(dataset())
    with pytest.raises(DataError, match=message):
        check_loaded(dataset(**parts))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"mean": (0.5,), "std": (0.5,)}, "mean has 1 numbers for 2 channels"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.5, 0.5)}, "std has 3 numbers for 2 channels"),
        ({"mean": (0.5, 0.5)}, "both or neither"),
        ({"mean": (0.5, 0.5), "std": (0.5, 0.0)}, "std has a number that is not above 0"),
        ({"mean": (0.5, 0.5), "std": (0.5, -1.0)}, "std has a number that is not above 0"),
        ({"mean": (0.5, NAN), "std": (0.5, 0.5)}, "mean has a number that is not finite"),
        ({"mean": (0.5, 0.5), "std": (INF, 0.5)}, "std has a number that is not finite"),
    ],
)
def test_normalisation_that_does_not_fit_the_inputs_is_refused(parts, message):
    with pytest.raises(DataError, match=message):
        check_splits(dataset(**parts), GROUPS, splits())


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("x", torch.zeros(6, 2, dtype=torch.float64)),
        ("x", torch.zeros(6, 2, dtype=torch.int64)),
        ("x", torch.zeros(6, 2, dtype=torch.bool)),
        ("x", torch.zeros(6, 2, dtype=torch.complex64)),
        ("x", torch.zeros(6, 2, dtype=torch.float16)),
        ("x", torch.zeros(6, 2).numpy()),
        ("x", torch.zeros(5, 2)),
        ("y", torch.zeros(6)),
        ("y", torch.zeros(6, dtype=torch.int32)),
        ("y", torch.zeros(6, dtype=torch.bool)),
        ("y", [0] * 6),
        ("y", torch.zeros(5, dtype=torch.int64)),
        ("group", torch.zeros(6)),
        ("group", torch.zeros(6, dtype=torch.uint8)),
        ("group", None),
        ("group", torch.zeros(7, dtype=torch.int64)),
    ],
)
def test_a_split_has_tensors_of_its_types_and_of_one_length(part, value):
    broken = table(**{part: value})
    for name in ("train", "val", "test"):
        with pytest.raises(DataError, match=rf"^toy: {name} needs "):
            dataset(**{name: broken})
    with pytest.raises(DataError, match=r"^toy: far needs "):
        dataset(probes={"near": table(), "far": broken})
    for name in ("train", "val", "target"):
        with pytest.raises(DataError, match=rf"^{name} needs "):
            splits(**{name: broken})
    for sets in ("tests", "probes"):
        with pytest.raises(DataError, match=r"^fog/1 needs "):
            splits(**{sets: {"test": table(), "fog/1": broken}})


def test_a_flaw_of_a_split_is_told_with_the_place_of_the_code_that_made_it():
    broken = table(y=torch.zeros(6))
    with pytest.raises(DataError) as refused:
        Dataset("toy", table(), broken, CLASSES, Recipe(), GROUPS)
    line = refused.tb.tb_lineno
    assert str(refused.value) == (
        "toy: test needs x as uint8 or float32, y and group as int64, not torch.float32, torch.float32 and "
        f"torch.int64 (made in tests/data/test_rules.py:{line})"
    )


def test_what_only_looks_odd_is_no_mistake():
    """Labels of probes and the target mean nothing; a class may lack samples; tensors need not be contiguous."""
    odd = table(y=labels(7, -1, 7, 7, 7, 7), group=labels(9, 9, 9, 9, 9, -9))
    check_splits(dataset(), GROUPS, splits(probes={"noise": odd}, target=odd))
    check_splits(dataset(), GROUPS, splits(train=table(y=labels(0, 0, 0, 0, 0, 0), group=labels(0, 0, 0, 0, 0, 0))))
    check_splits(
        dataset(), GROUPS, splits(train=table(x=torch.zeros(2, 6).T), val=table(x=torch.ones(1, 2).expand(6, 2)))
    )
    whole = images(x=torch.rand(6, 3, 4, 4))
    check_splits(dataset(), GROUPS, Splits(images(), whole, {"test": images()}))  # uint8 and [0, 1] are one unit


def test_the_last_row_of_many_is_looked_at(monkeypatch):
    monkeypatch.setattr("bench.data.rules.NUMBERS", 4)  # two rows at once
    with pytest.raises(DataError, match="1 of 6"):
        check_splits(dataset(), GROUPS, splits(train=with_value(INF, (5, 1))))


def test_of_uint8_images_only_the_labels_are_read():
    class Unread(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            assert function.__name__ in ("__get__", "dim", "is_floating_point"), function.__name__
            return super().__torch_function__(function, types, args, kwargs or {})

    one = images(x=torch.zeros(6, 3, 4, 4, dtype=torch.uint8).as_subclass(Unread))
    check_splits(dataset(), GROUPS, Splits(one, one, {"test": one}))


def test_data_that_are_others_each_time_are_refused():
    """Their hash was of some, and the training on others."""

    class Other(Dataset):
        def __getattribute__(self, name: str) -> Any:
            return table() if name == "train" else super().__getattribute__(name)

    with pytest.raises(DataError, match="`train` is another object each time: load the data once"):
        check_loaded(Other("toy", table(), table(), CLASSES, Recipe(), GROUPS))
