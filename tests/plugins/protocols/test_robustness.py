"""The protocol `robustness`: what is evaluated after the training, against the corruptions and the attack by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bench import DataError, Dataset, OptionError, RandomStreams, Recipe, Split
from bench.data.split import Splits
from bench.errors import ProtocolError
from bench.images.attacks import universal_perturbation
from bench.images.corruptions import COMMON, CORRUPTIONS, EXTRA
from bench.metrics import METRICS
from bench.runs.evaluation import Evaluations
from bench_plugins.protocols.imbalance import Imbalance
from bench_plugins.protocols.robustness import Robustness

NAMES = ", ".join(CORRUPTIONS)
STREAMS = RandomStreams((3,))
FEW = Robustness(factor=1.0, corruptions=("fog", "contrast", "spatter", "saturate"), severities=(1, 5), attack_steps=5)


def photographs(n: int, seed: int) -> Split:
    """Two classes of noise images, the second brighter."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randint(0, 180, (n, 3, 12, 12), generator=generator) + 70 * y.view(-1, 1, 1, 1)
    return Split(x.to(torch.uint8), y, y)


@pytest.fixture
def splits() -> Splits:
    return Splits(photographs(60, 0), photographs(20, 1), {"test": photographs(40, 2)})


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 2))


def constant(number: int) -> nn.Module:
    """Predicts this class for all."""
    linear = nn.Linear(3 * 12 * 12, 2)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.eye(2)[number])
    return nn.Sequential(nn.Flatten(), linear)


def evaluated(splits: Splits, **more: object) -> Evaluations:
    return Evaluations(splits, groups=2, group_is_class=True, batch_size=16, select="accuracy", **more)


