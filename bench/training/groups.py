"""Counts, means and maxima over groups of samples. Samples with a group outside 0..G-1, such as -1, are in none."""

import torch
from torch import Tensor

from bench.errors import NotApplicableError
from bench.training.task import Task


def label_counts(task: Task, by: str = "class") -> Tensor:
    """How many training samples each class or group has.

    Args:
        task: the method's; its training data are counted.
        by: whether to count classes (`class`) or groups (`group`).

    Returns:
        [.., K] int64, for K classes or groups.
    """
    label, names = task.labels(by)
    return group_counts(label, len(names))


def log_class_counts(task: Task) -> Tensor:
    """The logarithms of the numbers of training samples of each class, to be added to logits [.., B, C].

    Returns:
        [.., 1, C] float32. A class without training samples counts as a class with one sample.
    """
    return label_counts(task).clamp_min(1).float().log().unsqueeze(-2)


def require_two(method: str, counts: Tensor, what: str) -> None:
    """Refuse a task whose training samples are all of one label.

    Args:
        method: the method's name, with which the message begins.
        counts: [.., K], the number of training samples of each label.
        what: the labels in the plural, `classes` or `groups`.

    Raises:
        NotApplicableError: if fewer than two of the counts are above 0, in any of the stacked runs.
    """
    if int((counts > 0).sum(-1).min()) < 2:
        raise NotApplicableError(f"{method} needs training samples of two {what} or more")


def group_counts(group: Tensor, groups: int) -> Tensor:
    """How many samples each group has.

    Args:
        group: [.., N] int64, the group of each sample.
        groups: number G of groups.

    Returns:
        [.., G] int64.
    """
    inside = (group >= 0) & (group < groups)
    counts = group.new_zeros(*group.shape[:-1], groups)
    return counts.scatter_add(-1, group.clamp(0, groups - 1), inside.to(group.dtype))


def group_means(values: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The mean value of each group, and its number of samples. Gradients go through the means.

    No value of a tensor is read, so that an update that calls this can be captured.

    Args:
        values: [.., B], the value of each sample.
        group: [.., B] int64, the group of each sample.
        groups: number G of groups.

    Returns:
        Means and numbers, [.., G] each. A group without samples has mean 0 and number 0.
    """
    member = _members(group, groups)
    count = member.sum(-2)
    return values.unsqueeze(-1).where(member, 0.0).sum(-2) / count.clamp_min(1), count


def group_maxima(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """The largest value of each group.

    Args:
        values, group, groups: as for `group_means`.

    Returns:
        [.., G], minus infinity for a group without samples.
    """
    return values.unsqueeze(-1).where(_members(group, groups), -torch.inf).amax(-2)


def _members(group: Tensor, groups: int) -> Tensor:
    """Whether each sample is of each group, [.., B, G] bool."""
    return group.unsqueeze(-1) == torch.arange(groups, device=group.device)
