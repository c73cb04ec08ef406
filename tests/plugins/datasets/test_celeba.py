"""CelebA, from a twin in the official formats."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import DataError, Files, OptionError, UnknownNameError
from bench.compat import torchvision
from bench.testing import check_dataset
from bench_plugins.datasets.celeba import DRIVE, PAGE, SOURCES, load_celeba
from tests.twins import photographs as twins


def lenient(root: Path) -> Files:
    return Files(root, allow_unofficial=True, download=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With a twin of eight images: four to train on, two for validation, two for the test."""
    twins.celeba(tmp_path, 4, 2, 2)
    return tmp_path


def attributes(root: Path) -> dict[str, dict[str, int]]:
    """Image -> attribute -> -1 or 1, read cell by cell."""
    _, header, *rows = (root / "celeba" / "list_attr_celeba.txt").read_text().splitlines()
    cells = {row.split()[0]: map(int, row.split()[1:]) for row in rows}
    return {name: dict(zip(header.split(), values, strict=True)) for name, values in cells.items()}


def listed(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root / "celeba")) for path in (root / "celeba").rglob("*"))


def repack(root: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """The archive, with its contents changed."""
    path = root / "celeba" / "img_align_celeba.zip"
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    change(contents)
    twins.pack(path, contents)
    return path


def edit(root: Path, name: str, change: Callable[[list[str]], object]) -> Path:
    """A text file, with its lines changed."""
    path = root / "celeba" / name
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines))
    return path


def test_the_twin_keeps_the_contract(tmp_path: Path) -> None:
    twins.celeba(tmp_path)
    data = load_celeba(lenient(tmp_path), size=8)
    check_dataset(data)
    for split in (data.train, data.val, data.test):
        assert split is not None
        assert len((split.group * 2 + split.y).unique()) == 4, "every class in every group"


def test_images_are_cropped_and_resized_as_torchvision_does(root: Path) -> None:
    data = load_celeba(lenient(root), size=32)
    transforms = torchvision.transforms
    expected = transforms.Compose([transforms.CenterCrop(178), transforms.Resize(32), transforms.PILToTensor()])
    with zipfile.ZipFile(root / "celeba" / "img_align_celeba.zip") as archive:
        for i in range(4):
            image = Image.open(io.BytesIO(archive.read(f"img_align_celeba/00000{i + 1}.jpg")))
            assert torch.equal(data.train.x[i], expected(image))
    assert data.train.x.dtype == torch.uint8


