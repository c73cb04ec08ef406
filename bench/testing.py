"""The contracts of plugins, as checks that anyone can run on their own.

    from bench.testing import check_method

    def test_my_method():
        check_method(MyMethod)

Each raises AssertionError with what is broken. The built-in plugins pass the same checks.
"""

import copy
import dataclasses
import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.dataset import Dataset
from bench.data.split import Batch, Split
from bench.errors import DivergedError, NotApplicableError
from bench.models.stack import stack, unstack
from bench.options import options_of
from bench.recipe import Recipe
from bench.registry import installed
from bench.streams import RandomStreams, derive
from bench.training.checkpoints import Checkpoints
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.task import Task

TOY_RECIPE = Recipe(
    optimizer="sgd", lr=0.1, momentum=0.9, epochs=3, batch_size=16, val_batch_size=12, min_per_group=2, evaluate_every=1
)


def toy_split(n: int, seed: int, images: bool = False) -> Split:
    """n samples of two overlapping classes in three features, in two groups of unequal size, all drawn by the seed.

    images: each feature is one channel of 8x8 pixels.
    """
    g = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=g) < 0.4).long()
    group = (torch.rand(n, generator=g) < 0.4).long()
    x = torch.rand(n, 3, generator=g) + 0.3 * y.unsqueeze(1) * group.unsqueeze(1)
    if images:
        x = (x.view(n, 3, 1, 1) * torch.rand(n, 3, 8, 8, generator=g) * 196).to(torch.uint8)
    return Split(x, y, group)


def toy_task(
    seeds: Sequence[int] = (0,),
    stacked: bool = False,
    val_seed: int = 1,
    regroup: bool = False,
    images: bool = False,
    **recipe: Any,
) -> Task:
    """A task that trains in milliseconds, for one run or for stacked runs, each with data of its own.

    val_seed: other validation data. regroup: the training samples change groups. images: of 8x8 pixels. The target's
    samples are those of another seed, without labels.
    """
    streams = RandomStreams(tuple(seeds), stacked)
    train = [toy_split(70, 10 + seed, images) for seed in seeds]
    val = [toy_split(60, 1000 * val_seed + seed, images) for seed in seeds]
    target = [toy_split(50, 500 + seed, images).unlabelled() for seed in seeds]
    if regroup:
        train = [dataclasses.replace(split, group=1 - split.group) for split in train]

    def one(seed: int) -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(derive(seed, "init"))
            first = [nn.Flatten(), nn.Linear(3 * 8 * 8, 8)] if images else [nn.Linear(3, 8)]
            return nn.Sequential(*first, nn.Tanh(), nn.Linear(8, 2))

    return Task(
        train=Split.stack(train) if stacked else train[0],
        val=Split.stack(val) if stacked else val[0],
        target=Split.stack(target) if stacked else target[0],
        classes=("no", "yes"),
        groups=("a", "b"),
        recipe=dataclasses.replace(TOY_RECIPE, **recipe),
        new_model=lambda: stack([one(s) for s in seeds]) if stacked else one(seeds[0]),
        streams=streams,
    )


class Interrupted(Meter):
    """Interrupts a training halfway."""

    def epochs(self, method: Method) -> Iterator[int]:
        whole = method.preparation_epochs + method.training_epochs
        for number, epoch in enumerate(super().epochs(method)):
            if number == whole // 2:
                raise KeyboardInterrupt
            yield epoch


def train(method: Method, task: Task, checkpoint: Path | None = None, meter: Callable[..., Meter] = Meter) -> nn.Module:
    """The trained model, without evaluation or records. Raises AssertionError for a training that diverges."""
    try:
        with torch.random.fork_rng([]):
            return method.fit(task, meter(NoEvaluations(), checkpoint=checkpoint))
    except DivergedError as error:
        raise AssertionError(str(error)) from error


Tasks = Callable[..., Task]
"""Makes tasks, as `toy_task` does."""


def check_method(method: type[Method], options: Mapping[str, Any] | None = None) -> None:
    """All contracts of a method, on a small task; one of images for a method that is not applicable to features."""
    given = dict(options or {})
    assert issubclass(method, Method), f"{method.__name__} is no subclass of bench.Method"
    assert dataclasses.is_dataclass(method) and "__dataclass_params__" in vars(method), (
        f"{method.__name__} needs @dataclass: its fields are its options"
    )
    doc = (method.__doc__ or "").strip()  # where there is none, `dataclass` writes the signature there
    assert doc and not doc.startswith(f"{method.__name__}("), (
        f"{method.__name__} needs a docstring; its first line is listed"
    )
    options_of(method)  # every option has a default

    task = _task_for(method(**given))
    _check_weights(method(**given), task())
    state = train(method(**given), task()).state_dict()
    assert all(v.isfinite().all() for v in state.values()), "training ran into values that are not finite"
    _equal(state, train(method(**given), task()).state_dict(), "two trainings with one seed differ")
    assert not _same(state, train(method(**given), task([5])).state_dict()), "the seed does not matter"
    if not method.uses_val:
        other = train(method(**given), task(val_seed=2)).state_dict()
        _equal(state, other, "it declares uses_val = False, and training changes with the validation data")
    if not method(**given).uses_groups:
        other = train(method(**given), task(regroup=True)).state_dict()
        _equal(state, other, "it declares uses_groups = False, and training changes with the groups of the samples")
    if method.capturable:
        _check_capture(method, given, task())
        if method.stackable:
            _check_capture(method, given, task((0, 1), stacked=True))
    _check_resume(method, given, task, state)
    if method.stackable:
        _check_stacked(method, given, task)


