"""What is timed: training steps of a model on synthetic data, and under which conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.errors import OptionError
from bench.options import convert, options_of, parse, show
from bench.registry import Registry


@dataclass(frozen=True)
class Workload:
    """A model, its input and the batch sizes of a training step.

    Raises OptionError for sizes below 1, and for validation batches that cannot hold every group.

    Attributes:
        model, model_options: name of the model, and values of its options.
        shape: of one input: (C, H, W), bytes, or (D,), float32.
        classes: number of classes, all of one size.
        groups: number of groups; None: the classes are the groups.
        batch_size: training samples in one step of one run.
        val_batch_size: validation samples in one step of one run, where the method learns from them; None: as many as
            training samples.
        stack: runs (seeds) that are trained at once by batched operators, and beside it one after the other.
    """

    model: str
    shape: tuple[int, ...]
    classes: int
    model_options: Mapping[str, Any] = field(default_factory=dict)
    groups: int | None = None
    batch_size: int = 100
    val_batch_size: int | None = None
    stack: int = 1

    def __post_init__(self) -> None:
        sizes = (*self.shape, self.classes, self.group_count, self.batch_size, self.val_size, self.stack)
        if len(self.shape) not in (1, 3) or min(sizes) < 1:
            raise OptionError(f"a workload needs a shape C,H,W or D and sizes of at least 1, not {self}")
        if self.val_size < self.group_count:
            raise OptionError(
                f"a validation batch of {self.val_size} cannot hold each of {self.group_count} groups: raise its size"
            )

    def __str__(self) -> str:
        options = "".join(f" {name}={show(value)}" for name, value in self.model_options.items())
        shape = "×".join(map(str, self.shape))
        groups = f", {self.groups} groups" if self.groups else ""
        stack = f", {self.stack} stacked runs" if self.stack > 1 else ""
        return (
            f"{self.model}{options} on {shape}, {self.classes} classes{groups}, batch {self.batch_size}, "
            f"validation batch {self.val_size}{stack}"
        )

    @property
    def description(self) -> str:
        """What `bench list` and `bench show` say of it."""
        return str(self)

    @property
    def group_count(self) -> int:
        """Number of groups."""
        return self.classes if self.groups is None else self.groups

    @property
    def val_size(self) -> int:
        """Validation samples in one step of one run."""
        return self.batch_size if self.val_batch_size is None else self.val_batch_size


@dataclass(frozen=True)
class Conditions:
    """How it is timed.

    Attributes:
        device: as torch names it: cpu, cuda, cuda:1.
        precision: `fp32`, or `bf16`: passes of the model under bfloat16 autocast, parameters and losses in float32.
        channels_last: memory format of images and convolutions.
        backend: of look-ahead methods; `auto` leaves it to the engine.
        eager: whether updates are never captured and replayed, as runs do on a GPU and stacked
            (`bench.training.capture`).
        threads: of torch's operators on the CPU.
        rounds: timings of each method; all methods run interleaved.
        methods: as asked for; empty: all that are installed.
        rivals: whether other implementations of these methods take part.
    """

    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False
    backend: str = "auto"
    eager: bool = False
    threads: int = 1
    rounds: int = 15
    methods: tuple[str, ...] = ()
    rivals: bool = True

    @property
    def kind(self) -> str:
        """The kind of the device: `cpu` or `cuda`."""
        return self.device.split(":")[0]


def workloads(
    registry: Registry,
    names: Sequence[str],
    model: str | None,
    shape: str | None,
    classes: int | None,
    options: Mapping[str, str],
    **sizes: Any,
) -> dict[str, Workload]:
    """The workloads that a command asks for.

    Args:
        registry: where workloads and models are looked up.
        names: of workloads; empty, without a model: all that are installed.
        model: the name of a model to time instead of a workload; None for workloads.
        shape: of one input of that model, as text: `3,32,32` or `20`.
        classes: number of classes of that model.
        options: options of the models that replace those of the workloads, as texts.
        sizes: fields of Workload that replace those of the workloads.

    Returns:
        Name -> workload.

    Raises:
        BenchError: for an unknown name or option, and for a model without shape or classes.
    """
    sized = _sized(registry, names, model, shape, classes, sizes)
    return {name: replace(w, model_options=_model_options(registry, w, options)) for name, w in sized.items()}


def _sized(
    registry: Registry,
    names: Sequence[str],
    model: str | None,
    shape: str | None,
    classes: int | None,
    sizes: Mapping[str, Any],
) -> dict[str, Workload]:
    if model is None:
        if shape or classes:
            raise OptionError("--shape and --classes belong to --model; a workload has its own")
        chosen = {name: registry.find("workloads", name).value for name in names or registry.offers["workloads"]}
        return {name: replace(workload, **sizes) for name, workload in chosen.items()}
    registry.find("models", model)
    if names or not (shape and classes):
        raise OptionError("--model needs --shape and --classes, and no workload beside it")
    try:
        parsed = convert(tuple[int, ...], shape)
    except ValueError:
        raise OptionError(f"--shape {shape}: expected C,H,W or D, such as 3,32,32 or 20") from None
    return {model: Workload(model, parsed, classes, **sizes)}


def _model_options(registry: Registry, workload: Workload, given: Mapping[str, str]) -> dict[str, Any]:
    known = options_of(registry.find("models", workload.model).value)
    return {**workload.model_options, **parse(known, given, f"model {workload.model}")}
