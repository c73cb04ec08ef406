"""Numbers, means and maxima over groups, against loops."""

import math

import pytest
import torch
from torch import nn

from bench import NotApplicableError, RandomStreams, Recipe, Split, Task, label_counts
from bench.training.groups import group_counts, group_maxima, group_means, log_class_counts, require_two


def task_of(y: list[list[int]] | list[int], group: list[int]) -> Task:
    """A task of three classes and two groups."""
    label = torch.tensor(y)
    split = Split(torch.zeros(*label.shape, 1), label, torch.tensor(group).expand(label.shape))
    return Task(split, split, ("a", "b", "c"), ("p", "q"), Recipe(), lambda: nn.Linear(1, 3), RandomStreams((0,)))


def test_the_samples_of_each_class_or_group_are_counted():
    task = task_of([[0, 2, 2, 2], [1, 1, 0, 0]], [1, 1, 1, 0])
    assert label_counts(task).tolist() == [[1, 0, 3], [2, 2, 0]]
    assert label_counts(task, "group").tolist() == [[1, 3], [1, 3]]


def test_the_logarithm_of_a_class_without_samples_is_that_of_one():
    expected = torch.tensor([[[0.0, 0.0, math.log(3)]], [[math.log(2), math.log(2), 0.0]]])
    torch.testing.assert_close(log_class_counts(task_of([[0, 2, 2, 2], [1, 1, 0, 0]], [0] * 4)), expected)


def test_samples_of_one_label_are_not_enough():
    require_two("some", torch.tensor([[1, 0, 3], [0, 2, 2]]), "classes")
    with pytest.raises(NotApplicableError, match=r"^some needs training samples of two classes or more$"):
        require_two("some", torch.tensor([[1, 0, 3], [0, 4, 0]]), "classes")


def test_means_of_groups_are_those_of_a_loop_and_absent_groups_are_told():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], requires_grad=True)
    mean, count = group_means(values, torch.tensor([[2, 0, 2, 0], [1, 1, 1, -1]]), 3)
    assert mean.tolist() == [[3, 0, 2], [0, 6, 0]]
    assert count.tolist() == [[2, 0, 2], [0, 3, 0]]
    mean.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([[0.5] * 4, [1 / 3] * 3 + [0]]))


def test_counts_of_groups_are_those_of_bincount_and_leave_out_what_is_in_none():
    group = torch.tensor([[2, 0, 2, 0], [1, 1, 1, -1], [3, -1, 0, 5]])
    expected = [[2, 0, 2], [0, 3, 0], [1, 0, 0]]
    assert group_counts(group, 3).tolist() == expected
    assert group_means(torch.zeros(3, 4), group, 3)[1].tolist() == expected


def test_maxima_of_groups_are_those_of_a_loop():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    found = group_maxima(values, torch.tensor([[2, 0, 2, 0], [1, 1, 1, -1]]), 3)
    assert found.tolist() == [[4, -math.inf, 3], [-math.inf, 7, -math.inf]]
