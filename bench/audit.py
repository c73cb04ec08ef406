"""Defects of the data that a run would get: duplicates, labels, counts. Nothing is printed or changed here."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bench.data.batches import BalancedBatches
from bench.data.dataset import Dataset
from bench.data.fitting import fitted, fitted_dataset, statistics_of_tests
from bench.data.split import Split, Splits
from bench.errors import DataError
from bench.protocol import Claim, Protocol
from bench.recipe import Recipe
from bench.streams import RandomStreams
from bench.text import join_first

TOLERATED = 0.01
"""Fraction of a split: so many duplicates are a flaw of the data to be known of, more are a defect."""
DEVIATIONS = 5.0
"""Standard deviations of a binomial distribution: what is further from a claim is not by chance."""
SHOWN = 5
"""Positions, or names, in a message."""

Digests = Sequence[bytes]
"""A hash for each input of a split: equal ones stand for inputs that are equal, byte by byte."""


@dataclass(frozen=True)
class Finding:
    """A defect of the data, or something to know of them.

    Attributes:
        severity: `severe` where a run would not measure what the protocol says; else `note`.
        what: The finding in words, in one line that begins with the split.
        numbers: The numbers of the finding, by name.
    """

    severity: Literal["severe", "note"]
    what: str
    numbers: Mapping[str, Any]


def audit(
    dataset: Dataset, protocol: Protocol, recipe: Recipe, splits: Splits, again: Splits | None = None
) -> list[Finding]:
    """Look for defects in the data of a run.

    Args:
        dataset: As `protocol.view` gives it. The labels of the splits are compared with its labels.
        protocol: What claims the shares of groups and of wrong labels.
        recipe: What promises the validation batches.
        splits: Drawn from the data set by the protocol. What the data set fits is fitted on their training rows here.
        again: The splits drawn once more with the same seed; None: that they are the same is not checked.

    Returns:
        All findings, the severe ones first.
    """
    drawn, raw = splits.train, dataset
    dataset, splits = fitted_dataset(raw, drawn), fitted(raw, splits)
    again = fitted(raw, again) if again else None
    parts = {"train": splits.train, "val": splits.val, **splits.tests}
    claims, groups = protocol.claims(dataset), protocol.groups(dataset)
    digests = digests_of(dataset, splits)
    truth = _labels_by_input(dataset, digests)
    usual = _usual_repeats(splits.train, digests)
    findings = [*_unofficial(dataset), *_seen_tests(dataset, splits.train)]
    by_design = [] if protocol.group_is_class else _of_one_class(dataset.train, groups)
    findings += _one_class_groups(dataset.name, by_design, groups)
    for name, split in parts.items():
        claim, inputs = claims.get(name, Claim()), digests[id(split.x)]
        findings += _missing(name, "class", split.y, dataset.classes)
        if not protocol.group_is_class:
            findings += _missing(name, "group", split.group, groups)
            alone = [group for group in _of_one_class(split, groups) if group not in by_design]
            findings += _one_class_groups(name, alone, groups)
        findings += _other_shares(name, split.group, groups, claim)
        findings += _wrong_labels(name, split.y, inputs, truth, claim, dataset.classes)
        findings += _repeats(name, split.y, inputs, usual + claim.wrong)
    findings += _between(dataset, splits, digests, usual)
    findings += _validation_batches(splits.val, groups, recipe)
    findings += _drawn_otherwise(splits, again) if again else []
    return sorted(findings, key=lambda finding: finding.severity != "severe")


def counts(label: Tensor, labels: int) -> list[int]:
    """The number of samples of each class or group.

    Args:
        label: [N], the classes or groups of samples.
        labels: How many there are. Where a label is larger, the result is longer.
    """
    numbers: list[int] = label.bincount(minlength=labels).tolist()
    return numbers


def ratio(shares: Sequence[float]) -> float:
    """The largest share over the smallest; infinite where the smallest is 0."""
    return max(shares) / min(shares) if min(shares) else math.inf


def digests_of(dataset: Dataset, splits: Splits) -> dict[int, Digests]:
    """By the identity of a split's x: a memory map that is not copied is read once."""
    own = (dataset.train, dataset.val, dataset.test)
    drawn = (splits.train, splits.val, *splits.tests.values(), splits.target)
    tensors = {id(split.x): split.x for split in (*own, *drawn) if split is not None}
    return {key: [hashlib.sha256(row).digest() for row in x.contiguous().numpy()] for key, x in tensors.items()}


def _labels_by_input(dataset: Dataset, digests: Mapping[int, Digests]) -> dict[bytes, set[int]]:
    """The classes that the data set gives each input: more than one, where equal inputs have different ones."""
    labels_by_input: dict[bytes, set[int]] = {}
    for split in (dataset.train, dataset.val, dataset.test):
        if split:
            for digest, y in zip(digests[id(split.x)], split.y.tolist(), strict=True):
                labels_by_input.setdefault(digest, set()).add(y)
    return labels_by_input


