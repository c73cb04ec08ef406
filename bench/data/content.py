"""What identifies the data that were loaded, whatever their author says of them: a hash of the tensors."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.data.dataset import Dataset
from bench.data.split import POSITION, Split

PART = 2**26
"""Bytes that are hashed at once, so that a memory map is read in parts and never held whole."""
LONG = 2**30
"""Bytes from which the progress of hashing is reported."""

Report = Callable[[str, float], None]


def content_of(dataset: Dataset, report: Report = lambda what, fraction: None) -> str:
    """The hash of all that a run takes from a data set: every split and probe, and the names of classes and groups.

    Not in it are the recipe, the mean and the deviation, which are settings of a run, and the augmentation, which is
    code.

    Args:
        dataset: as it was loaded.
        report: told what is being done and the fraction of it that is done, where it takes seconds.

    Returns:
        12 hexadecimal digits. The same samples give the same ones, in memory or in a memory map.
    """
    tensors = dict(_tensors(dataset))
    total = sum(tensor.nbytes for tensor in tensors.values())

    def told(done: int) -> None:
        if total >= LONG:
            report(f"hashing {dataset.name} ({total / 1e9:,.1f} GB)", done / total)

    return _hash([dataset.classes, dataset.groups], tensors, told)


def content_of_tests(dataset: Dataset, tests: Mapping[str, Split]) -> str:
    """The hash of the samples of the test sets that a run has drawn.

    What a data set fits on the training rows makes other inputs of the same samples, from seed to seed. Then it is the
    places of the samples in the data set that count, and not their inputs.

    Args:
        dataset: from which they were drawn.
        tests: name -> samples, not stacked.

    Returns:
        12 hexadecimal digits.
    """
    tensors: dict[str, Tensor] = {}
    for name, split in tests.items():
        own = {"x": split.x if dataset.fit is None else places_of(split), "y": split.y, "group": split.group}
        tensors |= {f"{name} {what}": one for what, one in own.items()}
    return _hash(sorted(tests), tensors)


def is_given(split: Split, given: Split | None, dataset: Dataset) -> bool:
    """Whether a test set that a run has drawn is the data set's own, so that it is that of every seed.

    Args:
        split: as it was drawn, not stacked.
        given: the data set's.
        dataset: with these test data. What it fits on the training rows changes no sample.
    """
    if given is None or len(split) != len(given) or not torch.equal(split.y.cpu(), given.y.cpu()):
        return False
    if not torch.equal(places_of(split).cpu(), torch.arange(len(split))):
        return False
    return dataset.fit is not None or (split.x.shape == given.x.shape and torch.equal(split.x.cpu(), given.x.cpu()))


def places_of(split: Split) -> Tensor:
    """The places [.., N] int64 of samples in the data set that they were drawn from; in their order where the protocol
    has made them anew.

    Args:
        split: the samples.
    """
    if (known := split.columns.get(POSITION)) is not None:
        return known.long()
    return torch.arange(split.y.shape[-1], device=split.y.device).expand(split.y.shape)


def _hash(names: Any, tensors: Mapping[str, Tensor], told: Callable[[int], None] = lambda done: None) -> str:
    """12 hexadecimal digits for tensors by name and the names of their classes, groups or sets. `told` gets the bytes
    that are done.
    """
    digest = hashlib.sha256(json.dumps(names).encode())
    done = 0
    for name, tensor in tensors.items():
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        for part in _parts(tensor):
            digest.update(part)
            done += len(part)
            told(done)
    return digest.hexdigest()[:12]


def _tensors(dataset: Dataset) -> Iterator[tuple[str, Tensor]]:
    """The tensors of each split and probe, by a name of their own."""
    probes = {f"probe {name}": split for name, split in sorted(dataset.probes.items())}
    for name, split in {"train": dataset.train, "val": dataset.val, "test": dataset.test, **probes}.items():
        if split is not None:
            for what, tensor in split.tensors.items():
                yield f"{name} {what}", tensor


def _parts(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of a tensor, some samples at a time."""
    if not tensor.numel():
        return
    samples = max(1, PART * len(tensor) // tensor.nbytes)
    for part in tensor.detach().split(samples):
        yield memoryview(part.cpu().contiguous().numpy()).cast("B")
