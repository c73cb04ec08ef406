"""The contracts over everything that is installed, and that each contract can be broken."""

import contextlib
import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import Batch, BenchError, Dataset, Files, Meter, Method, NotApplicableError, Recipe, Split, Step, Task
from bench.options import options_of
from bench.registry import installed
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.testing import check_dataset, check_method, check_model, find_out
from tests import twins

DATASETS, MODELS, METHODS = (sorted(installed().offers[kind]) for kind in ("datasets", "models", "methods"))
SHAPES = [(3, 32, 32), (3, 64, 64), (20,)]


@pytest.mark.parametrize("name", METHODS)
def test_method(name):
    check_method(installed().find("methods", name).value)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.endswith("/*")])
def test_model(name):
    build = installed().find("models", name).value
    small = {"width": 4} if "width" in options_of(build) else {}
    taken = [shape for shape in SHAPES if takes(build, shape)]
    assert taken, f"it takes none of {SHAPES}"
    for shape in taken:
        for classes in (2, 3):
            check_model(build, shape, classes, **small)


def takes(build: Callable[..., nn.Module], shape: tuple[int, ...]) -> bool:
    try:
        build(shape, 3)
    except BenchError:
        return False
    return True


@pytest.fixture(params=DATASETS)
def loaded(request, tmp_path: Path) -> tuple[str, Dataset, Files]:
    """Name, data set and files; from a twin in the official format where there are files to read."""
    files = Files(tmp_path, allow_unofficial=True, download=False)
    if write := getattr(twins, request.param, None):
        write(tmp_path)
    return request.param, installed().find("datasets", request.param).value(files), files


def test_dataset(loaded):
    name, dataset, _ = loaded
    check_dataset(dataset)
    assert dataset.name == name


def test_the_recipe_of_a_dataset_resolves_for_every_method(loaded):
    name, dataset, files = loaded
    for method in METHODS:
        experiment = resolve(Request(name, method), files)
        assert experiment.off_recipe == []
        assert experiment.spec(0).options == {}
    assert set(dataset.recipe.options) <= {*METHODS, *installed().offers["protocols"]}


def test_the_recipes_of_other_protocols_resolve(loaded):
    name, dataset, files = loaded
    for protocol, recipe in dataset.recipes.items():
        experiment = resolve(Request(name, "erm", protocol=protocol), files)
        assert experiment.off_recipe == [] and experiment.recipe.protocol == protocol
        assert experiment.spec(0).protocol_options == {}
        command = experiment.spec(0).command(experiment.own_recipe.model, dataset.recipe.protocol)
        assert command == f"bench run --method erm --dataset {name} --protocol {protocol} --seed 0"
        assert set(recipe.options) <= {*METHODS, *installed().offers["protocols"]}


# Each contract can be broken


@dataclass
class Attached(Method):
    """Its weights have a gradient."""

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return losses / losses.mean()


@dataclass
class Peeking(Method):
    """It reads validation data and does not say so."""

    def setup(self) -> None:
        self.factor = self.task.val.x.mean((-2, -1)).unsqueeze(-1)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return self.factor.expand_as(losses)


@dataclass
class Counting(Method):
    """Its run state is a number."""

    def setup(self) -> None:
        self.epochs = 0

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.full_like(losses, 1 + self.epochs)

    def end_epoch(self, epoch: int) -> None:
        self.epochs += 1


class Counter:
    """An object that no checkpoint keeps."""

    epochs = 0


@dataclass
class Forgetful(Counting):
    """Its run state is in such an object."""

    def setup(self) -> None:
        self.counter = Counter()

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.full_like(losses, 1 + self.counter.epochs)

    def end_epoch(self, epoch: int) -> None:
        self.counter.epochs += 1


@dataclass
class Idle(Forgetful):
    """What it would lose changes nothing here, but could elsewhere."""

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.ones_like(losses)


@dataclass
class OwnSchedule(Method):
    """It steps a schedule, and lets the recipe's overwrite it."""

    def setup(self) -> None:
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.5)

    def end_epoch(self, epoch: int) -> None:
        self.schedule.step()