def _usual_repeats(train: Split, digests: Mapping[int, Digests]) -> float:
    """Fraction of inputs that may well have an equal one elsewhere: of images none; of a table, whose rows can be equal
    by chance, as many as have one inside the training data.
    """
    if train.x.dim() > 2:
        return 0.0
    inputs = digests[id(train.x)]
    return sum(n for n in Counter(inputs).values() if n > 1) / max(len(inputs), 1)


def _unofficial(dataset: Dataset) -> Iterator[Finding]:
    if names := sorted(dataset.unofficial):
        what = f"{dataset.name}: not the official data, or not known to be: {join_first(names, SHOWN)}"
        yield Finding("note", what, {"files": dict(dataset.unofficial)})


def _seen_tests(dataset: Dataset, train: Split) -> Iterator[Finding]:
    if made := statistics_of_tests(dataset, train):
        what = f"{dataset.name}: {made} the mean and the deviation of all rows, test rows among them"
        yield Finding("severe", what, {})


def _missing(split: str, kind: str, label: Tensor, names: Sequence[str]) -> Iterator[Finding]:
    """Classes or groups that there are no samples of, or too many of them."""
    numbers = counts(label, len(names))
    present = sum(n > 0 for n in numbers)
    if len(numbers) > len(names):
        outside = sum(numbers[len(names) :])
        what = f"{split}: {outside:,} of {len(label):,} samples are of no {kind} of the task, which has {len(names)}"
        yield Finding("severe", what, {"samples": outside, "of": len(label), "counts": numbers})
    elif present == 1:
        only = names[numbers.index(len(label))]
        what = f"{split}: all {len(label):,} samples are of one {kind}, {only!r}"
        yield Finding("severe", what, {"counts": numbers})
    elif present < len(names):
        empty = [name for name, n in zip(names, numbers, strict=True) if n == 0]
        what = f"{split}: {len(empty)} of {len(names)} {kind} labels have no sample: {join_first(empty, SHOWN)}"
        yield Finding("note" if split == "val" else "severe", what, {"missing": empty, "counts": numbers})


def _of_one_class(split: Split, groups: Sequence[str]) -> list[str]:
    return [name for g, name in enumerate(groups) if len(split.y[split.group == g].unique()) == 1]


def _one_class_groups(where: str, alone: list[str], groups: Sequence[str]) -> Iterator[Finding]:
    """Groups all of whose samples are of one class: half of their rates are undefined."""
    if alone:
        what = f"{where}: {len(alone)} of {len(groups)} groups have one class only, so no TPR or no FPR: "
        yield Finding("note", what + join_first(alone, SHOWN), {"groups": alone})


def _other_shares(split: str, label: Tensor, names: Sequence[str], claim: Claim) -> Iterator[Finding]:
    """Counts that are further from the protocol's claim than the draw and rounding explain."""
    if not claim.shares:
        return
    n, counted, total = len(label), counts(label, len(names)), sum(claim.shares)
    claimed = [n * share / total for share in claim.shares]
    off = [i for i, share in enumerate(claim.shares) if not _by_chance(counted[i], n, share / total)]
    if off:
        off.sort(key=lambda i: -abs(counted[i] - claimed[i]))
        each = join_first([f"{names[i]} {counted[i]:,}, claimed {claimed[i]:,.0f}" for i in off], SHOWN, "; ")
        what = (
            f"{split}: the largest has {ratio(counted):.4g} times the samples of the smallest, and the protocol claims "
        )
        what += f"{ratio(claimed):.4g} times: {each}"
        yield Finding("severe", what, {"counts": counted, "claimed": claimed})


def _wrong_labels(
    split: str, y: Tensor, inputs: Digests, truth: Mapping[bytes, set[int]], claim: Claim, classes: Sequence[str]
) -> Iterator[Finding]:
    """Labels that the data set does not give these inputs. Inputs with several labels there are left out."""
    known = [truth.get(digest, set()) for digest in inputs]
    true_labels = torch.tensor([next(iter(labels)) if len(labels) == 1 else -1 for labels in known])
    sure = true_labels >= 0
    wrong, of = int((true_labels != y)[sure].sum()), int(sure.sum())
    right_number = _by_chance(wrong, of, claim.wrong)
    if wrong or not right_number:
        by_truth = counts(true_labels[sure], len(classes))
        most = sorted(range(len(by_truth)), key=lambda c: -by_truth[c])
        what = f"{split}: {wrong:,} of {of:,} labels are not those that the data set gives the same inputs, "
        what += f"claimed {claim.wrong * of:,.0f}"
        if not right_number:
            what += f"; by its labels there are {join_first([f'{by_truth[c]:,} {classes[c]}' for c in most], SHOWN)}"
        numbers = {"wrong": wrong, "of": of, "claimed": claim.wrong * of, "counts": by_truth}
        yield Finding("note" if right_number else "severe", what, numbers)


