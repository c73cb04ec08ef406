"""The audit, against defects that are known: those of published code, and some made by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import Dataset, RandomStreams, Recipe, Split
from bench.audit import Finding, audit
from bench.data.split import Splits
from bench.protocol import Protocol
from bench_plugins.protocols.covariate_shift import CovariateShift
from bench_plugins.protocols.fairness import ClassFairness, GroupFairness
from bench_plugins.protocols.imbalance import Imbalance
from bench_plugins.protocols.label_noise import LabelNoise
from bench_plugins.protocols.label_shift import LabelShift

RECIPE = Recipe(val_size=100, test_size=100, val_batch_size=8)
NAMES = ("cat", "dog", "car", "truck", "frog", "deer", "bird", "ship", "horse", "plane")
PARTS = ("cat+dog", "car+truck")


def images(counts: list[int], first: int = 0) -> Split:
    """So many images of each class, class after class; their pixels are the digits of the image's number."""
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    number = torch.arange(first, first + len(y))
    x = torch.stack([number // 256, number % 256], 1).to(torch.uint8).view(-1, 1, 1, 2)
    return Split(x, y, y)


def toy(train: Split, test: Split | None, classes: int = 2, **fields: Any) -> Dataset:
    return Dataset(name="toy", train=train, test=test, classes=NAMES[:classes], recipe=RECIPE, **fields)


def dataset(train: list[int], test: list[int] | None = None, **fields: Any) -> Dataset:
    """So many images of each class; none is in it twice."""
    return toy(images(train), images(test, 50_000) if test else None, len(train), **fields)


def drawn(protocol: Protocol, data: Dataset) -> tuple[Dataset, Splits]:
    protocol.check(data)
    task = protocol.view(data)
    return task, protocol.splits(task, RECIPE, RandomStreams((0,)))


def found(protocol: Protocol, data: Dataset, change: Callable[[Splits], Splits] = lambda s: s) -> list[Finding]:
    """The findings on the protocol's own splits, or on what `change` makes of them."""
    task, splits = drawn(protocol, data)
    return audit(task, protocol, RECIPE, change(splits))


def severe(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.severity == "severe"]


def one(findings: list[Finding], words: str) -> Finding:
    (finding,) = [finding for finding in findings if words in finding.what]
    return finding


# What protocols claim


@pytest.mark.parametrize(
    "protocol",
    [
        ClassFairness(),
        Imbalance(factor=16),
        Imbalance(factor=1 / 8, profile="linear"),
        Imbalance(factor=4, validation="balanced"),
        LabelNoise(),
        LabelNoise(kind="symmetric"),
        LabelNoise(kind="pair", fraction=0.4, clean_validation=True),
        LabelShift(classes=("dog", "cat"), prior=(1, 3)),
        LabelShift(dirichlet=1.0),
        CovariateShift(parts=PARTS),
    ],
    ids=str,
)
@pytest.mark.parametrize("test", [[100] * 4, None], ids=["own test", "held out"])
def test_what_a_protocol_does_is_what_it_claims(protocol, test):
    assert severe(found(protocol, dataset([1000] * 4, test))) == []


@pytest.mark.parametrize(
    ("protocol", "split", "shares", "wrong"),
    [
        (ClassFairness(), "train", [0.4, 0.4, 0.1, 0.1], 0),
        (ClassFairness(), "val", [0.4, 0.4, 0.1, 0.1], 0),
        (ClassFairness(), "test", [0.25] * 4, 0),
        (Imbalance(factor=8), "train", [8 / 15, 4 / 15, 2 / 15, 1 / 15], 0),
        (Imbalance(factor=8), "test", [0.25] * 4, 0),
        (Imbalance(factor=8, validation="balanced"), "val", [0.25] * 4, 0),
        (LabelNoise(), "train", [0.32, 0.32, 0.28, 0.08], 0.18),  # 20 % become class 2, of which 10 % were it
        (LabelNoise(clean_validation=True), "val", [0.4, 0.4, 0.1, 0.1], 0),
        (LabelNoise(kind="pair", fraction=0.5), "val", [0.25, 0.4, 0.25, 0.1], 0.5),
        (LabelNoise(kind="symmetric", fraction=0.3), "train", [0.34, 0.34, 0.16, 0.16], 0.3),
        (LabelNoise(kind="symmetric", fraction=0.3), "test", [0.25] * 4, 0),
        (LabelShift(prior=(1, 1, 1, 5)), "test", [1 / 8, 1 / 8, 1 / 8, 5 / 8], 0),
        (LabelShift(dirichlet=1.0), "test", [], 0),
        (CovariateShift(parts=PARTS), "train", [1 / 22, 10 / 22, 1 / 22, 10 / 22], 0),
        (CovariateShift(parts=PARTS), "test", [0.25] * 4, 0),
    ],
    ids=str,
)
def test_claims_by_hand(protocol, split, shares, wrong):
    claim = protocol.claims(protocol.view(dataset([400, 400, 100, 100], [50] * 4)))[split]
    assert [share / sum(claim.shares) for share in claim.shares] == pytest.approx(shares)
    assert claim.wrong == pytest.approx(wrong)


# The defects of the code of Zha, Gao, Ma, Xu


def test_labels_that_are_zipped_with_the_wrong_images_are_found():
    """At 1:16 they have 312 + 5,000 labels, of which 4,688 are wrong: all that are not one of the first or last 312."""
    data = dataset([5000, 5000], [100, 100])
    findings = found(Imbalance(factor=1 / 16, labels="faithful"), data)
    both = [one(findings, f"{split}: ") for split in ("train", "val")]
    assert [finding.severity for finding in both] == ["severe"] * 2
    assert {name: sum(f.numbers[name] for f in both) for name in ("wrong", "of")} == {"wrong": 4688, "of": 5312}
    assert [sum(f.numbers["counts"][c] for f in both) for c in (0, 1)] == [5000, 312]
    assert findings == both
    assert found(Imbalance(factor=16, labels="faithful"), data) == []


def test_a_test_set_of_training_images_of_one_part_is_found():
    """4,000 of the first part, half of them with the other class; the first has the class that the data set gives."""
    data = dataset([5000] * 4, [1000] * 4)
    findings = found(CovariateShift(parts=PARTS, labels="faithful"), data)
    assert len(severe(findings)) == 5
    assert one(findings, "the data set's training data").numbers["samples"] == 4000
    assert one(findings, "all 4,000 samples are of one group, 'cat'").numbers["counts"] == [4000, 0, 0, 0]
    labels = one(findings, "by its labels there are 4,000 cat+dog, 0 car+truck").numbers
    assert (labels["wrong"], labels["of"]) == (2000, 4000)
    assert "the largest has inf times the samples of the smallest, and the protocol claims 1 times" in findings[1].what
    assert severe(found(CovariateShift(parts=PARTS), data)) == []


def test_a_test_set_with_classes_that_the_task_does_not_have_is_found():
    """Cats and dogs are trained on, and predictions compared with all ten classes: at most 20 % can be right."""
    whole = dataset([5000] * 10, [1000] * 10)
    findings = found(
        Imbalance(classes=("cat", "dog"), factor=1), whole, lambda s: replace(s, tests={"test": whole.test})
    )
    finding = one(findings, "test: 8,000 of 10,000 samples are of no class of the task, which has 2")
    assert finding.severity == "severe"
    assert finding.numbers["counts"] == [1000] * 10


def test_noise_that_is_not_drawn_by_the_seed_is_found():
    task, splits = drawn(LabelShift(), dataset([200, 200], [50, 50]))
    assert audit(task, LabelShift(), RECIPE, splits, splits) == []
    noise = replace(splits.probes["noise"], x=torch.randint(256, splits.probes["noise"].x.shape, dtype=torch.uint8))
    (finding,) = audit(task, LabelShift(), RECIPE, splits, replace(splits, probes={"noise": noise}))
    assert (finding.severity, finding.numbers) == ("severe", {"splits": ["noise"]})


# Duplicates


def test_equal_inputs_are_counted_as_a_double_loop_does():
    """Among 256 different inputs many are equal."""
    draw = torch.Generator().manual_seed(0)

    def sample(n: int) -> Split:
        y = torch.randint(2, (n,), generator=draw)
        return Split(torch.randint(2, (n, 1, 2, 4), generator=draw, dtype=torch.uint8), y, y)

    def equal(a: Split, b: Split) -> list[list[int]]:
        """For each of a, where it is in b."""
        return [[j for j in range(len(b)) if torch.equal(x, b.x[j])] for x in a.x]

    splits = Splits(sample(120), sample(80), {"test": sample(60)})
    data = toy(splits.train, splits.tests["test"])
    findings = audit(data, ClassFairness(), RECIPE, splits)
    for name, split in {"train": splits.train, "val": splits.val}.items():
        places = equal(splits.tests["test"], split)
        numbers = one(findings, f"test: {sum(map(bool, places))} of 60 inputs are in {name} too").numbers
        assert numbers["first"] == [(i, where[0]) for i, where in enumerate(places) if where][:5]
        again = [where for where in equal(split, split) if len(where) > 1]
        conflicting = [where for where in again if len({int(split.y[i]) for i in where}) > 1]
        numbers = one(findings, f"{name}: {len(again)} of {len(split)} inputs occur more than once").numbers
        assert (numbers["samples"], numbers["conflicting"]) == (len(again), len(conflicting))
        assert all(where in conflicting for where in numbers["first"])


@pytest.mark.parametrize(("copies", "severity"), [(3, "note"), (50, "severe")])
def test_few_images_of_the_test_in_the_training_data_are_a_note_and_many_a_defect(copies, severity):
    def leak(splits: Splits) -> Splits:
        return replace(splits, train=Split.cat([splits.train, splits.tests["test"].select(torch.arange(copies))]))

    findings = found(ClassFairness(), dataset([400, 400], [400, 400]), leak)
    finding = one(findings, f"test: {copies} of 800 inputs are in train too, as at 0 = 700, 1 = 701")
    assert finding.severity == severity
    assert finding.numbers["samples"] == copies


def test_inputs_that_methods_see_without_labels_are_compared_with_the_test_too():
    def leak(splits: Splits) -> Splits:
        return replace(splits, target=splits.tests["test"])

    findings = found(LabelShift(prior=(1, 1)), dataset([400, 400], [400, 400]), leak)
    assert one(findings, "test: 400 of 400 inputs are in target too").severity == "severe"


def test_equal_images_with_different_classes_are_a_defect_when_they_are_many():
    split = images([100, 100])
    twice = Split(torch.cat([split.x, split.x[:20]]), torch.cat([split.y, 1 - split.y[:20]]), torch.zeros(220).long())
    findings = found(ClassFairness(), toy(twice, images([50, 50], 1000)), lambda s: replace(s, train=twice))
    finding = one(findings, "train: 40 of 220 inputs occur more than once, 40 of them with different classes")
    assert finding.severity == "severe"
    assert finding.numbers["first"][0] == [0, 200]


def table(rows: Sequence[int]) -> Split:
    """Rows of one number each, two classes in both of two groups."""
    i = torch.arange(len(rows))
    return Split(torch.tensor(rows, dtype=torch.float32).unsqueeze(1), i % 2, i // 2 % 2)


@pytest.mark.parametrize(("copies", "severity"), [(45, "note"), (120, "severe")])
def test_rows_of_a_table_may_be_equal_by_chance(copies, severity):
    """A fifth of the training data has an equal row there; so may about a fifth of the test data."""
    train = table([*range(100), *range(100), *range(200, 1000)])
    test = table([*range(200, 200 + copies), *range(2000, 2200 - copies)])
    data = toy(train, test, groups=("a", "b"))
    findings = audit(data, GroupFairness(), RECIPE, Splits(train, table(range(3000, 3100)), {"test": test}))
    shared = [finding for finding in findings if f"test: {copies} of 200 inputs are in" in finding.what]
    assert {finding.severity for finding in shared} == {severity}
    assert shared[0].what.endswith("(in train 20.0% of the rows have an equal one)")


# Counts


def test_a_test_set_of_one_class_is_a_defect():
    only = images([0, 50], 60_000)
    findings = found(ClassFairness(), dataset([400, 400], [50, 50]), lambda s: replace(s, tests={"test": only}))
    assert "test: all 50 samples are of one class, 'dog'" in severe(findings)


def people(rows: range, classes: Sequence[int] = (0, 1), groups: Sequence[int] = (0, 1, 2)) -> Split:
    """These classes in all of these groups, in turns."""
    i = torch.arange(len(rows))
    y, group = torch.tensor(classes)[i % len(classes)], torch.tensor(groups)[i // len(classes) % len(groups)]
    return Split(torch.tensor(rows, dtype=torch.float32).unsqueeze(1), y, group)


def people_found(**changed: Split) -> list[Finding]:
    """Of splits with two classes in three groups, but for those given."""
    train, val, test = people(range(600)), people(range(600, 660)), people(range(1000, 1120))
    data = toy(train, test, val=val, groups=("a", "b", "c"))
    splits = Splits(train, changed.get("val", val), {"test": changed.get("test", test)})
    return audit(data, GroupFairness(), RECIPE, replace(splits, train=changed.get("train", train)))


def test_nothing_is_found_where_nothing_is_wrong():
    assert people_found() == []


@pytest.mark.parametrize(("split", "severity"), [("train", "severe"), ("test", "severe"), ("val", "note")])
def test_groups_without_samples_are_named(split, severity):
    findings = people_found(**{split: people(range(2000, 2060), groups=(0, 2))})
    finding = one(findings, f"{split}: 1 of 3 group labels have no sample: b")
    assert (finding.severity, finding.numbers["counts"]) == (severity, [30, 0, 30])


def test_groups_of_one_class_are_named():
    test = Split.cat([people(range(2000, 2040), groups=(0, 1)), people(range(2040, 2060), (1,), (2,))])
    finding = one(people_found(test=test), "one class only")
    assert finding.what == "test: 1 of 3 groups have one class only, so no TPR or no FPR: c"
    assert finding.severity == "note"


def test_groups_that_are_of_one_class_by_design_are_named_once():
    findings = found(CovariateShift(parts=PARTS), dataset([500] * 4, [100] * 4))
    assert [f.what for f in findings] == [
        "toy: 4 of 4 groups have one class only, so no TPR or no FPR: cat, dog, car, truck"
    ]


@pytest.mark.parametrize(("counts", "ratio"), [([500, 50], "10"), ([500, 500], "1")])
def test_other_proportions_than_those_asked_for_are_found(counts, ratio):
    findings = found(Imbalance(factor=100), dataset([500, 500], [50, 50]), lambda s: replace(s, train=images(counts)))
    finding = one(
        findings, f"train: the largest has {ratio} times the samples of the smallest, and the protocol claims"
    )
    n = sum(counts)
    assert finding.severity == "severe"
    assert finding.numbers["claimed"] == pytest.approx([n * 100 / 101, n / 101])


def test_labels_that_are_as_noisy_as_the_protocol_says_are_a_note_and_others_a_defect():
    data = dataset([1000] * 4, [100] * 4)
    finding = one(found(LabelNoise(kind="pair", fraction=0.25), data), "train: ")
    assert (finding.severity, finding.numbers["wrong"], finding.numbers["of"]) == ("note", 975, 3900)
    _, noisier = drawn(LabelNoise(kind="pair", fraction=0.35), data)
    finding = one(found(LabelNoise(kind="pair", fraction=0.25), data, lambda s: noisier), "train: ")
    assert (finding.severity, finding.numbers["wrong"], finding.numbers["claimed"]) == ("severe", 1365, 975)


def test_validation_batches_that_cannot_be_had_are_told_as_methods_would_be():
    """Eight places for three groups of two samples each."""
    finding = one(people_found(val=people(range(2000, 2006))), "val: for methods that learn from validation data")
    assert finding.severity == "severe"
    assert "validation batches of 8 with at least 1 of each group need 3 samples of group 'a'" in finding.what
    assert finding.numbers == {"counts": [2, 2, 2], "min_per_group": 1}


def test_data_that_are_not_official_are_noted():
    data = dataset([400, 400], [50, 50], unofficial={"a.bin": "sha256:0"})
    (finding,) = found(ClassFairness(), data)
    assert (finding.severity, finding.what) == ("note", "toy: not the official data, or not known to be: a.bin")


# What is fitted


def points(n: int = 600) -> Split:
    y = torch.arange(n) % 2
    return Split(torch.rand(n, 3, generator=torch.Generator().manual_seed(0)), y, y)


def test_inputs_that_were_standardised_with_test_rows_are_found() -> None:
    rows = points()
    whole = replace(rows, x=(rows.x - rows.x.mean(0)) / rows.x.std(0))
    told = "toy: the inputs are standardised with the mean and the deviation of all rows, test rows among them"
    assert told in severe(found(ClassFairness(), toy(whole, None)))
    assert told not in severe(found(ClassFairness(), toy(rows, None)))
    assert told not in severe(found(ClassFairness(), toy(rows, None, standardize=True)))


def test_inputs_are_compared_as_a_model_gets_them() -> None:
    """What the data set fits is fitted on the training rows: here, all inputs become one."""

    def one_value(train: Split) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: 0 * x[:, :1] + train.x.mean()

    findings = found(ClassFairness(), toy(points(), None, fit=one_value))
    assert one(findings, "train: 400 of 400 inputs occur more than once").numbers["samples"] == 400
    assert found(ClassFairness(), toy(points(), None)) == []