@dataclass
class Flattened(Method):
    """It was written for single runs, and says that it can be stacked."""

    stackable = True

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return losses.detach()[torch.arange(len(batch.y))].view(len(batch.y))


@dataclass
class Estimating(Method):
    """What it evaluates has no gradient, and it does not say so."""

    def setup(self) -> None:
        self.shown = NoGradient(self.model)

    def evaluated(self) -> nn.Module:
        return self.shown


class Scaled(nn.Module):
    """Its scale is in no state."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return self.scale * logits


@dataclass
class Partial(Method):
    """The state of what it evaluates lacks a number."""

    def setup(self) -> None:
        self.shown = Scaled(self.model, 1.0 + self.task.train.x.mean().item())

    def evaluated(self) -> nn.Module:
        return self.shown


class NoGradient(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits


@dataclass
class Mixing(Method):
    """It sums over stacked runs."""

    stackable = True

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return losses.detach() / losses.detach().sum()


@dataclass
class Flat(Method):
    """One weight for the whole batch."""

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.ones(1)


@dataclass
class Column(Method):
    """Weights [B, 1], which broadcast to [B, B]."""

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.ones_like(losses).unsqueeze(-1)


@dataclass
class Averaged(Method):
    """One loss for the whole batch."""

    def losses(self, batch: Batch) -> Tensor:
        return super().losses(batch).mean()


@dataclass
class Restless(Method):
    """Random numbers that the seed does not set."""

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.rand(losses.shape, generator=GENERATOR)


@dataclass
class Fixed(Method):
    """It trains another model than the seed's."""

    def setup(self) -> None:
        for parameter in self.model.parameters():
            nn.init.ones_(parameter)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.zeros_like(losses)


@dataclass
class Exploding(Method):
    """It leaves parameters that are not finite, in the end, where no loss shows it."""

    def end_epoch(self, epoch: int) -> None:
        if epoch == self.task.epochs - 1:
            nn.init.constant_(next(self.model.parameters()), torch.inf)


@dataclass
class Unfreezing(Method):
    """It freezes a layer in its second epoch, by what no checkpoint keeps."""

    def end_epoch(self, epoch: int) -> None:
        if epoch == 0:
            self.losses = lambda batch: 2 * Method.losses(self, batch)  # type: ignore[method-assign]


@dataclass
class Restarting(Method):
    """Its library's loop begins with epoch 0 each time."""

    def fit(self, task: Task, meter: Meter) -> nn.Module:
        self.begin(task)
        epochs = meter.epochs(self)
        next(epochs, None)
        for epoch in range(self.training_epochs):
            for number, batch in enumerate(self.batches(epoch)):
                meter.step(batch, *self.update(Step.of(batch, self._outputs, epoch, number)))
            next(epochs, None)
        return self.evaluated()


@dataclass
class Exiting(Method):
    """Its library makes an exit of an interrupt, and is right."""

    def fit(self, task: Task, meter: Meter) -> nn.Module:
        try:
            return super().fit(task, meter)
        except KeyboardInterrupt:
            raise SystemExit(1) from None


@dataclass
class Early(Method):
    """It leaves the epochs early."""

    def fit(self, task: Task, meter: Meter) -> nn.Module:
        self.begin(task)
        epochs = meter.epochs(self)
        next(epochs)
        next(epochs)
        return self.evaluated()


@dataclass
class Anew(Method):
    """It evaluates another module each time."""

    def evaluated(self) -> nn.Module:
        return nn.Sequential(self.model)


@dataclass
class Nothing(Method):
    """It evaluates nothing."""

    def evaluated(self) -> nn.Module:
        return None  # type: ignore[return-value]


@dataclass
class Returning(Method):
    """Its fit gives no model."""

    def fit(self, task: Task, meter: Meter) -> nn.Module:
        super().fit(task, meter)
        return None  # type: ignore[return-value]


@dataclass
class Listing(Method):
    """It tells of itself in a list."""

    def about(self) -> dict[str, str]:
        return ["SGD"]  # type: ignore[return-value]


