"""The names of checkpoints."""

from dataclasses import replace

import pytest

from bench.records.spec import RunSpec
from bench.store.checkpoints import checkpoint_path, discard_finished, interrupted_stack

SPEC = RunSpec("digits", "erm", "mlp", "class_fairness/1", 0)


def test_the_name_depends_on_the_runs_and_on_the_way_alone(tmp_path):
    path = checkpoint_path(tmp_path / "results", SPEC, [3], "way", "source")
    assert path.parent == tmp_path / "checkpoints"
    assert path == checkpoint_path(tmp_path / "results", replace(SPEC, seed=3), [3], "way", "source")
    others = [
        (SPEC, [3], "other", "source"),
        (SPEC, [4], "way", "source"),
        (SPEC, [3, 4], "way", "source"),
        (replace(SPEC, method="b"), [3], "way", "source"),
    ]
    assert path not in [checkpoint_path(tmp_path / "results", *other) for other in others]
    many = checkpoint_path(tmp_path / "results", SPEC, range(0, 2000, 2), "way", "source")
    assert len(many.name) < 60
    assert many != checkpoint_path(tmp_path / "results", SPEC, range(0, 2002, 2), "way", "source")


@pytest.mark.parametrize(
    ("seeds", "finished", "gone"),
    [
        ([3], [3], True),
        ([3], [0, 3], True),
        ([3], [0, 1, 2, 4], False),
        ([0, 1, 2, 7], range(8), True),
        ([0, 1, 2, 7], range(7), False),
        (range(0, 2000, 2), range(2000), False),  # its name does not tell
    ],
)
def test_checkpoints_whose_runs_are_all_finished_are_removed(tmp_path, seeds, finished, gone):
    records = tmp_path / "results"
    path = checkpoint_path(records, SPEC, seeds, "way", "source")
    path.parent.mkdir()
    stage = path.with_suffix(".first.pt")
    others = [checkpoint_path(records, replace(SPEC, method="other"), seeds, "way", "source"), path.parent / "mine.pt"]
    for file in (path, stage, *others):
        file.touch()
    discard_finished(records, SPEC, finished)
    assert sorted(path.parent.iterdir()) == sorted(others if gone else [path, stage, *others])


@pytest.mark.parametrize(
    ("missing", "asked", "stack"),
    [
        ([2], range(4), [0, 1, 2, 3]),
        ([0, 3], range(6), [0, 1, 2, 3]),
        ([0, 1, 2, 3], range(4), []),  # it is the whole stack
        ([2], range(3), []),  # seed 3 is not asked for
        ([4], range(8), [4, 5]),  # the smaller of two
        ([9], range(12), []),
    ],
)
def test_the_missing_runs_of_a_stack_are_made_by_the_same_stack(tmp_path, missing, asked, stack):
    records = tmp_path / "results"
    for seeds in (range(4), [4, 5], range(4, 8)):
        path = checkpoint_path(records, SPEC, seeds, "way", "source")
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert interrupted_stack(records, SPEC, missing, asked) == stack
