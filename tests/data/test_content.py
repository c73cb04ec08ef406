"""The hash of what was loaded: every tensor and name changes it, where the bytes lie does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.data import content
from bench.data.content import content_of
from bench.data.memory_map import memory_map
from bench.data.split import Split

PARTS = ("train", "val", "test", "probe")


@pytest.fixture
def whole(make_dataset, make_split):
    return make_dataset([3, 4], val=make_split([2]), test=make_split([2, 1]), probes={"grid": make_split([5])})


def with_part(dataset, name, change):
    if name == "probe":
        return replace(dataset, probes={"grid": change(dataset.probes["grid"])})
    return replace(dataset, **{name: change(getattr(dataset, name))})


def other(split, field):
    """The split with another last value in one tensor."""
    tensor = getattr(split, field).clone()
    tensor[-1] += 1
    return replace(split, **{field: tensor})


@pytest.mark.parametrize("field", ["x", "y", "group"])
@pytest.mark.parametrize("part", PARTS)
def test_one_value_of_any_tensor_makes_other_data(whole, part, field):
    assert content_of(with_part(whole, part, lambda split: other(split, field))) != content_of(whole)


def test_names_make_other_data_and_words_do_not(whole):
    changed = [
        replace(whole, classes=("yes", "no")),
        replace(whole, groups=("g0", "other")),
        replace(whole, probes={"plane": whole.probes["grid"]}),
        replace(whole, test=None),
        replace(whole, val=whole.test, test=whole.val),
    ]
    assert len({content_of(dataset) for dataset in [whole, *changed]}) == 6
    assert content_of(replace(whole, reference="another", revision="r2", name="another")) == content_of(whole)


def test_samples_that_move_from_one_split_to_the_next_make_other_data(make_dataset):
    """The bytes in a row are the same."""
    x = torch.arange(8.0).view(8, 1)
    y = torch.zeros(8, dtype=torch.int64)
    first = replace(make_dataset([4]), train=Split(x[:4], y[:4], y[:4]), test=Split(x[4:], y[4:], y[4:]))
    second = replace(first, train=Split(x[:6], y[:6], y[:6]), test=Split(x[6:], y[6:], y[6:]))
    assert content_of(first) != content_of(second)


def test_where_and_how_the_bytes_lie_changes_nothing(make_dataset, tmp_path, monkeypatch):
    """In memory, transposed, or in a memory map; in one part or in many."""
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    mapped = memory_map(tmp_path / "map", {}, lambda: [{"x": images}]).arrays["x"]
    y = torch.arange(50) % 2
    lying = [
        torch.from_numpy(images),
        torch.from_numpy(images.transpose(0, 2, 3, 1).copy()).permute(0, 3, 1, 2),
        mapped,
    ]
    datasets = [replace(make_dataset([2]), train=Split(x, y, y)) for x in lying]
    assert len({content_of(dataset) for dataset in datasets}) == 1
    expected = content_of(datasets[0])
    monkeypatch.setattr(content, "PART", 100)
    assert {content_of(dataset) for dataset in datasets} == {expected}


def test_the_progress_is_told_where_it_takes_long(whole, monkeypatch):
    told = []
    content_of(whole, lambda what, done: told.append(done))
    assert told == []
    monkeypatch.setattr(content, "LONG", 1)
    content_of(whole, lambda what, done: told.append(done))
    assert told == sorted(told) and told[-1] == 1
