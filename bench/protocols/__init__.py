"""Protocols: what is trained on, what is evaluated on, which metrics count. Every record names the version."""

from bench.errors import UnknownNameError
from bench.protocols.base import Claim, Metrics, Prepared, Protocol, Splits
from bench.protocols.covariate_shift import CovariateShift
from bench.protocols.fairness import ClassFairness, GroupFairness
from bench.protocols.imbalance import Imbalance
from bench.protocols.label_noise import LabelNoise
from bench.protocols.label_shift import LabelShift
from bench.protocols.pruning import Pruning
from bench.protocols.robustness import Robustness

__all__ = [
    "PROTOCOLS",
    "Claim",
    "ClassFairness",
    "CovariateShift",
    "GroupFairness",
    "Imbalance",
    "LabelNoise",
    "LabelShift",
    "Metrics",
    "Prepared",
    "Protocol",
    "Pruning",
    "Robustness",
    "Splits",
    "protocol",
]

PROTOCOLS: dict[str, type[Protocol]] = {
    p.name: p
    for p in (
        ClassFairness,
        GroupFairness,
        LabelShift,
        Imbalance,
        CovariateShift,
        LabelNoise,
        Pruning,
        Robustness,
    )
}


def protocol(name: str) -> type[Protocol]:
    """The protocol of that name; its fields are its options. Raises UnknownNameError."""
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