def wrong(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Fraction of images in [0, 1] whose class is not predicted, one by one."""
    return sum(int(model(image.unsqueeze(0)).argmax()) != int(label) for image, label in zip(x, y, strict=True)) / len(
        y
    )


def examined(protocol: Robustness, splits: Splits, model: nn.Module) -> dict[str, dict[str, float]]:
    evaluations = evaluated(splits)
    return protocol.examine(model, splits, STREAMS, lambda split, name: evaluations.examined(model, split, name))


def test_every_corruption_is_evaluated_and_the_means_are_over_the_common_and_the_extra_ones(splits, model):
    found, test = examined(FEW, splits, model), splits.tests["test"]
    errors = {}
    for name in FEW.corruptions:
        for severity in (1, 5):
            (generator,) = STREAMS.generators("corruption", name, severity)
            x = CORRUPTIONS[name](test.x, severity, generator)
            errors[name, severity] = wrong(model, x / 255, test.y)
            assert found[f"{name}/{severity}"]["error"] == pytest.approx(errors[name, severity])
    assert len(set(errors.values())) > 2, "or the test shows nothing"
    for kind, names in (("corrupted", ("fog", "contrast")), ("extra_corrupted", ("spatter", "saturate"))):
        mean = sum(errors[name, severity] for name in names for severity in (1, 5)) / 4
        assert found[kind]["error"] == pytest.approx(mean)
        assert found[kind]["accuracy"] == pytest.approx(1 - mean)
        assert set(found[kind]) == set(METRICS)
    assert set(found["fog/1"]) == {"balanced_accuracy", "macro_f1", "error"}


def test_the_perturbation_is_made_on_the_training_data_and_misleads_on_the_test_data(splits):
    """A model that is right by the mean brightness: made darker or brighter, all images are of one class."""
    model = constant(0)
    with torch.no_grad():
        model[1].weight[1] = 40 / model[1].in_features
        model[1].bias.copy_(torch.tensor([40 * 125 / 255, 0.0]))
    found, test = examined(replace(FEW, eps=0.3, attack_steps=50), splits, model)["perturbed"], splits.tests["test"]
    (generator,) = STREAMS.generators("universal perturbation")
    delta = universal_perturbation(model, splits.train, 0.3, 50, generator, batch_size=128)
    x = (test.x / 255 + delta).clamp(0, 1)
    assert found["error"] == pytest.approx(wrong(model, x, test.y))
    assert (found["error"], wrong(model, test.x / 255, test.y)) == (0.5, 0.0)


def test_a_random_perturbation_has_the_size_of_the_attack_and_is_the_same_for_all_models(splits):
    test = splits.tests["test"]
    grey = replace(splits, tests={"test": replace(test, x=test.x.clamp(10, 240))})  # no value meets a bound
    protocol, kept = replace(FEW, corruptions=("fog",), severities=(1,)), []
    for number in (0, 1):
        protocol.examine(
            constant(number), grey, STREAMS, lambda split, name: kept.append(split.x) or dict.fromkeys(METRICS, 0.0)
        )
    _, attacked, found, *_, again = kept
    change = found - grey.tests["test"].x / 255
    torch.testing.assert_close(change.abs(), torch.full_like(change, 8 / 255), rtol=0, atol=1e-6)
    torch.testing.assert_close(change, change[:1].expand_as(change), rtol=0, atol=1e-6)
    assert 0.4 < (change > 0).float().mean() < 0.6
    assert torch.equal(found, again) and not torch.equal(found, attacked)
    protocol.examine(
        constant(0), grey, RandomStreams((4,)), lambda split, name: kept.append(split.x) or dict.fromkeys(METRICS, 0.0)
    )
    assert not torch.equal(found, kept[-1])


def test_without_corruptions_of_a_kind_or_an_attack_there_is_no_such_set(splits, model):
    assert set(examined(replace(FEW, corruptions=("fog",), severities=(2,), eps=0.0), splits, model)) == {
        "fog/2",
        "corrupted",
    }
    assert {"corrupted", "extra_corrupted"} <= set(
        examined(replace(FEW, corruptions=(), severities=(1,), eps=0.0), splits, model)
    )
    assert (len(COMMON), len(EXTRA)) == (15, 4)


def test_equal_seeds_corrupt_alike_and_others_do_not(splits, model):
    noise = Robustness(corruptions=("gaussian_noise",), severities=(5,), eps=0.0)
    kept: list[Split] = []
    for seed in (3, 3, 4):
        noise.examine(model, splits, RandomStreams((seed,)), lambda split, name: kept.append(split) or {"error": 0.0})
    assert torch.equal(kept[0].x, kept[1].x)
    assert not torch.equal(kept[0].x, kept[2].x)


def test_the_training_data_are_those_of_imbalance():
    data = Dataset("toy", photographs(200, 0), photographs(40, 1), ("dark", "bright"), Recipe(val_size=20))
    for options in ({"factor": 10.0}, {"factor": 5.0, "profile": "linear", "validation": "balanced"}):
        own, other = (kind(**options).splits(data, data.recipe, STREAMS) for kind in (Robustness, Imbalance))
        assert torch.equal(own.train.x, other.train.x)
        assert torch.equal(own.val.x, other.val.x)


def dataset(**fields: object) -> Dataset:
    return Dataset(**{"name": "toy", "train": photographs(20, 0), "test": None, "classes": ("dark", "bright")} | fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("fog", "rain")}, rf"^protocol\.corruptions must be one of {NAMES}, not rain$"),
        ({"severities": (1, 6)}, r"^protocol\.severities must be one of 1, 2, 3, 4, 5, not 6$"),
        ({"severities": ()}, r"^protocol\.severities must have an entry, and none is given$"),
        ({"eps": 8.0}, r"^protocol\.eps must be in \[0, 1\], not 8$"),
        ({"attack_steps": 0}, r"^protocol\.attack_steps must be at least 1, not 0$"),
        ({"factor": 0.0}, r"^protocol\.factor must be above 0, not 0$"),
    ],
)
def test_options_out_of_their_range_are_told(options, message):
    with pytest.raises(OptionError, match=message):
        Robustness(**options).check(dataset(recipe=Recipe()))


def test_data_that_cannot_be_corrupted_are_refused_with_the_reason():
    table = Split(torch.rand(20, 4), torch.arange(20) % 2, torch.arange(20) % 2)
    bands = Split(torch.zeros(20, 7, 8, 8, dtype=torch.uint8), torch.arange(20) % 2, torch.arange(20) % 2)
    for train, shape in ((table, r"\[4\]"), (bands, r"\[7, 8, 8\]")):
        with pytest.raises(ProtocolError, match=f"robustness corrupts images of 1 or 3 channels; toy has .* {shape}"):
            Robustness().check(dataset(train=train, recipe=Recipe()))
    with pytest.raises(ProtocolError, match=r"robustness corrupts images as they are stored; toy has .* \(`fit`\)"):
        Robustness().check(dataset(fit=lambda train: lambda x: x.flip(-1), recipe=Recipe()))
    with pytest.raises(DataError, match="leaves 1 of 2 classes without a training sample"):
        Robustness().splits(dataset(recipe=Recipe(test_size=4)), Recipe(test_size=4), STREAMS)


# The models that are examined


def test_the_model_of_each_rule_is_kept_also_over_an_interrupt(splits):
    """Three of four validation samples are of class 1, so the first evaluation is the best."""
    y = torch.tensor([1, 1, 1, 0] * 5)
    splits = replace(splits, val=replace(splits.val, y=y, group=y))
    evaluations = evaluated(splits, keep_models=True)
    evaluations(constant(1), 1)
    other = evaluated(splits, keep_models=True)
    other.load_state_dict(evaluations.state_dict())
    for done in (evaluations, other):
        done(constant(0), 2)
        biases = {rule: state["1.bias"].tolist() for rule, state in done.model_states.items()}
        assert biases == {"last": [1.0, 0.0], "best_val_accuracy": [0.0, 1.0]}
    assert not evaluated(splits).model_states


class Counting(nn.Module):
    """A model whose state holds more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.made = constant(1)
        self.extra = {"scale": 2.0, "table": np.ones(2), "seen": [0]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.made(x)

    def get_extra_state(self) -> object:
        return self.extra

    def set_extra_state(self, state: object) -> None:
        self.extra = state


def test_a_kept_model_has_its_extra_state_as_it_was_also_over_an_interrupt(splits, tmp_path):
    evaluations, model = evaluated(splits, keep_models=True), Counting()
    evaluations(model, 1)
    model.extra["seen"].append(1)
    model.extra["table"] += 1
    torch.save(evaluations.state_dict(), tmp_path / "a.pt")
    other = evaluated(splits, keep_models=True)
    other.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    for done in (evaluations, other):
        assert list(done.model_states) == ["last", "best_val_accuracy"]
        assert done.model_states["last"] is done.model_states["best_val_accuracy"]  # it is examined once
        model.load_state_dict(done.model_states["last"])
        assert (model.extra["seen"], model.extra["scale"], model.extra["table"].tolist()) == ([0], 2.0, [1.0, 1.0])


def test_metrics_of_an_examined_split_are_those_of_an_evaluated_one(splits, model):
    evaluations = evaluated(splits)
    row = evaluations(model, 1)
    again = evaluations.examined(model, splits.tests["test"], "test")
    assert {name: value for name, (value,) in row["test"].items()} == pytest.approx(again, nan_ok=True)
    assert not math.isnan(again["error"])
