"""Long lists in few words: the first names and how many more there are, counts by name or their range."""

from collections.abc import Sequence

NAMED = 10
"""Classes or groups up to which each is named."""


def join_first(names: Sequence[str], most: int, separator: str = ", ", left_out: int = 0) -> str:
    """The first names, and how many more there are.

    Args:
        names: of which those beyond the first `most` are counted, not named.
        separator: text between two names.
        left_out: how many more there are that `names` lacks.

    Returns:
        Such as `a, b and 3 more`.
    """
    more = left_out + max(0, len(names) - most)
    first = separator.join(names[:most])
    return f"{first} and {more:,} more" if more else first


def counts_by_name(names: Sequence[str], counts: Sequence[int], what: str) -> str:
    """How many samples each class or group has; of more than NAMED, the least and the most.

    Args:
        names: of the classes or groups, and `counts` of their samples, in the same order.
        what: what they are, in the plural.

    Returns:
        Such as `no: 3, yes: 1,204`, or `5 to 500 in each of 100 classes`.
    """
    if len(names) > NAMED:
        return f"{min(counts):,} to {max(counts):,} in each of {len(names)} {what}"
    return ", ".join(f"{name}: {count:,}" for name, count in zip(names, counts, strict=True))
