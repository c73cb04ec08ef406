"""The models against closed forms, parameter counts, plain loops and torchvision's own ResNet."""

import math
import urllib.error

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench import BenchError, OptionError, UnknownNameError
from bench.compat import torchvision
from bench.training.losses import hinge
from bench_plugins.models.byrd_cnn import byrd_cnn
from bench_plugins.models.logistic import logistic
from bench_plugins.models.mlp import mlp
from bench_plugins.models.resnet import resnet18
from bench_plugins.models.timm import timm_model
from bench_plugins.models.torchvision import torchvision_model

FAMILIES = {"timm": timm_model, "torchvision": torchvision_model}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_logistic_of_two_classes_is_one_weight_vector():
    model, x = logistic((4,), 2).double(), torch.randn(7, 4, dtype=torch.float64)
    weight, bias = model.parameters()
    z = x @ weight[0] + bias
    logits = model(x)
    assert parameters(model) == 4 + 1
    torch.testing.assert_close(logits.softmax(1)[:, 1], torch.sigmoid(z))
    y = torch.tensor([0, 1, 0, 1, 0, 1, 1])
    torch.testing.assert_close(hinge(logits, y), F.relu(1 - (2 * y - 1) * z))


def test_logistic_of_more_classes_flattens_images():
    model, x = logistic((1, 8, 8), 10), torch.randn(3, 1, 8, 8)
    weight, bias = model.parameters()
    torch.testing.assert_close(model(x), x.reshape(3, 64) @ weight.T + bias)


@pytest.mark.parametrize(
    ("activation", "function"),
    [("relu", lambda t: t.clamp(min=0)), ("sigmoid", lambda t: 1 / (1 + (-t).exp())), ("tanh", torch.tanh)],
)
def test_mlp_by_hand(activation, function):
    model, x = mlp((1, 4, 4), 3, hidden=(6, 5), activation=activation), torch.randn(2, 1, 4, 4)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    hidden = function(function(x.flatten(1) @ w1.T + b1) @ w2.T + b2)
    torch.testing.assert_close(model(x), hidden @ w3.T + b3)


def test_mlp_sizes():
    assert parameters(mlp((1, 28, 28), 10, activation="sigmoid")) == 784 * 50 + 50 + 50 * 10 + 10
    assert parameters(mlp((2,), 2, hidden=(64,))) == 2 * 64 + 64 + 64 + 1  # one output, as the report's
    assert parameters(mlp((5,), 3, hidden=())) == 5 * 3 + 3


def test_mlp_dropout_follows_each_activation():
    kinds = [type(m) for m in mlp((4,), 3, hidden=(8, 8), dropout=0.5)]
    assert kinds == [nn.Flatten, *[nn.Linear, nn.ReLU, nn.Dropout] * 2, nn.Linear]
    assert nn.Dropout not in map(type, mlp((4,), 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (4, 0)}, r"model\.hidden must be at least 1, not 0"),
        ({"dropout": 1.0}, r"model\.dropout must be in \[0, 1\), not 1"),
        ({"dropout": -0.1}, r"model\.dropout must be in \[0, 1\), not -0\.1"),
    ],
)
def test_mlp_refuses(options, message):
    with pytest.raises(OptionError, match=f"^{message}$"):
        mlp((4,), 3, **options)


def test_byrd_cnn_has_the_layers_of_the_report():
    convolutions = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 * 2) + 64 * 2 + 128 * 3
    dense = (2048 * 512 + 512) + (512 * 128 + 128) + (128 * 2 + 2)
    assert parameters(byrd_cnn((3, 32, 32), 2)) == convolutions + dense


@pytest.mark.parametrize("size", [(20, 20), (21, 24), (28, 28), (33, 22)])
def test_byrd_cnn_fits_the_image(size):
    assert byrd_cnn((1, *size), 10)(torch.zeros(2, 1, *size)).shape == (2, 10)


def test_byrd_cnn_dropout_follows_the_dense_layers():
    kinds = [type(m) for m in byrd_cnn((3, 32, 32), 2, dropout=0.5)]
    dense = [nn.Linear, nn.ReLU, nn.Dropout]
    assert kinds[kinds.index(nn.Flatten) + 1 :] == [*dense, *dense, nn.Linear]
    assert kinds.count(nn.Dropout) == 2