@dataclass
class Halved(Method):
    """It tells of every other step."""

    def fit(self, task: Task, meter: Meter) -> nn.Module:
        self.begin(task)
        for epoch in meter.epochs(self):
            for number, batch in enumerate(self.batches(epoch)):
                losses, weights = self.update(batch)
                if number % 2:
                    meter.step(batch, losses, weights)
        return self.evaluated()


@dataclass
class Writing(Method):
    """It writes into the training data."""

    def training_data(self, task: Task) -> Split:
        task.train.x.mul_(2)
        return task.train


@dataclass
class Boolean(Method):
    """Its weights are a mask."""

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return losses.detach() > 0


@dataclass
class Mistaken(Method):
    """It has a mistake."""

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.ones_like(losses) * self.missing


class Detaching(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.detach())
        return logits


class Numpy(Detaching):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(x.numpy()[..., :2])


@dataclass
class Cut(Method):
    """What it evaluates detaches its inputs."""

    def setup(self) -> None:
        self.shown = Detaching(self.model)

    def evaluated(self) -> nn.Module:
        return self.shown


@dataclass
class Outside(Cut):
    """What it evaluates leaves torch."""

    def setup(self) -> None:
        self.shown = Numpy(self.model)


@dataclass
class Wider(Cut):
    """What it evaluates knows more classes."""

    def setup(self) -> None:
        self.shown = nn.Sequential(self.model, nn.Linear(2, 3))


@dataclass
class Sized(Method):
    """Its weights are the sizes of groups, and it does not say so."""

    def setup(self) -> None:
        self.sizes = self.task.train.group.bincount().float() / len(self.task.train)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.ones_like(losses) * self.sizes.max()


@dataclass
class Plateau(Method):
    """Its schedule, of which it does not tell, acts later than after these epochs."""

    def setup(self) -> None:
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=9)

    def end_epoch(self, epoch: int) -> None:
        self.schedule.step(1.0)


class Undecorated(Method):
    """It is no dataclass of its own."""


@dataclass
class Undocumented(Method):
    rate: float = 0.1  # `dataclass` makes "Undocumented(rate: float = 0.1)" of it


GENERATOR = torch.Generator()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Attached, "weights must be detached"),
        (Peeking, "declares uses_val = False"),
        (Forgetful, r"a resumed training ends elsewhere: a checkpoint does not keep self\.counter \(Counter\)"),
        (Idle, r"what changes in a training would be lost: a checkpoint does not keep self\.counter \(Counter\)"),
        (OwnSchedule, "the learning rates that .* sets would be replaced by the recipe's"),
        (Mixing, "stacked runs differ from single ones .* or leave out stackable = True"),
        (Flattened, "stacked runs fail with .*: write losses and weights along the last dimension"),
        (Estimating, "declare differentiable = False"),
        (Partial, r"the logits of evaluated\(\) depend on more than its state_dict"),
        (Flat, r"weights have shape \[1\], losses \[16\]"),
        (Column, r"weights have shape \[16, 1\], losses \[16\]"),
        (Averaged, r"losses have shape \[\], the batch \[16\]"),
        (Restless, "two trainings with one seed differ"),
        (Fixed, "the seed does not matter"),
        (Exploding, "not finite"),
        (Unfreezing, r"a resumed training ends elsewhere: .*; self\.model \(Sequential\) differs, interrupted after 1"),
        (Restarting, r"the resumed fit made 15 steps where 10 were left: go through the epochs"),
        (Early, r"`fit` must go through all of meter\.epochs"),
        (Anew, r"evaluated\(\) must return the same module each time: make it in `setup`"),
        (Nothing, r"evaluated\(\) must return a module of torch, not NoneType"),
        (Returning, r"`fit` must return self\.evaluated\(\)"),
        (Listing, r"about\(\) must return a dictionary"),
        (Halved, r"meter\.step was told of 6 steps, and 15 batches were handed out: tell it of each"),
        (Writing, "it writes into the data that it may only read"),
        (Boolean, r"weights must be numbers with a point, not torch\.bool"),
        (Mistaken, "its training fails with AttributeError: .*missing"),
        (Cut, "declare differentiable = False"),
        (Outside, r"declare differentiable = False \(RuntimeError: Can't call numpy"),
        (Wider, r"evaluated\(\) gives 3 logits, and there are 2 classes"),
        (Sized, "declares uses_groups = False"),
        (Plateau, "ReduceLROnPlateau sets would be replaced by the recipe's"),
        (Undecorated, "needs @dataclass"),
        (Undocumented, "needs a docstring"),
        (nn.Linear, "no subclass of bench.Method"),
    ],
)
def test_a_method_that_breaks_its_contract_is_found(method, message):
    with pytest.raises(AssertionError, match=message):
        check_method(method)


