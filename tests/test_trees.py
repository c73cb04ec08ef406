"""Walks through nested dictionaries, lists and tuples."""

from typing import NamedTuple

from bench.trees import instances, mapped


class Pair(NamedTuple):
    first: float
    second: float


def test_instances_are_all_values_of_a_kind_in_order():
    tree = {"a": [1, "x", (2.5, {"b": 3})], "c": Pair(4, 5.5), "d": 6, "e": {7}}
    assert list(instances(int, tree)) == [1, 3, 4, 6]
    assert list(instances(float, tree)) == [2.5, 5.5]


def test_what_is_of_the_kind_is_not_walked_itself():
    assert list(instances(list, [[1], [2]])) == [[[1], [2]]]


def test_mapped_replaces_the_values_of_a_kind_and_keeps_everything_else():
    pair = Pair(1, 2)
    tree = {"a": [1, "x", (2, {"b": 3})], "pair": pair}
    new = mapped(int, tree, lambda value: value * 10)
    assert new == {"a": [10, "x", (20, {"b": 30})], "pair": Pair(1, 2)}
    assert new["pair"] is pair
    assert tree["a"] == [1, "x", (2, {"b": 3})]
