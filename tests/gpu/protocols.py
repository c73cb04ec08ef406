"""Every protocol, with a training of two epochs."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from bench.registry import installed
from tests.gpu import each
from tests.gpu.common import CPU, batch, compare, dataset, exact, experiment, small, trained


@dataclass(frozen=True)
class Case:
    """A protocol's options, the classes of its data, and a method that learns from all that it gives."""

    options: dict[str, Any] = field(default_factory=dict)
    classes: int = 10
    method: str = "erm"


CASES = {
    "class_fairness": Case(method="forml"),
    "group_fairness": Case(classes=2, method="forml"),
    "label_shift": Case({"prior": tuple(range(1, 11))}, method="bbse"),
    "imbalance": Case({"factor": 4.0}),
    "covariate_shift": Case({"parts": ("0+1", "2+3"), "ratio": 4.0}),
    "label_noise": Case({"kind": "symmetric"}),
    "pruning": Case(),
    "robustness": Case({"factor": 4.0, "severities": (5,), "attack_steps": 5}),
}


@each(sorted(installed().offers["protocols"]))
def check_a_training_is_that_of_a_cpu(device: torch.device, name: str) -> str:
    case = CASES[name]
    data = dataset(device, 10 * batch(device), case.classes)
    protocol = installed().find("protocols", name).value
    data = protocol(**case.options).view(replace(data, val=None) if name == "pruning" else data)
    options = {f"protocol__{option}": value for option, value in case.options.items()}
    given = experiment(data, case.method, name, recipe__epochs=2, recipe__val_size=2 * batch(device), **options)
    given = small(given, device)
    with exact():
        there, _ = trained(given, device)
        here, _ = trained(given, CPU)
    chosen = name == "pruning"  # by trainings, which round otherwise
    assert chosen or there.data == here.data
    last, expected = (result.selected["last"].metrics for result in (there, here))
    assert last.keys() == expected.keys()
    return f"{compare(there, here, 0.1 if chosen else 1e-2)}, {len(last)} sets"
