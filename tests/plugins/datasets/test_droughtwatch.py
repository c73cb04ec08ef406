"""Drought Watch, from a twin in the official formats."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench import DataError, Files, OptionError
from bench.testing import check_dataset
from bench_plugins.datasets.droughtwatch import SIZES, URL, flip_and_turn, load_droughtwatch
from bench_plugins.models.byrd_cnn import byrd_cnn
from bench_plugins.models.resnet import resnet18
from bench_plugins.models.timm import timm_model
from tests.twins import photographs as twins

TWO = ("B4", "B11")


def lenient(root: Path) -> Files:
    return Files(root, allow_unofficial=True, download=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With an unpacked twin of five and four images to train on, in two files, and four for the test."""
    twins.droughtwatch(tmp_path, 9, 4, unpacked=True)
    return tmp_path


def part(root: Path, name: str) -> Path:
    return root / "droughtwatch" / "droughtwatch_data" / name


def listed(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / "droughtwatch")) for path in (root / "droughtwatch").rglob("*"))


def test_the_twin_keeps_the_contract(tmp_path: Path) -> None:
    twins.droughtwatch(tmp_path)
    data = load_droughtwatch(lenient(tmp_path))
    check_dataset(data)
    assert data.shape == (7, 65, 65)
    assert data.train.x.dtype == torch.uint8
    assert data.val is None, "held out by seed"


def test_images_labels_and_bands_are_read_in_order(root: Path) -> None:
    data = load_droughtwatch(lenient(root), bands=TWO)
    parts = [twins.drought_images(count, seed) for seed, count in enumerate((5, 4, 4))]
    assert data.test is not None
    for split, expected in ((data.train, parts[:2]), (data.test, parts[2:])):
        x, y = (np.concatenate(arrays) for arrays in zip(*expected, strict=True))
        assert torch.equal(split.x, torch.from_numpy(x[:, [3, 10]]))
        assert split.y.tolist() == y.tolist()


def test_the_archive_gives_what_the_folder_gives(root: Path, tmp_path: Path) -> None:
    twins.droughtwatch(tmp_path / "packed", 9, 4)
    packed, unpacked = (load_droughtwatch(lenient(r), bands=TWO) for r in (tmp_path / "packed", root))
    assert torch.equal(packed.train.x, unpacked.train.x)
    assert packed.revision == unpacked.revision
    assert len(packed.revision) == 12


def test_the_revision_is_that_of_the_contents(root: Path) -> None:
    first = load_droughtwatch(lenient(root), bands=TWO).revision
    assert load_droughtwatch(lenient(root), bands=TWO[::-1]).revision != first
    (part(root, "val") / "part-r-00000").write_bytes(b"".join(twins.drought_records(4, 7)))
    assert load_droughtwatch(lenient(root), bands=TWO).revision != first


def test_files_are_prepared_once_for_each_choice_of_bands(root: Path) -> None:
    told: list[tuple[str, float]] = []
    files = Files(root, True, False, progress=lambda what, fraction: told.append((what, fraction)))
    for _ in range(2):
        load_droughtwatch(files, bands=TWO)
    train, val = "droughtwatch: preparing train", "droughtwatch: preparing val"
    assert told == [(train, 0.0), (train, 0.5), (val, 0.0)]
    load_droughtwatch(files, bands=("B1",))
    assert len(told) == 6


def test_what_google_leaves_beside_the_files_is_not_read(root: Path) -> None:
    for name in ("part-r-00002.gstmp", "_SUCCESS"):
        (part(root, "train") / name).write_bytes(b"no record")
    assert len(load_droughtwatch(lenient(root), bands=TWO).train) == 9


def test_the_published_numbers_of_images_are_official(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "train", 9)
    monkeypatch.setitem(SIZES, "val", 4)
    assert not load_droughtwatch(Files(root, download=False), bands=TWO).unofficial


@pytest.mark.parametrize("prepared", [False, True])
def test_other_numbers_are_refused_unless_allowed(root: Path, prepared: bool) -> None:
    if prepared:
        data = load_droughtwatch(lenient(root), bands=TWO)
        assert set(data.unofficial) == {"droughtwatch/droughtwatch_data"}
        assert data.unofficial["droughtwatch/droughtwatch_data"].startswith(f"sha256:{data.revision}")
    with pytest.raises(DataError, match=r"9 and 4 images, expected 86317 and 10778.*--allow-unofficial-data"):
        load_droughtwatch(Files(root, download=False), bands=TWO)


