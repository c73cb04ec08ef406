"""The entries of records as their files have them. Nothing here imports torch."""

from dataclasses import asdict
from typing import Any

UNWRITTEN = (
    ("environment", "gpu"),
    ("environment", "left_behind"),
    ("about", "units"),
    ("about", "described"),
    ("about", "used"),
    ("costs", "outside_seconds"),
)
"""Section and name of entries that are not written where they are empty."""
LATER_COMPARISONS = ("differences_error", "float32_error", "outputs_error")
"""Entries of a look-ahead that are not written where nothing was compared."""


def as_written(record: Any) -> dict[str, Any]:
    """The fields of a record as its file has them. Entries that came later are left out where they are empty, so that
    the records before them stay as they are.

    Args:
        record: a dataclass with an `environment`.

    Returns:
        Name -> value; sections are mappings.
    """
    values = asdict(record)
    for section, name in UNWRITTEN:
        if section in values and not values[section][name]:
            del values[section][name]
    if not values.get("traceback", True):
        del values["traceback"]
    if "code" in values and not values["code"]["core"]:
        del values["code"]
    costs = values.get("costs", {})
    of_stages = [choice for stage in costs.get("stages", []) for choice in stage["meta_step"]]
    for choice in costs.get("meta_step", []) + of_stages:
        for name in LATER_COMPARISONS:
            if choice[name] is None:
                del choice[name]
    return values