def _repeats(split: str, y: Tensor, inputs: Digests, usual: float) -> Iterator[Finding]:
    """Equal inputs inside a split, and those of them that have different classes."""
    places: dict[bytes, list[int]] = {}
    for i, digest in enumerate(inputs):
        places.setdefault(digest, []).append(i)
    repeated = [where for where in places.values() if len(where) > 1]
    if repeated:
        conflicting = [where for where in repeated if len(set(y[where].tolist())) > 1]
        samples, conflicts = (sum(map(len, some)) for some in (repeated, conflicting))
        first = (conflicting or repeated)[:SHOWN]
        what = f"{split}: {samples:,} of {len(y):,} inputs occur more than once, {conflicts:,} of them with different "
        what += f"classes, as at {join_first([' = '.join(map(str, where[:2])) for where in first], SHOWN)}"
        severe = _too_many(conflicts, len(y), usual)
        numbers = {"samples": samples, "conflicting": conflicts, "of": len(y), "first": first}
        yield Finding("severe" if severe else "note", what, numbers)


def _between(dataset: Dataset, splits: Splits, digests: Mapping[int, Digests], usual: float) -> Iterator[Finding]:
    """Inputs that two splits have in common: of a test all that methods see, and of a test of the data set's own what
    they might have seen.
    """

    def shared(a: str, first: Split, b: str, second: Split) -> Iterator[Finding]:
        return _shared(a, digests[id(first.x)], b, digests[id(second.x)], usual)

    seen = {"train": splits.train, "val": splits.val} | ({"target": splits.target} if splits.target else {})
    yield from shared("train", splits.train, "val", splits.val)
    for test, split in splits.tests.items():
        for name, other in seen.items():
            yield from shared(name, other, test, split)
        if dataset.test:
            whole = shared("the data set's training data", dataset.train, test, split)
            yield from (finding for finding in whole if finding.severity == "severe")


def _shared(a: str, first: Digests, b: str, second: Digests, usual: float) -> Iterator[Finding]:
    """Inputs of split `b` that are in split `a` too."""
    place = {digest: i for i, digest in reversed(list(enumerate(first)))}  # where it is first
    both = [(j, place[digest]) for j, digest in enumerate(second) if digest in place]
    if both:
        what = f"{b}: {len(both):,} of {len(second):,} inputs are in {a} too, as at "
        what += join_first([f"{j} = {i}" for j, i in both], SHOWN)
        severe = _too_many(len(both), len(second), usual)
        if usual:
            what += f" (in train {usual:.1%} of the rows have an equal one)"
        numbers = {"samples": len(both), "of": len(second), "first": both[:SHOWN]}
        yield Finding("severe" if severe else "note", what, numbers)


def _validation_batches(val: Split, groups: Sequence[str], recipe: Recipe) -> Iterator[Finding]:
    """Whether methods that learn from validation data can have the batches that the recipe promises."""
    try:
        BalancedBatches(val, recipe.val_batch_size, RandomStreams((0,)), groups, recipe.min_per_group)
    except DataError as error:
        numbers = {"counts": counts(val.group, len(groups)), "min_per_group": recipe.min_per_group}
        yield Finding("severe", f"val: for methods that learn from validation data: {error}", numbers)


def _drawn_otherwise(splits: Splits, again: Splits) -> Iterator[Finding]:
    """Splits that are not the same when they are drawn again with the same seed: runs could not be paired."""
    first, second = (
        {"train": s.train, "val": s.val, **s.tests, **s.probes, **({"target": s.target} if s.target else {})}
        for s in (splits, again)
    )
    other = [name for name in first if name not in second or not _same(first[name], second[name])]
    if other:
        what = f"drawn twice with the same seed, these come out differently: {join_first(other, SHOWN)}"
        yield Finding("severe", what, {"splits": other})


def _same(a: Split, b: Split) -> bool:
    return all(torch.equal(s, t) for s, t in ((a.x, b.x), (a.y, b.y), (a.group, b.group)))


def _by_chance(counted: int, n: int, probability: float) -> bool:
    """Whether `found` of n samples can be what a draw with this probability, and rounding, give."""
    return abs(counted - n * probability) <= _deviation(n, probability) + (probability > 0)


def _too_many(counted: int, n: int, usual: float) -> bool:
    """Whether that is clearly more of n samples than what is usual and what is tolerated."""
    expected = min(usual + TOLERATED, 1)
    return counted > n * expected + _deviation(n, expected)


def _deviation(n: int, probability: float) -> float:
    return DEVIATIONS * math.sqrt(n * probability * (1 - probability))
