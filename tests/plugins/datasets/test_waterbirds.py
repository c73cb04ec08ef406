"""Waterbirds, from a twin in the official layout."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import DataError, Files, OptionError
from bench.compat import torchvision
from bench.metrics import evaluate
from bench.predictions import Predictions
from bench.testing import check_dataset
from bench_plugins.datasets.waterbirds import FILE, FOLDER, load_waterbirds
from tests.twins.fairness import CELLS
from tests.twins.fairness import waterbirds as write_twin


@pytest.fixture
def files(tmp_path: Path) -> Files:
    write_twin(tmp_path)
    return Files(tmp_path, allow_unofficial=True, download=False)


def contents(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_a_twin_is_read_and_fulfils_the_contract(files: Files) -> None:
    data = load_waterbirds(files)
    check_dataset(data)
    assert data.val is not None and data.test is not None
    assert data.train.x.dtype == torch.uint8
    assert data.train.x.shape == (16, 3, 224, 224)
    for number, split in enumerate((data.train, data.val, data.test)):
        cells = [(y, place) for s, y, place in CELLS * 4 if s == number]
        assert list(zip(split.y.tolist(), (split.group % 2).tolist(), strict=True)) == cells, "in the file's order"
        assert torch.equal(split.group // 2, split.y)
    assert data.groups[1] == "landbird on water"
    assert set(data.unofficial) == {FILE}


def test_each_image_is_beside_its_own_labels(files: Files) -> None:
    """Of the twin: the centre is white for a waterbird, the frame blue for water."""
    data = load_waterbirds(files)
    assert data.val is not None and data.test is not None
    for split in (data.train, data.val, data.test):
        assert torch.equal((split.x[:, 2, 112, 112] > 150).long(), split.y)
        assert torch.equal((split.x[:, 2, 5, 5] > split.x[:, 1, 5, 5]).long(), split.group % 2)


def test_pixels_are_those_of_torchvisions_transforms_in_the_published_code(files: Files) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (333, 500, 3), np.uint8)
    Image.fromarray(noise).save(files.root / FOLDER / "001.Gull" / "Gull_0000.jpg")
    Image.fromarray(noise[:, :, 0]).save(files.root / FOLDER / "001.Gull" / "Gull_0001.jpg")  # grey
    data = load_waterbirds(files)
    transforms = torchvision.transforms
    published = transforms.Compose(
        [transforms.Resize((256, 256)), transforms.CenterCrop((224, 224)), transforms.PILToTensor()]
    )
    for i in range(2):
        image = Image.open(files.root / FOLDER / "001.Gull" / f"Gull_000{i}.jpg").convert("RGB")
        assert torch.equal(data.train.x[i], published(image))


def test_images_are_prepared_once_and_anew_when_they_change(files: Files) -> None:
    told: list[float] = []
    first, again = (
        load_waterbirds(Files(files.root, allow_unofficial=True, download=False, progress=lambda _, f: told.append(f)))
        for _ in range(2)
    )
    assert told == [0.0]
    assert first.revision == again.revision
    assert torch.equal(first.train.x, again.train.x)
    Image.new("RGB", (90, 70), "red").save(files.root / FOLDER / "001.Gull" / "Gull_0000.jpg")
    changed = load_waterbirds(files)
    assert changed.revision != first.revision
    assert changed.train.x[0, :, 112, 112].tolist() == [254, 0, 0], "red, as JPEG has it"
    assert torch.equal(changed.train.x[1:], first.train.x[1:])


def test_the_revision_follows_from_the_files_alone(files: Files) -> None:
    """So that another decoder, whose pixels differ by rounding, gives the same."""
    data = load_waterbirds(files)
    names = [f"{FOLDER}/001.Gull/Gull_{i:04}.jpg" for i in np.argsort([s for s, _, _ in CELLS * 4], kind="stable")]
    digests = b"".join(hashlib.sha256((files.root / name).read_bytes()).digest() for name in names)
    assert data.revision == hashlib.sha256(files.revision.encode() + digests).hexdigest()[:12]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be read as an image (image file is truncat"),
        (lambda path: path.write_text("<html>"), "is not an image: get it again from"),
        (lambda path: path.write_bytes(b""), "is not an image: get it again from"),
        (lambda path: path.unlink(), "is missing: put the whole folder of"),
    ],
)
def test_an_image_that_cannot_be_read_is_named_in_one_line_and_nothing_is_written(
    files: Files, damage: Callable[[Path], object], message: str
) -> None:
    path = files.root / FOLDER / "001.Gull" / "Gull_0017.jpg"
    damage(path)
    before = contents(files.root)
    with pytest.raises(DataError) as caught:
        load_waterbirds(files)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(files.root) == before, "no map, nor a part of one"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("001.Gull/Gull_0005", "\0", "it names an image whose path is not valid: embedded null byte"),
        (",place,", ",background,", "it has no column 'place'; its columns are img_id, img_filename, y, split, b"),
        (",1,2,0,", ",1,2,land,", "column 'place': expected one of 0, 1, not 'land'"),
        (",0,2,", ",0,3,", "column 'split': expected one of 0, 1, 2, not '3'"),
        (".jpg,0,0,0,", ".jpg,2,0,0,", "column 'y': expected one of 0, 1, not '2'"),
    ],
)
def test_damaged_labels_are_refused_in_one_line_before_any_image_is_read(
    files: Files, old: str, new: str, message: str
) -> None:
    path = files.root / FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    before = contents(files.root)
    with pytest.raises(DataError) as caught:
        load_waterbirds(files)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(files.root) == before


def test_a_split_without_images_is_refused(files: Files) -> None:
    path = files.root / FILE
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(row for row in rows if row.split(",")[3] != "1"))
    with pytest.raises(DataError, match="no row with split 1"):
        load_waterbirds(files)


def test_unofficial_or_missing_labels_are_refused_by_name(files: Files) -> None:
    with pytest.raises(DataError, match="not the official file"):
        load_waterbirds(Files(files.root, download=False))
    (files.root / FILE).unlink()
    with pytest.raises(DataError, match=r"missing file .*metadata.csv: get it from https://"):
        load_waterbirds(files)


def test_metrics_with_groups_of_one_class(files: Files) -> None:
    """The TPR is that of the two groups of waterbirds, the FPR that of the two of landbirds; all are defined."""
    test = load_waterbirds(files).test
    assert test is not None
    wrong = {0: 0, 1: 1, 2: 2, 3: 0}  # of the four samples of each group
    seen = dict.fromkeys(wrong, 0)
    predicted = []
    for y, group in zip(test.y.tolist(), test.group.tolist(), strict=True):
        predicted.append(1 - y if seen[group] < wrong[group] else y)
        seen[group] += 1
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 2).float()
    found = evaluate(Predictions(logits, test.y, test.group, groups=4))
    expected = {"worst_group_accuracy": 0.5, "accuracy": 13 / 16, "tprd": 0.5, "fprd": 0.25, "max_fnr": 0.5}
    assert {name: found[name].item() for name in expected} == expected
    assert all(value.isfinite() for value in found.values())


def test_a_size_below_1_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"^dataset\.size must be at least 1, not 0$"):
        load_waterbirds(Files(tmp_path), size=0)
