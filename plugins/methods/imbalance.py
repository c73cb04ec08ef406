"""What methods for imbalanced classes or groups share: how often each label is there, and what they cannot use."""

from torch import Tensor

from bench import NotApplicableError, Task
from bench.training.groups import group_counts


def label_counts(task: Task, by: str = "class") -> Tensor:
    """[.., K] training samples of each class or group (`by`)."""
    label, names = task.labels(by)
    return group_counts(label, len(names))


def require_two(method: str, counts: Tensor, what: str) -> None:
    """Raises NotApplicableError where fewer than two of the counts [.., K] are above 0: of two or more `what`."""
    if int((counts > 0).sum(-1).min()) < 2:
        raise NotApplicableError(f"{method} needs training samples of two {what} or more")


def require_cross_entropy(method: str, task: Task) -> None:
    """Raises NotApplicableError where the recipe trains with another loss."""
    if task.recipe.loss != "cross_entropy":
        raise NotApplicableError(f"{method} changes the cross-entropy, and the recipe's loss is {task.recipe.loss}")
