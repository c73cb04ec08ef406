"""Numbers, means and maxima over groups of samples. Samples of a group outside 0..G-1, such as -1, belong to none."""

import torch
from torch import Tensor

from bench.errors import NotApplicableError
from bench.training.task import Task


def label_counts(task: Task, by: str = "class") -> Tensor:
    """How many training samples each class or group has.

    Args:
        task: whose training data are counted.
        by: what is counted, `class` or `group`.

    Returns:
        [.., K] int64.
    """
    label, names = task.labels(by)
    return group_counts(label, len(names))


def log_class_counts(task: Task) -> Tensor:
    """The logarithms of the numbers of training samples of each class, to be added to logits [.., B, C].

    Returns:
        [.., 1, C] float32. A class without training samples counts as one with one.
    """
    return label_counts(task).clamp_min(1).float().log().unsqueeze(-2)


def require_two(method: str, counts: Tensor, what: str) -> None:
    """Refuse a task whose training samples are all of one label.

    Args:
        method: the method's name, with which the message begins.
        counts: [.., K], the number of training samples of each label.
        what: the labels in the plural, `classes` or `groups`.

    Raises:
        NotApplicableError: where fewer than two of the counts are above 0, in any of the stacked runs.
    """
    if int((counts > 0).sum(-1).min()) < 2:
        raise NotApplicableError(f"{method} needs training samples of two {what} or more")


def group_counts(group: Tensor, groups: int) -> Tensor:
    """[.., G] int64: how many samples each group has, from groups [.., N]."""
    inside = (group >= 0) & (group < groups)
    counts = group.new_zeros(*group.shape[:-1], groups)
    return counts.scatter_add(-1, group.clamp(0, groups - 1), inside.to(group.dtype))


def group_means(values: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean value and number of samples of each group, [.., G] both, from values and groups [.., B].

    A group without samples has mean 0 and number 0. Gradients go through the means, and no value of a tensor is read.
    """
    member = _members(group, groups)
    count = member.sum(-2)
    return values.unsqueeze(-1).where(member, 0.0).sum(-2) / count.clamp_min(1), count


def group_maxima(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """[.., G] largest value of each group, from values and groups [.., B]; minus infinity for one without samples."""
    return values.unsqueeze(-1).where(_members(group, groups), -torch.inf).amax(-2)


def _members(group: Tensor, groups: int) -> Tensor:
    """[.., B, G] bool: whether a sample is of a group."""
    return group.unsqueeze(-1) == torch.arange(groups, device=group.device)
