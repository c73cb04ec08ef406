"""Every installed method for six updates of the real runner, of which the last are replayed where it is capturable."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from bench import Method
from bench.meta import BACKENDS
from bench.registry import installed
from bench.training.capture.update import CapturedUpdate
from tests.experiments import FEW
from tests.gpu import each
from tests.gpu.common import CPU, apart, batch, compare, dataset, exact, experiment, is_gpu, small, trained
from tests.training.test_capture import CAPTURABLE, begun, state

METHODS: dict[str, type[Method]] = {n: offer.value for n, offer in sorted(installed().offers["methods"].items())}
TASKS = {"fair_batch": "group_fairness", "gap_regularized": "group_fairness", "bbse": "label_shift"}
"""Protocols of methods that need another one than `class_fairness`."""
DRAWING = {"ant", "augmix", "deep_augment", "deep_augment_augmix"}
"""Methods that draw on the device, so other numbers than on a CPU."""


@each(METHODS)
def check_six_updates_are_those_of_a_cpu(device: torch.device, name: str) -> str:
    protocol, size = TASKS.get(name, "class_fairness"), 64 if is_gpu(device) else 16
    data = dataset(device, 6 * size, 2 if protocol == "group_fairness" else 10)
    shift = {"protocol__prior": tuple(range(1, 11))} if protocol == "label_shift" else {}
    given = experiment(data, name, protocol, recipe__steps=6, recipe__batch_size=size, **shift, **FEW.get(name, {}))
    given = small(given, device)
    with exact():
        there, _ = trained(given, device)
        here, _ = trained(given, CPU)
    assert there.costs.captured == (device.type == "cuda" and METHODS[name].capturable), there.costs
    backends = sorted({choice.backend for choice in there.costs.meta_step})
    return " ".join([compare(there, here, 1.0 if name in DRAWING else 1e-2), *backends])


@each(BACKENDS[1:])
def check_forml_is_that_of_a_cpu_by_backend(device: torch.device, backend: str) -> str:
    size = batch(device)
    given = experiment(dataset(device, 6 * size), "forml", recipe__steps=6, weight_lr=1.0)
    given = replace(given, model=apart, model_options={})
    with exact():
        there, _ = trained(given, device, backend=backend)
        here, _ = trained(given, CPU, backend=backend)
    assert [choice.backend for choice in there.costs.meta_step] == [backend]
    assert there.costs.captured == (device.type == "cuda"), there.costs.eager_because
    return compare(there, here, 1e-2)


@each(CAPTURABLE)
def check_replays_are_the_updates(device: torch.device, name: str) -> str:
    """One after the other on a small task; nearly, where a kernel adds up in any order."""
    plain, batches = begun(name, device)
    captured, _ = begun(name, device)
    update, far = CapturedUpdate(captured), []
    for one in batches:
        pairs = [*zip(plain.update(one), update(one), strict=True)]
        pairs += [_gradients(*p) for p in zip(plain.model.parameters(), captured.model.parameters(), strict=True)]
        far += [_far(one, other) for one, other in pairs]
    assert update.captured == (device.type == "cuda"), update.eager_because
    far += [_far(value, state(captured)[key]) for key, value in state(plain).items()]
    assert max(far) < 1e-4, f"values differ by {max(far):.1e} of the largest"
    return f"up to {max(far):.1e}" if max(far) else "bit for bit"


def _gradients(one: nn.Parameter, other: nn.Parameter) -> tuple[Tensor, Tensor]:
    assert (one.grad is None) == (other.grad is None)
    return (one, other) if one.grad is None or other.grad is None else (one.grad, other.grad)


def _far(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert one.shape == other.shape
    if torch.equal(one, other) or not one.numel():
        return 0.0
    a, b = one.detach().double(), other.detach().double()
    return float((a - b).abs().max() / a.abs().max())
