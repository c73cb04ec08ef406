"""What methods for imbalanced classes or groups share: how often each label is there, and what they cannot use."""

from collections.abc import Sequence

from torch import Tensor

from bench import NotApplicableError, OptionError, Task
from bench.options import show
from bench.training.groups import group_counts


def label_counts(task: Task, by: str = "class") -> Tensor:
    """[.., K] training samples of each class or group (`by`)."""
    label, names = task.labels(by)
    return group_counts(label, len(names))


def require_two(method: str, counts: Tensor, what: str) -> None:
    """Raises NotApplicableError where fewer than two of the counts [.., K] are above 0: of two or more `what`."""
    if int((counts > 0).sum(-1).min()) < 2:
        raise NotApplicableError(f"{method} needs training samples of two {what} or more")


def require_one_each(option: str, values: tuple[float, ...], names: Sequence[str], by: str = "class") -> None:
    """Raises OptionError unless there is one value for each class or group (`by`), or none at all."""
    if len(values) not in (0, len(names)):
        known = ", ".join(names[:10])
        if len(names) > 10:
            known += ", ..."
        raise OptionError(f"{option} needs {len(names)} numbers, one for each {by} ({known}), not {show(values)}")


def require_cross_entropy(method: str, task: Task) -> None:
    """Raises NotApplicableError where the recipe trains with another loss."""
    if task.recipe.loss != "cross_entropy":
        raise NotApplicableError(f"{method} changes the cross-entropy, and the recipe's loss is {task.recipe.loss}")
