"""Made-up machines that records come from."""

from typing import Any

from bench.records.sections import Environment


def made_up_environment(**fields: Any) -> Environment:
    """A CPU without a git checkout, at a time of its own; fields as given."""
    usual: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "python": "3.12",
        "versions": {"torch": "2.0"},
        "plugins": {},
        "device": "CPU A",
        "platform": "linux",
        "git": None,
    }
    return Environment.read(usual | fields)