def test_a_method_that_declares_what_it_does_passes():
    @dataclass
    class Declared(Mixing):
        """As `Mixing`, which says so."""

        stackable = False

    @dataclass
    class Looking(Peeking):
        """As `Peeking`, which says so."""

        uses_val = True

    check_method(Declared)
    check_method(Looking)
    check_method(Counting)
    check_method(Exiting)
    assert find_out(Declared)["stackable"].startswith("stacked runs differ from single ones")
    assert find_out(Counting) == {"stackable": "", "capturable": ""}  # captured anew in each epoch


def test_updates_that_replays_do_not_repeat_are_found():
    @dataclass
    class Gambling(Method):
        """It draws from a generator that nobody watches."""

        def setup(self) -> None:
            self.drawn = random.Random(1)

        def objective(self, batch: Step, losses: Tensor, weights: Tensor) -> Tensor:
            return losses.mean(-1) * self.drawn.random()

    found = find_out(Gambling)["capturable"]
    assert found.startswith("replayed, its updates end elsewhere: it changes state not in place")


def test_a_library_may_keep_an_interrupt_to_itself():
    """Some end their `fit` quietly at a KeyboardInterrupt, wherever it is raised. A run is interrupted all the same."""

    @dataclass
    class Quiet(Method):
        """Its loop ends at an interrupt as if it were done."""

        def fit(self, task: Task, meter: Meter) -> nn.Module:
            with contextlib.suppress(KeyboardInterrupt):
                super().fit(task, meter)
            return self.evaluated()

    @dataclass
    class Deaf(Quiet):
        """Nor does it go through the epochs of the meter."""

        def fit(self, task: Task, meter: Meter) -> nn.Module:
            self.begin(task)
            for _ in range(2):
                for batch in self.batches(0):
                    self.update(batch)
            return self.evaluated()

    check_method(Quiet)
    with pytest.raises(AssertionError, match=r"its fit does not go through meter\.epochs"):
        check_method(Deaf)


def test_what_was_never_captured_is_not_found_capturable():
    @dataclass
    class OwnLoop(Method):
        """It makes no updates that could be captured."""

        def fit(self, task: Task, meter: Meter) -> nn.Module:
            self.begin(task)
            for epoch in meter.epochs(self):
                for batch in self.batches(epoch):
                    meter.step(batch, *self.update(batch))
            return self.evaluated()

    @dataclass
    class Noisy(Method):
        """It draws random numbers."""

        def losses(self, batch: Step) -> Tensor:
            return super().losses(batch._replace(x=batch.x + torch.rand_like(batch.x)))

    @dataclass
    class Pretraining(Method):
        """In its first epoch no gradient reaches the last layer: other parameters have one later."""

        uses_features = True

        def setup(self) -> None:
            self.preparation_epochs = 1

        def objective(self, batch: Step, losses: Tensor, weights: Tensor) -> Tensor:
            return losses.mean() if batch.epoch >= 0 else batch.features.square().mean()

    check_method(Pretraining)
    assert find_out(Pretraining)["capturable"].endswith("cannot read batch.epoch: declare capturable = False")
    assert find_out(Method)["capturable"] == ""
    assert find_out(OwnLoop)["capturable"] == "no update was captured: its own `fit` replays no updates"
    assert find_out(Noisy)["capturable"] == "no update was captured: an update draws random numbers"