def test_splits_labels_and_names_are_torchvisions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(root / "celeba" / "img_align_celeba.zip") as archive:
        archive.extractall(root / "celeba")
    for name in ("identity_CelebA.txt", "list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        rows = "".join(f"{image} 1\n" for image in attributes(root))
        (root / "celeba" / name).write_text(rows if name.startswith("identity") else f"8\nx\n{rows}")
    theirs = torchvision.datasets.CelebA
    monkeypatch.setattr(theirs, "_check_integrity", lambda self: True)
    data = load_celeba(lenient(root), target="Young", group="Pale_Skin", size=16)
    for name, split in {"train": data.train, "valid": data.val, "test": data.test}.items():
        other = theirs(root, name)
        assert split is not None
        assert split.y.tolist() == other.attr[:, other.attr_names.index("Young")].tolist()
        assert split.group.tolist() == other.attr[:, other.attr_names.index("Pale_Skin")].tolist()
        pixels = np.stack([np.asarray(image.crop((0, 20, 178, 198)).resize((16, 16), 2)) for image, _ in other])
        assert torch.equal(split.x, torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
    assert data.classes == ("not Young", "Young")
    assert data.groups == ("not Pale_Skin", "Pale_Skin")


def test_parts_that_are_mixed_in_the_list_are_told_apart(root: Path) -> None:
    edit(root, "list_eval_partition.txt", lambda rows: rows.__setitem__(slice(0, 2), ["000001.jpg 2", "000002.jpg 1"]))
    data = load_celeba(lenient(root), size=8)
    has = attributes(root)
    parts = {"train": (3, 4), "val": (2, 5, 6), "test": (1, 7, 8)}
    for name, numbers in parts.items():
        split = getattr(data, name)
        assert split.y.tolist() == [has[f"00000{n}.jpg"]["Attractive"] == 1 for n in numbers]
        assert ((split.x.float().mean((1, 2, 3)) > 128) == split.y.bool()).all(), "images go with their labels"


def test_the_images_are_mapped_and_prepared_once_for_each_size(root: Path) -> None:
    told: list[tuple[str, float]] = []
    files = Files(root, True, False, progress=lambda what, fraction: told.append((what, fraction)))
    first = load_celeba(files, size=8)
    assert told == [("celeba: preparing images", 0.0)]
    again = load_celeba(files, target="Smiling", group="Bald", size=8)
    assert len(told) == 1, "other attributes need no other images"
    assert torch.equal(first.train.x, again.train.x)
    load_celeba(files, size=16)
    assert len(told) == 2
    assert first.val is not None
    assert first.val.x.data_ptr() == first.train.x.data_ptr() + first.train.x.numel(), "one map"
    assert {"prepared-8/x", "prepared-16/x"} <= set(listed(root))


def test_other_images_are_prepared_again(root: Path) -> None:
    before = load_celeba(lenient(root), size=8)
    one, other = (f"img_align_celeba/00000{n}.jpg" for n in (1, 2))
    repack(root, lambda contents: contents.update({one: contents[other]}))
    after = load_celeba(lenient(root), size=8)
    assert torch.equal(after.train.x[0], before.train.x[1])
    assert after.revision != before.revision


def test_an_unpacked_folder_alone_counts_as_unofficial(root: Path, tmp_path: Path) -> None:
    packed = load_celeba(lenient(root), size=8)
    twins.celeba(tmp_path / "unpacked", 4, 2, 2, unpacked=True)
    data = load_celeba(lenient(tmp_path / "unpacked"), size=8)
    assert torch.equal(data.train.x, packed.train.x)
    assert set(data.unofficial) - set(packed.unofficial) == {"celeba/img_align_celeba"}
    assert data.revision != packed.revision


def test_an_unpacked_folder_alone_is_refused_unless_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twins.celeba(tmp_path, 4, 2, 2, unpacked=True)
    accept(tmp_path, monkeypatch)
    with pytest.raises(DataError, match=r"put img_align_celeba\.zip beside .* --allow-unofficial-data") as caught:
        load_celeba(Files(tmp_path, download=False), size=8)
    assert str(tmp_path / "celeba" / "img_align_celeba") in str(caught.value)
    assert "prepared-8" not in listed(tmp_path)


def accept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the files there for the official ones."""
    for name, (_, drive) in SOURCES.items():
        if (root / "celeba" / name).exists():
            md5 = hashlib.md5((root / "celeba" / name).read_bytes()).hexdigest()
            monkeypatch.setitem(SOURCES, name, (md5, drive))


def test_official_files_are_not_marked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(root, monkeypatch)
    data = load_celeba(Files(root, download=False), size=8)
    assert not data.unofficial


@pytest.mark.parametrize("name", SOURCES)
def test_unofficial_files_are_refused(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(root, monkeypatch)
    monkeypatch.setitem(SOURCES, name, ("0" * 32, "id"))
    with pytest.raises(DataError, match=f"{name} is not the official file"):
        load_celeba(Files(root, download=False), size=8)


@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_file_names_all_that_are_missing_and_where_they_go(name: str, root: Path) -> None:
    (root / "celeba" / name).unlink()
    with pytest.raises(DataError) as caught:
        load_celeba(lenient(root), size=8)
    for part in (f"Put {name} into {root / 'celeba'}", PAGE, DRIVE + SOURCES[name][1], "quota"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_download_that_is_blocked_by_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, drive in SOURCES.values():
        (tmp_path / drive).write_text("<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head>")
    monkeypatch.setattr("bench_plugins.datasets.celeba.DRIVE", tmp_path.as_uri() + "/")
    with pytest.raises(DataError, match="a web page came instead") as caught:
        load_celeba(Files(tmp_path / "root", allow_unofficial=True))
    assert f"Put {', '.join(SOURCES)} into {tmp_path / 'root' / 'celeba'}" in str(caught.value)
    assert listed(tmp_path / "root") == [], "nothing that could be taken for the file"


def cut(contents: dict[str, bytes]) -> None:
    contents["img_align_celeba/000007.jpg"] = contents["img_align_celeba/000007.jpg"][:500]


def other_format(contents: dict[str, bytes]) -> None:
    contents["img_align_celeba/000007.jpg"] = b"P5 178 218 255\n" + bytes(178 * 218)


def lose(contents: dict[str, bytes]) -> None:
    del contents["img_align_celeba/000007.jpg"]


def empty(contents: dict[str, bytes]) -> None:
    contents["img_align_celeba/000007.jpg"] = b""


@pytest.mark.parametrize("change", [cut, other_format, lose, empty])
def test_an_image_that_cannot_be_read_is_named_and_nothing_is_written(
    change: Callable[[dict[str, bytes]], None], root: Path
) -> None:
    path = repack(root, change)
    before = listed(root)
    with pytest.raises(DataError, match=r"the image 000007\.jpg cannot be read") as caught:
        load_celeba(lenient(root), size=8)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value) and "BytesIO" not in str(caught.value)
    assert listed(root) == before


def test_an_image_of_another_size_is_refused_with_its_size(root: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (100, 120)).save(file, "JPEG")
    repack(root, lambda contents: contents.update({"img_align_celeba/000003.jpg": file.getvalue()}))
    with pytest.raises(DataError, match=r"000003\.jpg has 100x120 pixels, not 178x218"):
        load_celeba(lenient(root), size=8)


def test_an_archive_that_is_cut_off(root: Path) -> None:
    path = root / "celeba" / "img_align_celeba.zip"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged") as caught:
        load_celeba(lenient(root), size=8)
    assert str(path) in str(caught.value)


def test_an_unknown_attribute_is_refused_with_those_that_there_are(root: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Attractive'") as caught:
        load_celeba(lenient(root), target="Atractive", size=8)
    assert str(root / "celeba" / "list_attr_celeba.txt") in str(caught.value)


def test_a_missing_column_names_the_file(root: Path) -> None:
    def drop(lines: list[str]) -> None:
        lines[1] = lines[1].replace("Male ", "")
        lines[2:] = [" ".join(line.split()[:-1]) for line in lines[2:]]

    path = edit(root, "list_attr_celeba.txt", drop)
    with pytest.raises(UnknownNameError, match="unknown attribute 'Male'") as caught:
        load_celeba(lenient(root), size=8)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.pop(), "first line says '8', and it has 7 images"),
        (lambda lines: lines.clear(), "first line says '', and it has 0 images"),
        (lambda lines: lines.__setitem__(4, lines[4] + " 1"), "line 5 has 42 cells, not 41"),
        (lambda lines: lines.__setitem__(4, "x.jpg" + " 0" * 40), "line 5 has the values 0, 0, which must be -1 or 1"),
    ],
)
def test_a_damaged_list_of_attributes(change: Callable[[list[str]], object], message: str, root: Path) -> None:
    path = edit(root, "list_attr_celeba.txt", change)
    with pytest.raises(DataError, match=message) as caught:
        load_celeba(lenient(root), size=8)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.pop(), "does not have the 8 images"),
        (lambda lines: lines.__setitem__(0, "other.jpg 0"), "does not have the 8 images"),
        (lambda lines: lines.__setitem__(0, "000001.jpg 3"), "needs parts 0, 1 and 2, and has 0, 1, 2, 3"),
        (lambda lines: lines.__setitem__(slice(6, 8), ["000007.jpg 0", "000008.jpg 0"]), "and has 0, 1$"),
    ],
)
def test_a_damaged_partition(change: Callable[[list[str]], object], message: str, root: Path) -> None:
    path = edit(root, "list_eval_partition.txt", change)
    with pytest.raises(DataError, match=message) as caught:
        load_celeba(lenient(root), size=8)
    assert str(path) in str(caught.value)


def test_options_that_do_not_fit(root: Path) -> None:
    both = r"^dataset\.target and dataset\.group must be different attributes, and both are Male$"
    with pytest.raises(OptionError, match=both):
        load_celeba(lenient(root), target="Male")
    with pytest.raises(OptionError, match=r"^dataset\.size must be at least 1, not 0$"):
        load_celeba(lenient(root), size=0)