@pytest.mark.parametrize("shape", [(3, 19, 32), (1, 8, 8), (94,)])
def test_byrd_cnn_refuses(shape):
    with pytest.raises(BenchError, match=r"byrd_cnn takes images \(C, H, W\) of at least 20x20 pixels, not \("):
        byrd_cnn(shape, 2)


@pytest.mark.parametrize("dropout", [1.0, -0.5])
def test_byrd_cnn_refuses_a_dropout_that_is_no_probability(dropout):
    with pytest.raises(OptionError, match=rf"^model\.dropout must be in \[0, 1\), not {dropout:g}$"):
        byrd_cnn((3, 32, 32), 2, dropout=dropout)


def test_resnet18_has_the_known_size():
    assert parameters(resnet18((3, 32, 32), 10)) == 11_173_962


def test_resnet18_is_torchvisions_with_another_stem():
    reference = torchvision.models.resnet18(num_classes=10)
    reference.conv1, reference.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    model = resnet18((3, 32, 32), 10)
    state = zip(model.state_dict(), reference.state_dict().values(), strict=True)
    model.load_state_dict(dict(state))
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(model(x), reference(x))
    torch.testing.assert_close(model.eval()(x), reference.eval()(x))  # with the statistics of that one batch


def test_resnet18_starts_like_torchvisions():
    torch.manual_seed(0)
    convolutions = [m for m in resnet18((3, 32, 32), 10).modules() if isinstance(m, nn.Conv2d)]
    for conv in convolutions:
        fan_out = conv.out_channels * math.prod(conv.kernel_size)
        tolerance = 5 / math.sqrt(2 * conv.weight.numel())  # five standard errors of a standard deviation
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=tolerance)


def test_resnet18_width_and_channels():
    model = resnet18((1, 28, 28), 5, width=4)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 5)
    assert model[-1].in_features == 32


def test_resnet18_dropout_is_before_the_last_layer():
    torch.manual_seed(0)
    model = resnet18((3, 32, 32), 5, width=4, dropout=0.5)
    assert [type(m) for m in model[-3:]] == [nn.Flatten, nn.Dropout, nn.Linear]
    torch.manual_seed(0)
    plain = resnet18((3, 32, 32), 5, width=4)
    assert nn.Dropout not in map(type, plain.modules())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(
    ("shape", "options", "error"),
    [
        ((94,), {}, "images"),
        ((3, 32, 32), {"width": 0}, r"^model\.width must be at least 1, not 0$"),
        ((3, 32, 32), {"dropout": 1.0}, r"^model\.dropout must be in \[0, 1\), not 1$"),
    ],
)
def test_resnet18_refuses(shape, options, error):
    with pytest.raises(BenchError, match=error):
        resnet18(shape, 2, **options)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "torchvision/resnet50", "timm/resnet50"])
def test_zoo_models_train_on_small_images(name, size):
    family, _, member = name.partition("/")
    model = FAMILIES[family]((3, size, size), 7, name=member)
    logits = model(torch.randn(4, 3, size, size))
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert model.training
    assert logits.shape == (4, 7)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "shape"), [("vit_tiny_patch16_224", (1, 32, 48)), ("resnet10t", (5, 40, 40))])
def test_timm_takes_channels_and_size(name, shape):
    model = timm_model(shape, 3, name=name)
    assert model(torch.randn(2, *shape)).shape == (2, 3)


def test_torchvision_transformer_takes_the_size():
    model = torchvision_model((3, 32, 32), 3, name="vit_b_16")
    assert model.image_size == 32


@pytest.mark.parametrize(
    ("family", "name", "own"),
    [("timm", "efficientnet_b0", 0.0), ("torchvision", "mobilenet_v2", 0.2), ("torchvision", "squeezenet1_1", 0.5)],
)
@pytest.mark.parametrize("dropout", [None, 0.0, 0.4])
def test_zoo_models_take_dropout(family, name, own, dropout):
    model = FAMILIES[family]((3, 32, 32), 3, name=name, dropout=dropout)
    found = {m.p for m in model.modules() if isinstance(m, nn.Dropout)} | {getattr(model, "drop_rate", 0.0)}
    assert max(found) == (own if dropout is None else dropout)