def test_a_method_that_applies_to_no_small_task_is_told():
    @dataclass
    class Picky(Method):
        """It needs the moon."""

        def setup(self) -> None:
            raise NotApplicableError("picky needs the moon")

    with pytest.raises(AssertionError, match=r"not applicable to the small tasks .*: picky needs the moon"):
        check_method(Picky)


class Odd(nn.Module):
    """A linear model with one fault."""

    def __init__(self, fault: str, classes: int) -> None:
        super().__init__()
        self.fault = fault
        self.linear = nn.Linear(4, classes)
        self.calls = nn.Parameter(torch.zeros(()), requires_grad=fault == "unused")
        if fault == "random":
            nn.init.normal_(self.linear.weight, generator=GENERATOR)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        if self.fault == "coupled":
            logits = logits - logits.mean(0)
        if self.fault == "moving":
            self.calls += 1
        if self.fault == "infinite":
            logits = logits / 0
        return logits[..., :-1] if self.fault == "shape" else logits


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shape", r"logits have shape \[4, 2\], expected \[4, 3\]"),
        ("random", "initial weights must come from torch's global generator alone"),
        ("unused", "parameters that no gradient reaches: .*calls"),
        ("coupled", "a sample's logits depend on the others"),
        ("moving", "evaluation changes the model's state"),
        ("infinite", "not finite"),
        ("undocumented", "needs a docstring"),
    ],
)
def test_a_model_that_breaks_its_contract_is_found(fault, message):
    def build(shape: tuple[int, ...], classes: int) -> nn.Module:
        return Odd(fault, classes)

    build.__doc__ = "" if fault == "undocumented" else "A model."
    with pytest.raises(AssertionError, match=message):
        check_model(build, (4,))


def test_a_model_without_fault_passes():
    def build(shape: tuple[int, ...], classes: int) -> nn.Module:
        """A model."""
        return Odd("", classes)

    check_model(build, (4,))


SPLIT = Split(torch.rand(6, 2), torch.arange(6) % 2, torch.arange(6) % 2)
DATASET = Dataset("toy", SPLIT, SPLIT, ("no", "yes"), Recipe(model="mine"), reference="a paper")


def split(**parts: Any) -> Split:
    return dataclasses.replace(SPLIT, **parts)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ("no", "no")}, "class names must be distinct"),
        ({"recipe": Recipe(protocol="unheard")}, "unknown protocol 'unheard'"),
        ({"recipe": Recipe()}, "names no model"),
        ({"reference": ""}, "needs a reference"),
        ({"test": SPLIT.select(torch.tensor([], dtype=torch.int64))}, "test is empty"),
        ({"val": split(x=torch.rand(6, 3))}, "val has inputs of another shape"),
        ({"train": split(x=SPLIT.x / 0)}, "train has inputs that are not finite"),
        ({"test": split(y=SPLIT.y + 1)}, r"test has a class outside 0\.\.1"),
        ({"test": split(group=SPLIT.group - 1)}, r"test has a group outside 0\.\.1"),
        ({"test": split(group=SPLIT.group), "groups": ("one",)}, r"train has a group outside 0\.\.0"),
        ({"classes": ("no", "yes", "perhaps")}, "train lacks a class"),
        ({"mean": (0.5,)}, "mean has 1 numbers for 2 channels"),
        ({"std": (0.5, 0.5, 0.5)}, "std has 3 numbers for 2 channels"),
        ({"fit": lambda train: lambda x: x - x.mean(0)}, "makes an input of more than its row"),
        ({"fit": lambda train: lambda x: x + torch.rand(1)}, "makes other inputs when it is fitted again"),
        ({"fit": lambda train: lambda x: x / 0}, "train has inputs that are not finite"),
        (
            {"train": split(x=(SPLIT.x - SPLIT.x.mean(0)) / SPLIT.x.std(0)), "test": None},
            "the inputs are standardised with the mean and the deviation of all rows, test rows among them",
        ),
        (
            {"mean": tuple(SPLIT.x.mean(0).tolist()), "std": tuple(SPLIT.x.std(0).tolist()), "test": None},
            "`mean` and `std` are the mean and the deviation of all rows, test rows among them",
        ),
    ],
)
def test_a_dataset_that_breaks_its_contract_is_found(fields, message):
    check_dataset(DATASET)
    with pytest.raises(AssertionError, match=message):
        check_dataset(dataclasses.replace(DATASET, **fields))


