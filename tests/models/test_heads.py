"""The head of a classifier and its features, on models of which both are known."""

import pytest
import torch
from torch import Tensor, nn

from bench import NotApplicableError, Split
from bench.models.heads import features, head_of, output_layers
from bench.models.normalize import normalized
from bench.models.stack import stack
from bench.testing import toy_split
from bench_plugins.models.resnet import resnet18

SPLIT = toy_split(25, 0)


@pytest.mark.parametrize("classes", [2, 3])
def test_features_are_what_goes_into_the_last_linear_layer(classes):
    first, last = nn.Linear(3, 8), output_layers(8, classes)
    model = normalized(nn.Sequential(first, nn.Tanh(), *last), [0.1, 0.2, 0.3], [1.0, 2.0, 4.0])
    assert head_of(model, SPLIT) is last[0]
    found = features(model, last[0], SPLIT, 10)
    standard = (SPLIT.x - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(found, torch.tanh(standard @ first.weight.T + first.bias))
    assert not found.requires_grad


@pytest.mark.parametrize("classes", [2, 3])
def test_of_stacked_models_the_head_and_the_features_are_those_of_all_runs(classes):
    models = [nn.Sequential(nn.Linear(3, 8), nn.Tanh(), *output_layers(8, classes)) for _ in range(2)]
    splits = [toy_split(25, seed) for seed in range(2)]
    model, split = stack(models), Split.stack(splits)
    head = head_of(model, split)
    alone = [head_of(one, part) for one, part in zip(models, splits, strict=True)]
    assert torch.equal(head.weight, torch.stack([one.weight for one in alone]))
    expected = [features(*each, 10) for each in zip(models, alone, splits, strict=True)]
    torch.testing.assert_close(features(model, head, split, 10), torch.stack(expected))


def test_a_linear_model_is_its_own_head():
    model = nn.Linear(3, 2)
    assert head_of(model, SPLIT) is model
    assert torch.equal(features(model, model, SPLIT, 10), SPLIT.x)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode_and_its_statistics(training):
    x = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.zeros(6, dtype=torch.int64), torch.zeros(6, dtype=torch.int64))
    model = nn.Sequential(resnet18((3, 8, 8), 2, width=4), nn.Dropout(0.5)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    head = head_of(model, split)
    found = features(model, head, split, 4)
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(head(found), model.eval()(x.float() / 255))
    assert not head._forward_hooks


class Odd(nn.Module):
    """A classifier whose last linear layer is not its head."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.first, self.last = fault, nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        first: Tensor = self.first(x)
        if self.fault == "unused":
            return first
        last: Tensor = self.last(first)
        return {"beside": first, "scaled": 2 * last, "twice": self.last(last)}[self.fault]


@pytest.mark.parametrize("fault", ["unused", "beside", "scaled", "twice"])
def test_a_layer_that_does_not_give_the_logits_is_no_head(fault):
    with pytest.raises(NotApplicableError, match="does not give its logits"):
        head_of(Odd(fault), SPLIT)


def test_a_model_without_a_linear_layer_has_no_head():
    with pytest.raises(NotApplicableError, match="no linear layer"):
        head_of(nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 2, 1), nn.Flatten()), SPLIT)
