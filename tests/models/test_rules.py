"""The rules of models: one fault each in a model that keeps them all, and what is no mistake."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.data.split import Split
from bench.errors import ModelError
from bench.models.rules import check_model
from bench.models.stack import stack
from bench.parts import Part
from bench.registry import Plugin
from bench.testing import toy_split

TRAIN = toy_split(10, 0)
IMAGES = toy_split(10, 0, images=True)


class Faulty(nn.Module):
    """A linear model that does one thing wrong, in both modes or in one of them."""

    def __init__(self, fault: Any, only: bool | None = None, classes: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(3, classes)
        self.fault, self.only = fault, only

    def forward(self, x: Tensor) -> Any:
        return self.fault(self.linear(x), x) if self.only in (None, self.training) else self.linear(x)


class Extra(Faulty):
    """A right model whose state holds more than tensors."""

    def get_extra_state(self) -> object:
        return 2.0

    def set_extra_state(self, state: object) -> None:
        pass


def test_a_model_may_have_a_state_of_more_than_tensors():
    model = Extra(lambda z, x: z)
    check_model("mine", lambda: copy.deepcopy(model), TRAIN, 2)


FAULTS = {
    "narrow": (lambda z, x: z[:, :1], r"logits have shape \[4, 1\], expected \[4, 2\]"),
    "wide": (lambda z, x: torch.cat([z, z], 1), r"logits have shape \[4, 4\], expected \[4, 2\]"),
    "binary": (lambda z, x: z[:, 0], r"logits have shape \[4\], expected \[4, 2\]"),
    "scalar": (lambda z, x: z.sum(), r"logits have shape \[\], expected \[4, 2\]"),
    "batch": (lambda z, x: z[:2], r"logits have shape \[2, 2\], expected \[4, 2\]"),
    "turned": (lambda z, x: z.T, r"logits have shape \[2, 4\], expected \[4, 2\]"),
    "three": (lambda z, x: z.unsqueeze(1), r"logits have shape \[4, 1, 2\], expected \[4, 2\]"),
    "tuple": (lambda z, x: (z, z), "returns tuple"),
    "dictionary": (lambda z, x: {"logits": z}, "returns dict"),
    "nothing": (lambda z, x: None, "returns NoneType"),
    "array": (lambda z, x: z.detach().numpy(), "returns ndarray"),
    "nan": (lambda z, x: z * torch.nan, "logits of the initial model are not finite"),
    "infinite": (lambda z, x: z / 0, "logits of the initial model are not finite"),
    "integers": (lambda z, x: z.long(), "must be floating-point numbers, not torch.int64"),
    "complex": (lambda z, x: torch.complex(z, z), "must be floating-point numbers, not torch.complex64"),
    "in place": (lambda z, x: z + x.mul_(2).sum() * 0, "changes its input in place"),
    "raises": (lambda z, x: 1 / 0, r"fails in .* on inputs \[4, 3\]: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("only", [None, True, False], ids=["in both modes", "in training", "in evaluation"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_model_with_a_fault_is_refused_in_a_line(name, only):
    fault, message = FAULTS[name]
    mode = "" if only is None else f"in {'training' if only else 'evaluation'}.*"
    with pytest.raises(ModelError, match=message) as caught:
        refused(Faulty(fault, only))
    assert str(caught.value).startswith("model mine") and "\n" not in str(caught.value)
    assert re.search(mode, str(caught.value))


def refused(model: Any, train: Split = TRAIN) -> None:
    check_model("mine", lambda: copy.deepcopy(model), train, 2)


@pytest.mark.parametrize(
    ("fault", "only", "message"),
    [
        (lambda z, x: z.detach(), True, "no gradient reaches its parameters"),
        (lambda z, x: z - z.mean(0), False, "a sample's logits depend on the others"),
        (lambda z, x: nn.functional.dropout(z), False, "evaluated twice, it gives the same samples other logits"),
        (lambda z, x: z + torch.rand(()), None, "evaluated twice, it gives the same samples other logits"),
    ],
)
def test_faults_of_one_mode_are_refused(fault, only, message):
    with pytest.raises(ModelError, match=message):
        refused(Faulty(fault, only))


def test_a_model_that_evaluation_changes_is_refused():
    class Counting(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(not self.training)
            return super().forward(x)

    with pytest.raises(ModelError, match="evaluation changes the model's state: calls"):
        refused(Counting())


def test_a_model_for_inputs_of_another_shape_is_refused_with_both():
    with pytest.raises(
        ModelError, match=r"fails in training on inputs \[4, 3\]: RuntimeError: mat1 and mat2.*4x3.*7x2"
    ):
        refused(nn.Linear(7, 2))
    with pytest.raises(ModelError, match=r"on inputs \[4, 3, 8, 8\].*"):
        refused(nn.Conv2d(1, 2, 3), IMAGES)


def test_a_model_that_cannot_be_built_is_refused_with_what_it_was_asked_for():
    def build() -> nn.Module:
        raise ValueError("images\nonly")

    with pytest.raises(ModelError, match=r"cannot be built for inputs \[3\] and 2 classes: ValueError: images only"):
        check_model("mine", build, TRAIN, 2)


def test_initial_weights_that_differ_or_are_not_there_are_refused():
    with pytest.raises(ModelError, match="initial weights must come from torch's global generator alone"):
        check_model("mine", lambda: nn.Linear(3, 2), TRAIN, 2)  # built without a seed: two draws
    with pytest.raises(ModelError, match="weight has no shape yet"):
        refused(nn.LazyLinear(2))


def test_one_model_for_every_run_is_refused():
    """It would begin a run with what the run before has learnt."""
    model = nn.Linear(3, 2)
    with pytest.raises(ModelError, match="must build a new model at each call"):
        check_model("mine", lambda: nn.Sequential(model), TRAIN, 2)


def test_what_is_no_mistake_passes_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    layers = (nn.Flatten(), nn.Linear(3 * 64, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))
    model, single, noisy = nn.Sequential(*layers), nn.Linear(3, 2), Faulty(lambda z, x: z + torch.rand_like(z), True)
    torch.manual_seed(5)
    refused(model, IMAGES)
    refused(noisy)  # draws in training alone
    refused(single, TRAIN.select(torch.arange(2)))  # fewer samples than a check takes
    stacked = Split.stack([TRAIN, TRAIN])
    check_model("mine", lambda: stack([single, single]), stacked, 2)
    assert torch.equal(torch.rand(3), expected)


def test_a_model_larger_than_the_memory_is_left_to_the_training():
    def large(z: Tensor, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    refused(Faulty(large))


class Net(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise TypeError("no forward")


def broken() -> nn.Module:
    raise ValueError("no net")


@pytest.mark.parametrize(
    ("build", "what", "function"),
    [
        (Net, "fails in training on inputs [4, 3]", Net.forward),
        (broken, "cannot be built for inputs [3] and 2", broken),
    ],
)
def test_an_error_in_a_plugin_has_its_distribution_file_and_line(build, what, function):
    part = Part("model", "net", Plugin("acme", "acme", "0.1", __name__), build)
    with pytest.raises(ModelError) as raised:
        check_model(part, build, TRAIN, 2)
    error, line = raised.value.__cause__, function.__code__.co_firstlineno + 1
    place = f"{type(error).__name__} in {function.__name__}, tests/models/test_rules.py:{line}: {error}"
    assert str(raised.value).startswith(f"acme 0.1: model net {what}")
    assert str(raised.value).endswith(place)