def noisy(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return x + torch.rand(x.shape, generator=generator)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda x, g: x[:, :1], r"returns torch.float32 of \[1, 1\], expected torch.float32 of \[1, 2\]"),
        (lambda x, g: x.repeat(2, 1), r"of \[2, 2\], expected"),
        (lambda x, g: x.double(), r"returns torch.float64 of"),
        (lambda x, g: x.tolist(), "returns a list, expected a tensor"),
        (lambda x, g: x / 0, "makes inputs that are not finite"),
        (lambda x, g: x.add_(1), "writes into the inputs"),
        (lambda x, g: x + torch.rand(1), "draws from another generator"),
        (lambda x, g: x + random.random(), "draws from another generator"),
        (lambda x, g: x + float(np.random.rand()), "draws from another generator"),
        (lambda x, g: x + float(np.random.default_rng().random()), "makes other inputs with the same generator"),
        (lambda x, g: noisy(x, torch.Generator().manual_seed(g.seed())), "makes other inputs with the same generator"),
        (lambda x, g: noisy(x, g)[: len(x) // 2 + 1], r"of \[4, 2\], expected torch.float32 of \[6, 2\]"),
    ],
)
def test_an_augmentation_that_breaks_its_contract_is_found(augment, message):
    check_dataset(dataclasses.replace(DATASET, augment=noisy))
    with pytest.raises(AssertionError, match=f"its `augment` .*{message}"):
        check_dataset(dataclasses.replace(DATASET, augment=augment))


def test_a_dataset_may_fit_on_training_rows():
    def scaled(train):
        mean, std = train.x.mean(0), train.x.std(0)
        return lambda x: ((x - mean) / std)[:, :1]

    check_dataset(dataclasses.replace(DATASET, test=None, fit=scaled))
    check_dataset(dataclasses.replace(DATASET, test=None, standardize=True))


@dataclass
class Averaging(Method):
    """Its objective is averaged over stacked runs too, which its own Adam hides."""

    stackable = True

    def restart(self) -> None:
        self.model = self.task.new_model()
        self.optimizer = torch.optim.Adam(self.model.parameters(), 0.01)

    def objective(self, batch: Batch, losses: Tensor, weights: Tensor) -> Tensor:
        return losses.mean()


@dataclass
class Flattening(Method):
    """The gradient of what is evaluated is 0 at every input."""

    def setup(self) -> None:
        self.flat = WithoutSlope(self.model)

    def evaluated(self) -> nn.Module:
        return self.flat


class WithoutSlope(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.detach()) + 0 * x.sum(-1, keepdim=True)
        return logits


@dataclass
class Uncallable(Method):
    """What is evaluated cannot be called."""

    def setup(self) -> None:
        self.kept = nn.Bilinear(1, 1, 1)

    def evaluated(self) -> nn.Module:
        return self.kept


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (Averaging, "stacked runs have other gradients than single ones .* do not average over runs"),
        (Flattening, "no gradient with respect to the inputs: declare differentiable = False"),
        (Uncallable, "what is evaluated fails with TypeError"),
    ],
)
def test_what_only_some_settings_show_is_found(method: type[Method], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        check_method(method)
    find_out(method)  # says something, and raises nothing


def test_an_optimizer_that_adds_settings_when_it_is_loaded_is_no_lost_state() -> None:
    class Adding(torch.optim.SGD):
        def __setstate__(self, state: dict[str, Any]) -> None:
            super().__setstate__(state)
            for group in self.param_groups:
                group.setdefault("added", False)

    @dataclass
    class Own(Method):
        """With its own optimiser."""

        def restart(self) -> None:
            self.model = self.task.new_model()
            self.optimizer = Adding(self.model.parameters(), 0.1)

    check_method(Own)
