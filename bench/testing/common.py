"""What the checks share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from bench.errors import DataError, ModelError, PluginError
from bench.offers import check_offer


def documented(plugin: type) -> None:
    """Assert that a class has a docstring of its own."""
    doc = (plugin.__doc__ or "").strip()  # where there is none, `dataclass` writes the signature there
    assert doc and not doc.startswith(f"{plugin.__name__}("), (
        f"{plugin.__name__} needs a docstring; its first line is listed"
    )


def usable(kind: str, plugin: Any) -> None:
    """Assert what is checked when a plugin is loaded, but for the name, which the hook gives."""
    name = getattr(plugin, "name", "") if isinstance(plugin, type) else ""
    try:
        check_offer(kind, name or "it", plugin)
    except PluginError as error:
        raise AssertionError(str(error)) from None


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether `b` has an equal tensor under each name of `a`."""
    return all(torch.equal(v, b[name]) for name, v in a.items())


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor], message: str) -> None:
    """Assert that `b` has an equal tensor under each name of `a`; the message says what it means if not."""
    assert same(a, b), message


@contextmanager
def rules_hold() -> Iterator[None]:
    """Within, a rule that a run would refuse data or a model by is an AssertionError with the same message."""
    try:
        yield
    except (DataError, ModelError) as error:
        raise AssertionError(str(error)) from error