def test_a_missing_archive_names_it_and_its_address(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing file") as caught:
        load_droughtwatch(lenient(tmp_path))
    assert str(tmp_path / "droughtwatch" / "dw_train_86K_val_10K.zip") in str(caught.value)
    assert URL in str(caught.value)


def test_what_is_refused_is_not_written(root: Path) -> None:
    before = listed(root)
    with pytest.raises(DataError, match=r"9 and 4 images, expected 86317 and 10778.*--allow-unofficial-data"):
        load_droughtwatch(Files(root, download=False), bands=TWO)
    assert listed(root) == before


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_missing_part_names_it(name: str, root: Path) -> None:
    for path in part(root, name).iterdir():
        path.unlink()
    before = listed(root)
    with pytest.raises(DataError, match=rf"droughtwatch_data holds no files {name}/part-\*"):
        load_droughtwatch(lenient(root), bands=TWO)
    assert listed(root) == before


@pytest.mark.parametrize("name", ["train/part-r-00001", "val/part-r-00000"])
def test_a_bit_that_changed_names_the_file_and_the_record_and_nothing_is_written(name: str, root: Path) -> None:
    path = part(root, name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 + 1000] ^= 4
    path.write_bytes(content)
    before = listed(root)
    with pytest.raises(DataError, match=r"part-r-0000\d is damaged: record 3, at byte \d+, has the checksum") as caught:
        load_droughtwatch(lenient(root), bands=TWO)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert listed(root) == before


@pytest.mark.parametrize("left", [0.5, 0.99])
def test_an_archive_that_is_cut_off(left: float, tmp_path: Path) -> None:
    twins.droughtwatch(tmp_path, 9, 4)
    path = tmp_path / "droughtwatch" / "dw_train_86K_val_10K.zip"
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(DataError, match="is damaged") as caught:
        load_droughtwatch(lenient(tmp_path), bands=TWO)
    assert str(path) in str(caught.value)
    assert listed(tmp_path) == [path.name]


def test_an_archive_with_other_contents(tmp_path: Path) -> None:
    (tmp_path / "droughtwatch").mkdir()
    twins.pack(tmp_path / "droughtwatch" / "dw_train_86K_val_10K.zip", {"data/train/part-r-00000": b""})
    with pytest.raises(DataError, match=r"holds no files train/part-\*"):
        load_droughtwatch(lenient(tmp_path), bands=TWO)


GOOD: dict[str, bytes | int] = {"B4": bytes(65 * 65), "B11": bytes(65 * 65), "label": 3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (twins.example(GOOD | {"label": 4}), r"needs one label in 0\.\.3, not \[4\]"),
        (twins.example(GOOD | {"label": b"3"}), r"needs one label in 0\.\.3"),
        (twins.example({name: GOOD[name] for name in TWO}), r"needs one label in 0\.\.3, not \[\]"),
        (twins.example({"B4": GOOD["B4"], "label": 3}), "band B11, needs 4225 bytes or more, and has 0"),
        (twins.example(GOOD | {"B4": bytes(4224)}), "band B4, needs 4225 bytes or more, and has 4224"),
        (twins.example(GOOD | {"B4": 7}), "band B4, needs 4225 bytes or more, and has 0"),
        (b"text", "is not a tf.train.Example"),
    ],
)
def test_a_record_that_does_not_fit_is_named(data: bytes, message: str, root: Path) -> None:
    path = part(root, "val/part-r-00000")
    path.write_bytes(twins.record(twins.example(GOOD)) + twins.record(data))
    with pytest.raises(DataError, match=rf"part-r-00000 is damaged: record 2.*{message}"):
        load_droughtwatch(lenient(root), bands=TWO)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ((), "must have an entry, and none is given"),
        (("B12",), "must be one of B1, B2, .*, B11, not B12"),
        (("B2", "B2"), "must have no entry twice, and is B2,B2"),
        (("b2",), "must be one of B1, B2, .*, B11, not b2"),
    ],
)
def test_bands_that_there_are_not(bands: tuple[str, ...], message: str, root: Path) -> None:
    with pytest.raises(OptionError, match=rf"^dataset\.bands {message}$"):
        load_droughtwatch(lenient(root), bands=bands)


# Augmentation and models, with seven channels


def orientations(image: Tensor) -> list[Tensor]:
    """The eight of [C, H, H]."""
    return [torch.rot90(i, k, (1, 2)) for i, k in product((image, image.flip(2)), range(4))]


def test_every_orientation_is_drawn_alike_and_nothing_else() -> None:
    image = torch.rand(7, 5, 5)
    out = flip_and_turn(image.expand(4000, -1, -1, -1), Generator().manual_seed(0))
    found = torch.stack([(out == other).flatten(1).all(1) for other in orientations(image)])
    assert found.sum(0).eq(1).all()
    assert found.sum(1).tolist() == pytest.approx([500] * 8, abs=5 * (4000 * 7 / 64) ** 0.5)


def test_augmentation_follows_from_the_generator_alone() -> None:
    x = torch.rand(6, 7, 5, 5)
    one, other, third = (flip_and_turn(x, Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)


@pytest.mark.parametrize(
    "build",
    [byrd_cnn, partial(resnet18, width=4), partial(timm_model, name="resnet10t")],
    ids=["byrd_cnn", "resnet18", "timm"],
)
def test_models_take_seven_channels(build: Callable[[tuple[int, ...], int], torch.nn.Module]) -> None:
    assert build((7, 65, 65), 4)(torch.rand(2, 7, 65, 65)).shape == (2, 4)
