"""Empirical risk minimisation."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench import Method, hookimpl


@dataclass
class ERM(Method):
    """Empirical risk minimisation: every sample has the same weight (FORML's "Uniform")."""

    name = "erm"
    stackable = True
    capturable = True
    baseline = True


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {ERM.name: ERM}