@pytest.mark.parametrize("member", ["torchvision/resnet18", "torchvision/densenet121", "timm/gemma4_vit_167m_enc"])
def test_zoo_models_without_dropout_refuse_it(member):
    family, _, name = member.partition("/")
    with pytest.raises(OptionError, match=f"^{member} takes no dropout$"):
        FAMILIES[family]((3, 32, 32), 3, name=name, dropout=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_zoo_models_refuse_a_probability_of_one(family):
    with pytest.raises(OptionError, match=r"^model\.dropout must be in \[0, 1\), not 1$"):
        FAMILIES[family]((3, 32, 32), 3, name="vgg11", dropout=1.0)


def test_building_draws_weights_alone():
    """The trial run moves neither the random stream nor BatchNorm's statistics."""
    torch.manual_seed(0)
    model = torchvision_model((3, 32, 32), 7, name="mobilenet_v3_small")  # has dropout and BatchNorm
    drawn = torch.rand(1)
    torch.manual_seed(0)
    reference = torchvision.models.mobilenet_v3_small(num_classes=7)
    assert torch.equal(drawn, torch.rand(1))
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("family", "name", "shape", "why"),
    [
        ("timm", "inception_v3", (3, 32, 32), r"timm/inception_v3 cannot take inputs of shape \(3, 32, 32\): .*ernel"),
        ("timm", "resnet10t", (94,), r"timm/resnet10t takes images \(C, H, W\), not inputs of shape \(94,\)"),
        ("torchvision", "alexnet", (3, 32, 32), r"torchvision/alexnet cannot take inputs of shape \(3, 32, 32\)"),
        ("torchvision", "alexnet", (1, 64, 64), r"torchvision/alexnet takes images \(3, H, W\), not .* \(1, 64, 64\)"),
    ],
)
def test_zoo_models_refuse_what_they_cannot_take(family, name, shape, why):
    with pytest.raises(BenchError, match=why):
        FAMILIES[family](shape, 7, name=name)


def test_a_model_that_gives_more_than_logits_is_refused():
    with pytest.warns(FutureWarning), pytest.raises(BenchError, match="does not give one logit for each of 7 classes"):
        torchvision_model((3, 64, 64), 7, name="googlenet")


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_name_in_a_family(family):
    with pytest.raises(
        UnknownNameError, match=rf"unknown {family} model 'resnet5O': did you mean 'resnet50'\?"
    ) as error:
        FAMILIES[family]((3, 32, 32), 7, name="resnet5O")
    assert len(str(error.value)) < 300


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    for family, build in FAMILIES.items():
        with pytest.raises(BenchError, match=rf"{family}/resnet18 cannot be built .* URLError: .*no route"):
            build((3, 32, 32), 7, name="resnet18", pretrained=True)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
@pytest.mark.parametrize("classes", [7, 1000])
def test_pretrained_weights_are_kept_but_for_the_last_layer(name, classes, monkeypatch):
    state = {key: torch.randn_like(t) for key, t in torchvision.models.get_model(name).state_dict().items() if t.dim()}
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: dict(state))
    model = torchvision_model((3, 32, 32), classes, name=name, pretrained=True)
    same = {key for key, t in model.state_dict().items() if key in state and torch.equal(t, state[key])}
    head = {"resnet18": "fc.", "squeezenet1_1": "classifier.1."}[name]
    assert set(state) - same == (set() if classes == 1000 else {f"{head}weight", f"{head}bias"})
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, classes)


def test_a_long_list_of_known_names_is_cut():
    error = UnknownNameError("model", "m3x", [f"m{i}" for i in range(40)])
    assert str(error).startswith("unknown model 'm3x': did you mean 'm3'? known: m3, ")
    assert str(error).endswith(" and 28 more")
    assert str(UnknownNameError("model", "x", ["b", "a"])) == "unknown model 'x': known: a, b"
