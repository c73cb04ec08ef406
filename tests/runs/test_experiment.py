"""From what a user asks to what is run: options of the data set and the protocol, which make another task."""

from dataclasses import asdict, dataclass, replace

import pytest

from bench import Files, Method, OptionError, Recipe
from bench.registry import Offer, Plugin, Registry, installed
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench_plugins.models import logistic
from bench_plugins.protocols.fairness import ClassFairness
from bench_plugins.protocols.imbalance import Imbalance

HERE = Plugin("toy", "toy", "1")


@dataclass(frozen=True)
class Halved(ClassFairness):
    """Only every `step`-th training sample."""

    name = "halved"
    step: int = 2

    def view(self, dataset):
        train = dataset.train
        return replace(
            dataset, train=replace(train, x=train.x[:: self.step], y=train.y[:: self.step], group=train.y[:: self.step])
        )


@dataclass
class Strict(Method):
    """ERM with an option that is checked."""

    rate: float = 1.0

    def __post_init__(self):
        if self.rate <= 0:
            raise OptionError(f"strict: rate must be above 0, not {self.rate:g}")


@pytest.fixture
def ask(make_dataset, tmp_path):
    recipe = {"model": "logistic", "protocol": "halved", "options": {"halved": {"step": 4}}}

    def load(files, *, size: int = 40):
        """Toy."""
        dataset = make_dataset([size], groups=())
        return replace(dataset, recipe=replace(dataset.recipe, **recipe))

    registry = Registry()
    registry.add(logistic, HERE)
    registry.offers["datasets"]["toy"] = Offer(load, HERE)
    registry.offers["methods"]["strict"] = Offer(Strict, HERE)
    registry.offers["protocols"]["halved"] = Offer(Halved, HERE)

    def resolved(loaded=None, **options):
        named = {name.replace("__", "."): value for name, value in options.items()}
        return resolve(Request("toy", "strict", options=named), Files(tmp_path), registry, loaded)

    return resolved


def test_the_data_set_is_loaded_with_its_options_and_seen_as_the_protocol_has_it(ask):
    assert len(ask().dataset.train) == 10  # 40 samples, of which the recipe has every fourth taken
    assert len(ask(dataset__size="24", protocol__step="2").dataset.train) == 12


def test_options_that_make_another_task_make_another_run(ask):
    usual, other = ask().spec(0), ask(dataset__size=24, protocol__step=3).spec(0)
    assert (usual.dataset_options, usual.protocol_options) == ({}, {})
    assert (other.dataset_options, other.protocol_options) == ({"size": 24}, {"step": 3})
    assert len({usual.key, other.key, ask(protocol__step=3).spec(0).key}) == 3
    assert ask(protocol__step=4, dataset__size=40).spec(0) == usual
    assert ask(protocol__step=3).off_recipe == []
    resolved = ask(dataset__size=24).resolved
    assert (resolved.dataset_options, resolved.protocol_options) == ({"size": 24}, {"step": 4})


def test_an_option_of_a_data_set_that_is_off_makes_no_other_run(ask):
    """So a new one, off by default, leaves the keys of older records as they are."""
    usual = ask()
    off, on = (replace(usual, dataset_options={**usual.dataset_options, "scaled": value}) for value in (False, True))
    assert off.spec(0) == usual.spec(0)
    assert on.spec(0).settings != usual.spec(0).settings


@pytest.mark.parametrize("fields", [{"standardize": True}, {"fit": lambda train: lambda x: x}])
def test_what_is_fitted_on_training_rows_makes_another_run(ask, fields):
    usual = ask()
    assert replace(usual, dataset=replace(usual.dataset, **fields)).spec(0).settings != usual.spec(0).settings


def test_metrics_of_two_classes_are_not_shown_of_more(ask, monkeypatch):
    monkeypatch.setattr(Halved, "metrics", ("grid/fraction_positive", "accuracy"))
    two = ask()
    assert two.metrics == ("grid/fraction_positive", "accuracy")
    assert replace(two, dataset=replace(two.dataset, classes=("a", "b", "c"))).metrics == ("accuracy",)


def test_the_defaults_of_recipes_are_as_they_were(ask):
    """Runs are known by what differs from them: a changed one would make old records pass for new ones."""
    defaults = {
        **{"model": "", "model_options": {}, "protocol": "", "loss": "cross_entropy"},
        **{"optimizer": "adam", "lr": 1e-3, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
        **{"schedule": "steps", "milestones": (), "gamma": 0.1, "max_lr": None, "cycle": 4.0},
        **{"average_from": None, "average_lr": None, "epochs": 50, "steps": None, "batch_size": 100},
        **{"eval_batch_size": 500, "train_size": None, "val_size": 0, "test_size": 0, "val_batch_size": 100},
        **{"min_per_group": 1, "augment": True, "evaluate_every": 1, "evaluate_at": (), "select": ""},
        **{"dropout": "correct", "precision": "fp32", "metrics": (), "options": {}, "source": ""},
    }
    assert asdict(Recipe()) == defaults  # another field may follow: add it here


def test_naming_the_default_protocol_makes_no_other_run(make_dataset, tmp_path):
    """Of the committed records, whose keys have no protocol where it is the default one."""

    def spec(protocol):
        dataset = make_dataset([40], groups=())
        recipe = replace(dataset.recipe, model="logistic", protocol=protocol)
        registry = Registry(offers={kind: dict(offers) for kind, offers in installed().offers.items()})
        registry.offers["datasets"]["toy"] = Offer(lambda files: replace(dataset, recipe=recipe), HERE)
        return resolve(Request("toy", "erm"), Files(tmp_path), registry).spec(0)

    assert spec("") == spec("class_fairness")
    assert spec("").protocol == "class_fairness/1"


def test_a_recipes_value_makes_another_run(ask):
    assert ask(recipe__lr=0.5).spec(0).settings != ask().spec(0).settings
    assert ask(recipe__lr=1e-3).spec(0) == ask().spec(0)


def test_the_command_has_the_options_of_the_task(ask):
    command = ask(dataset__size=24, protocol__step=3).spec(1).command("logistic", "halved")
    assert command == "bench run --method strict --dataset toy -o dataset.size=24 -o protocol.step=3 --seed 1"


def test_data_that_were_loaded_before_are_not_cut_twice(ask):
    first = ask()
    assert ask(loaded=first.dataset).dataset is first.dataset


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset__size": "x"}, "option size=x of data set toy: expected int"),
        ({"protocol__width": 3}, "protocol halved has no option 'width'; valid: step: int"),
        (
            {"data__size": 3},
            "the prefix must be a method of this command or recipe., dataset., protocol., model., method., not data.",
        ),
        ({"rate": 0}, "strict: rate must be above 0, not 0"),  # told before anything is trained
    ],
)
def test_wrong_options_are_told(ask, options, message):
    with pytest.raises(OptionError, match=message):
        ask(**options)


def test_a_protocol_names_the_metric_that_epochs_are_selected_by(ask, monkeypatch):
    """Under imbalance the accuracy would select a model that always predicts the largest class."""
    assert (ask().recipe.select, Imbalance.select) == ("accuracy", "balanced_accuracy")
    monkeypatch.setattr(Halved, "select", "balanced_accuracy")
    by_protocol = ask()
    assert by_protocol.recipe.select == by_protocol.resolved.recipe["select"] == "balanced_accuracy"
    assert by_protocol.changed["recipe"] == {}
    by_user = ask(recipe__select="accuracy")
    assert (by_user.recipe.select, by_user.changed["recipe"]) == ("accuracy", {"select": "accuracy"})
    assert by_user.spec(0).key != by_protocol.spec(0).key
