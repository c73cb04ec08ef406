"""Hold-outs and the two fairness protocols."""

import pytest
import torch
from torch import Tensor

from bench import DataError, Dataset, RandomStreams, Recipe, Split, UnknownNameError
from bench.data.split import Splits
from bench.errors import ProtocolError
from bench.protocol import hold_out
from bench.registry import installed
from bench_plugins.protocols.fairness import ClassFairness, GroupFairness

RECIPE = Recipe(val_size=5, test_size=3)


def held_out(dataset: Dataset, recipe: Recipe = RECIPE, seed: int = 0) -> Splits:
    return hold_out(dataset, recipe, RandomStreams((seed,)))


def samples(split: Split) -> list[int]:
    """Positions in the whole data, which make_split keeps in x."""
    return split.x.flatten().int().tolist()


def parts(splits: Splits) -> list[list[int]]:
    return [samples(s) for s in (splits.train, splits.val, splits.tests["test"])]


def test_hold_outs_are_disjoint_and_cover_the_data(make_dataset):
    found = parts(held_out(make_dataset([12, 8])))
    assert [len(part) for part in found] == [12, 5, 3]
    assert sorted(i for part in found for i in part) == list(range(20))


def test_samples_keep_their_class_and_group(make_dataset):
    dataset = make_dataset([12, 8])
    for split in (held_out(dataset).train, held_out(dataset).val):
        at = torch.tensor(samples(split))
        assert torch.equal(split.y, dataset.train.y[at])
        assert torch.equal(split.group, dataset.train.group[at])


def test_equal_seeds_give_equal_hold_outs_and_others_do_not(make_dataset):
    dataset = make_dataset([50])
    assert parts(held_out(dataset)) == parts(held_out(dataset))
    assert parts(held_out(dataset))[1] != parts(held_out(dataset, seed=1))[1]


def test_hold_outs_depend_on_sizes_and_seed_alone(make_dataset):
    """Not on the method, which is not known, nor on the training, nor on what was drawn before."""
    expected = parts(held_out(make_dataset([50])))
    torch.manual_seed(1)
    torch.rand(3)
    recipe = Recipe(val_size=5, test_size=3, lr=0.5, loss="hinge", options={"a": {"b": 1}}, train_size=10)
    found = parts(held_out(make_dataset([25, 25]), recipe))
    assert found[1:] == expected[1:]
    assert found[0] == expected[0][:10]


def test_a_data_sets_own_splits_are_taken_whole(make_dataset, make_split):
    own = {"val": make_split([4]), "test": make_split([2])}
    splits = held_out(make_dataset([20], **own))
    assert splits.val is own["val"]
    assert splits.tests == {"test": own["test"]}
    assert sorted(samples(splits.train)) == list(range(20))


@pytest.mark.parametrize(
    ("own", "recipe", "message"),
    [
        ({}, {"val_size": 0, "test_size": 3}, "no validation data of its own: recipe.val_size must be at least 1"),
        ({}, {"val_size": 5, "test_size": 0}, "no test data of its own: recipe.test_size must be at least 1"),
        (
            {},
            {"val_size": 5, "test_size": 15},
            "toy: 20 samples less 15 for recipe.test_size and 5 .* leave 0 for training: ask for fewer",
        ),
        ({}, {"val_size": 5, "test_size": 90}, "less 90 for recipe.test_size and 5 for recipe.val_size leave 0"),
        (
            {},
            {"val_size": 5, "test_size": 3, "train_size": 13},
            "leave 12 for training, fewer than recipe.train_size=13: ask for fewer",
        ),
        (
            {"val": 4, "test": 2},
            {"train_size": 21},
            "toy: 20 samples leave 20 for training, fewer than recipe.train_size=21",
        ),
    ],
)
def test_too_few_samples_are_told_with_the_numbers(make_dataset, make_split, own, recipe, message):
    dataset = make_dataset([20], **{name: make_split([size]) for name, size in own.items()})
    with pytest.raises(DataError, match=message):
        held_out(dataset, Recipe(**recipe))


def all_splits(splits: Splits) -> list[Split]:
    return [splits.train, splits.val, *splits.tests.values()]


def test_class_fairness_takes_the_class_as_the_group(make_dataset):
    dataset = make_dataset([12, 8])
    chosen = ClassFairness()
    for split in all_splits(chosen.splits(dataset, RECIPE, RandomStreams((0,)))):
        assert torch.equal(split.group, split.y)
    assert chosen.groups(dataset) == ("no", "yes")
    assert chosen.group_is_class
    chosen.check(make_dataset([5], groups=(), classes=("a", "b", "c")))


def test_group_fairness_keeps_the_groups(make_dataset):
    dataset = make_dataset([12, 8])
    chosen = GroupFairness()
    chosen.check(dataset)
    found = all_splits(chosen.splits(dataset, RECIPE, RandomStreams((0,))))
    groups: Tensor = torch.cat([split.group for split in found])
    assert groups.bincount().tolist() == [12, 8]
    assert chosen.groups(dataset) == ("g0", "g1")
    assert not chosen.group_is_class


def test_both_protocols_hold_out_the_same_samples(make_dataset):
    found = [p().splits(make_dataset([12, 8]), RECIPE, RandomStreams((3,))) for p in (ClassFairness, GroupFairness)]
    assert parts(found[0]) == parts(found[1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"groups": ()}, "toy has none: use --protocol class_fairness"),
        ({"groups": ("all",)}, "two groups or more"),
        ({"classes": ("a", "b", "c")}, "needs a two-class task; toy has 3 classes"),
    ],
)
def test_group_fairness_refuses_data_without_two_groups_and_two_classes(make_dataset, fields, message):
    with pytest.raises(ProtocolError, match=message):
        GroupFairness().check(make_dataset([12, 8], **fields))


def test_protocols_are_found_by_name():
    protocols = installed().offers["protocols"]
    assert {name: offer.value.name for name, offer in protocols.items()} == {name: name for name in protocols}
    with pytest.raises(UnknownNameError, match="did you mean 'group_fairness'"):
        installed().find("protocols", "group_fairnes")