def _task_for(method: Method) -> Tasks:
    reasons = []
    for task in (toy_task, partial(toy_task, images=True)):
        try:
            method.begin(task())
            return task
        except NotApplicableError as error:
            reasons.append(str(error))
    raise AssertionError(f"it is not applicable to the small tasks of two classes and two groups: {'; '.join(reasons)}")


def _check_weights(method: Method, task: Task) -> None:
    """Weights and losses have one entry for each sample, and no gradient goes through the weights."""
    original = method.weights

    def checked(batch: Batch, losses: Tensor) -> Tensor:
        weights = original(batch, losses)
        assert losses.shape == batch.y.shape, f"losses have shape {list(losses.shape)}, the batch {list(batch.y.shape)}"
        assert weights.shape == losses.shape, f"weights have shape {list(weights.shape)}, losses {list(losses.shape)}"
        assert not weights.requires_grad, "weights must be detached"
        return weights

    method.weights = checked  # type: ignore[method-assign]
    train(method, task)


def _check_resume(method: type[Method], options: dict[str, Any], task: Tasks, expected: Mapping[str, Tensor]) -> None:
    """Interrupted halfway and resumed from the checkpoint, it ends at the same parameters."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint.pt")
        seconds = Checkpoints.SECONDS
        Checkpoints.SECONDS = 0.0
        try:
            train(method(**options), task(), checkpoint, Interrupted)
            raise AssertionError("its fit does not go through meter.epochs: it is neither evaluated nor resumed")
        except KeyboardInterrupt:
            resumed = train(method(**options), task(), checkpoint).state_dict()
            _equal(expected, resumed, "a resumed training ends elsewhere: run state must be attributes of the method")
        finally:
            Checkpoints.SECONDS = seconds


def _check_capture(method: type[Method], options: dict[str, Any], task: Task) -> None:
    """Captured and replayed, its updates end where they end made one by one."""
    plain, captured = method(**options), method(**options)
    model, replayed = train(plain, task), train(captured, dataclasses.replace(task, capture=True))
    assert not captured.capture.failed, (
        f"{captured.capture.eager_because}: leave values of tensors on the device, or declare capturable = False"
    )
    why = "replayed, its updates end elsewhere: it changes state not in place, or depends on changing Python numbers"
    _equal(model.state_dict(), replayed.state_dict(), why)
    _equal(_tensors(plain), _tensors(captured), why)


def _tensors(method: Method) -> dict[str, Tensor]:
    return {name: v for name, v in method.state_dict().items() if isinstance(v, Tensor)} | method.diagnostics()


def _check_stacked(method: type[Method], options: dict[str, Any], task: Tasks) -> None:
    """FinishedTraining at once, runs end where they end one by one, up to rounding."""
    seeds = (0, 1, 2)
    stacked = unstack(train(method(**options), task(seeds, stacked=True)))
    for seed, model in zip(seeds, stacked, strict=True):
        single = train(method(**options), task([seed])).state_dict()
        for name, value in model.state_dict().items():
            assert torch.allclose(value, single[name], rtol=1e-3, atol=1e-4), (
                f"stacked runs differ from single ones in {name} (seed {seed}): write losses and weights along the "
                f"last dimension, or declare stackable = False"
            )


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(v, b[name]) for name, v in a.items())


def _equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor], message: str) -> None:
    assert _same(a, b), message


def check_model(build: Callable[..., nn.Module], shape: Sequence[int], classes: int = 3, **options: Any) -> None:
    """All contracts of a model factory, for inputs of this shape."""
    assert (inspect.getdoc(build) or "").strip(), "the factory needs a docstring; its first line is listed"
    models = []
    for _ in range(2):
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            models.append(build(tuple(shape), classes, **options))
    _equal(
        models[0].state_dict(), models[1].state_dict(), "initial weights must come from torch's global generator alone"
    )
    model = models[0].train()
    x = torch.rand(4, *shape)
    logits = model(x)
    assert logits.shape == (4, classes), f"logits have shape {list(logits.shape)}, expected {[4, classes]}"
    assert logits.isfinite().all(), "logits of the initial model are not finite"
    logits.square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"parameters that no gradient reaches: {without}"
    model.eval()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(row.unsqueeze(0)) for row in x])
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-4), "evaluated, a sample's logits depend on the others"
    _equal(before, model.state_dict(), "evaluation changes the model's state")


def check_dataset(dataset: Dataset) -> None:
    """All contracts of a loaded data set."""
    assert dataset.classes and len(set(dataset.classes)) == len(dataset.classes), "class names must be distinct"
    protocols = installed().offers["protocols"]
    protocol = dataset.recipe.protocol or installed().default_protocol
    assert protocol in protocols, f"its recipe names the unknown protocol {protocol!r}"
    assert dataset.recipe.model, "its recipe names no model"
    assert dataset.reference, "a data set needs a reference"
    for name, split in {"train": dataset.train, "val": dataset.val, "test": dataset.test}.items():
        if split is None:
            continue
        assert len(split) > 0, f"{name} is empty"
        assert tuple(split.x.shape[1:]) == dataset.shape, f"{name} has inputs of another shape than train"
        if split.x.is_floating_point():  # a memory map is not read whole
            assert split.x.isfinite().all(), f"{name} has inputs that are not finite"
        for what, label, names in (("class", split.y, dataset.classes), ("group", split.group, dataset.groups)):
            allowed = range(len(names or dataset.classes))
            assert {*label.unique().tolist()} <= {*allowed}, f"{name} has a {what} outside 0..{allowed[-1]}"
    assert len(torch.unique(dataset.train.y)) == len(dataset.classes), "train lacks a class"
    channels = dataset.shape[0]
    for what, values in (("mean", dataset.mean), ("std", dataset.std)):
        assert len(values) in (0, channels), f"{what} has {len(values)} numbers for {channels} channels"
    protocols[protocol].value().check(dataset)
