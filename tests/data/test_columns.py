"""Further columns of samples: they follow their samples everywhere, and methods do not see them."""

from dataclasses import replace

import pytest
import torch

from bench.data.content import content_of
from bench.data.split import Split, Splits
from bench.errors import DataError
from bench.guards.tensors import tensors_of
from bench.recipe import Recipe
from bench.runs.build import loaded_splits, new_task
from bench.streams import RandomStreams
from bench.testing import toy_dataset
from bench_plugins.methods.erm import ERM
from bench_plugins.protocols.label_noise import LabelNoise
from tests.experiments import CPU, toy_experiment


def split(n, **columns):
    return Split(torch.rand(n, 2), torch.arange(n) % 2, torch.zeros(n, dtype=torch.int64), columns)


def test_columns_follow_their_samples():
    a, b = split(4, id=torch.arange(4), time=torch.rand(4, 3)), split(2, id=torch.tensor([8, 9]))
    assert a.select(torch.tensor([2, 0])).columns["id"].tolist() == [2, 0]
    assert Split.cat([a, b]).columns["id"].tolist() == [0, 1, 2, 3, 8, 9]
    assert list(Split.cat([a, b]).columns) == ["id"]  # that which both have
    assert Split.stack([a, a]).columns["time"].shape == (2, 4, 3)
    assert list(a.to(torch.device("cpu")).columns) == ["id", "time"]
    assert a.with_class_as_group().columns.keys() == a.columns.keys()
    assert a.unlabelled().columns == a.without_columns().columns == {}  # a true label would be one
    assert list(a.tensors) == ["x", "y", "group", "column id", "column time"]


@pytest.mark.parametrize(("column", "told"), [(torch.arange(3), r"\[4\], not \[3\]"), ([1, 2, 3, 4], "not list")])
def test_a_column_has_an_entry_for_each_sample(column, told):
    made = split(4, id=column)
    with pytest.raises(DataError, match=f"train needs a tensor with an entry for each sample as column 'id': .*{told}"):
        Splits(made, split(4), {})


def test_columns_are_part_of_the_content_and_are_watched():
    plain = toy_dataset()
    n = len(plain.train)
    numbered = [replace(plain, train=replace(plain.train, columns={"id": torch.arange(n) + k})) for k in range(2)]
    assert len({content_of(data) for data in (plain, *numbered)}) == 3
    assert tensors_of(numbered[0]).keys() - tensors_of(plain).keys() == {"train.column id"}


def test_methods_do_not_see_true_labels():
    recipe = Recipe(protocol="label_noise", lr=0.05, epochs=2, batch_size=16, val_size=40, test_size=60)
    made = toy_experiment(recipe, LabelNoise(kind="pair", fraction=0.5), ERM, "shared", {}, {}, ("a", "b"))
    streams = RandomStreams((0,))
    splits = loaded_splits(made, streams, CPU)
    assert (splits.train.columns["true_class"] != splits.train.y).double().mean() == pytest.approx(0.5, abs=0.01)
    task = new_task(made, splits, streams, CPU)
    assert (task.train.columns, task.val.columns) == ({}, {})
