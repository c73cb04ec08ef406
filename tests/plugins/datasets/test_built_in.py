"""The data-set plugins: the real files where BENCH_DATA has them, and twins in the same formats."""

import gzip
import hashlib
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from bench import DataError, Dataset, Files, Split
from bench_plugins.datasets.cifar import (
    CIFAR10,
    CIFAR100,
    Variant,
    flip_and_translate,
    load_cat_dog,
    load_cifar10,
    load_cifar100,
)
from bench_plugins.datasets.communities import FEATURES, TARGET, WHITE, load_communities
from bench_plugins.datasets.digits import load_digits
from bench_plugins.datasets.mnist import MD5, load_mnist
from bench_plugins.datasets.synthetic import load_moons, load_separable, separable
from tests import twins

Load = Callable[[Files], Dataset]

# name -> loader, writer of its twin, a file of it, classes
SETS: dict[str, tuple[Load, Callable[[Path], None], str, int]] = {
    "mnist": (load_mnist, twins.mnist, "MNIST/raw/t10k-labels-idx1-ubyte", 10),
    "cifar10": (load_cifar10, twins.cifar10, "cifar-10-batches-bin/data_batch_2.bin", 10),
    "cifar100": (load_cifar100, twins.cifar100, "cifar-100-binary/test.bin", 100),
    "communities": (load_communities, twins.communities, "communities/communities.data", 2),
}
each_set = pytest.mark.parametrize("name", SETS)


def lenient(root: Path) -> Files:
    return Files(root, allow_unofficial=True, download=False)


def real(path: str, **options: bool) -> Files:
    """The real files; skips the test where there is no `path` among them."""
    root = Path(os.environ.get("BENCH_DATA", "nowhere"))
    if not (root / path).exists():
        pytest.skip(f"BENCH_DATA names no folder with {path}")
    return Files(root, download=False, **options)


def counts(y: Tensor) -> list[int]:
    return y.bincount().tolist()


def twin(name: str, root: Path) -> tuple[Load, Path]:
    """The loader of a set and the path of one file of its twin, which is written under `root`."""
    load, write, file, _ = SETS[name]
    write(root)
    return load, root / file


# The real files


def test_mnist_is_the_official_data() -> None:
    data = load_mnist(real("MNIST/raw"))
    assert counts(data.train.y) == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.test is not None
    assert counts(data.test.y) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.x.shape == (60_000, 1, 28, 28)
    assert data.train.x.dtype == torch.uint8
    assert not data.unofficial
    assert round(data.train.x.double().mean().item() / 255, 4) == 0.1307, "the mean that everyone normalises with"


def test_mnist_is_decompressed_from_the_official_gz(tmp_path: Path) -> None:
    files = real("MNIST/raw/train-images-idx3-ubyte.gz")
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in MD5:
        (folder / f"{name}.gz").symlink_to(files.root.absolute() / "MNIST" / "raw" / f"{name}.gz")
    first, again = (load_mnist(Files(tmp_path, download=False)) for _ in range(2))
    assert not first.unofficial
    assert first.revision == again.revision, "known by what is read, not by how it came"
    assert {p.name for p in folder.iterdir()} == {*MD5, *(f"{name}.gz" for name in MD5)}


@pytest.mark.parametrize(
    ("load", "folder", "variant", "unofficial"),
    [(load_cifar10, "cifar-10-batches-bin", CIFAR10, True), (load_cifar100, "cifar-100-binary", CIFAR100, False)],
)
def test_cifar_shapes_counts_and_statistics(load: Load, folder: str, variant: Variant, unofficial: bool) -> None:
    data = load(real(f"{folder}/{variant.classes_file}", allow_unofficial=unofficial))
    k = len(data.classes)
    assert data.test is not None
    assert counts(data.train.y) == [50_000 // k] * k
    assert counts(data.test.y) == [10_000 // k] * k
    assert data.train.x.shape == (50_000, 3, 32, 32)
    assert data.train.x.is_contiguous()
    histogram = torch.stack([data.train.x[:, c].flatten().bincount(minlength=256) for c in range(3)]).double()
    level = torch.arange(256).double() / 255
    mean = (histogram @ level) / histogram.sum(1)
    std = ((histogram @ level**2) / histogram.sum(1) - mean**2).sqrt()
    assert data.mean == tuple(round(m, 4) for m in mean.tolist())
    assert data.std == tuple(round(s, 4) for s in std.tolist())


def test_cifar10_class_names_are_those_of_the_file() -> None:
    files = real("cifar-10-batches-bin/batches.meta.txt")
    assert (files.root / "cifar-10-batches-bin" / "batches.meta.txt").read_text().split() == list(CIFAR10.classes)


def test_cifar100_is_official_and_named() -> None:
    data = load_cifar100(real("cifar-100-binary/train.bin"))
    assert not data.unofficial
    assert (data.classes[0], data.classes[99]) == ("apple", "worm")


def test_communities_groups_label_and_columns() -> None:
    files = real("communities/communities.names")
    data = load_communities(files)
    assert data.train.x.shape == (1994, 94)
    assert data.train.x.dtype == torch.float32
    assert counts(data.train.y) == [1411, 583]
    assert counts(data.train.group) == [501, 492, 509, 492]
    assert not data.unofficial
    lines = (files.root / "communities" / "communities.names").read_text().splitlines()
    names = [line.split()[1] for line in lines if line.startswith("@attribute")]
    table = np.array([row.split(",") for row in (files.root / "communities/communities.data").read_text().splitlines()])
    complete = {name for name, column in zip(names, table.T, strict=True) if "?" not in column}
    by_race = {f"{race}PerCap" for race in ("white", "black", "indian", "Asian", "Hisp")}
    assert {names[i] for i in FEATURES} == complete - {
        "state",
        "communityname",
        "fold",
        "ViolentCrimesPerPop",
    } - by_race
    assert (names[WHITE], names[TARGET]) == ("racePctWhite", "ViolentCrimesPerPop")
    assert torch.equal(data.train.x, torch.tensor(table[:, list(FEATURES)].astype(np.float32)))


# Files that are missing, unofficial or damaged


@each_set
def test_twin_has_every_class_and_is_marked_unofficial(name: str, tmp_path: Path) -> None:
    load, path = twin(name, tmp_path)
    files = lenient(tmp_path)
    data = load(files)
    assert sorted(set(data.train.y.tolist())) == list(range(SETS[name][3])) == list(range(len(data.classes)))
    file = str(path.relative_to(tmp_path))
    assert data.unofficial[file] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_communities_twin_has_every_class_in_every_group(tmp_path: Path) -> None:
    train = twin("communities", tmp_path)[0](lenient(tmp_path)).train
    assert len((train.group * 2 + train.y).unique()) == 8


@each_set
def test_unofficial_files_are_refused(name: str, tmp_path: Path) -> None:
    load, _ = twin(name, tmp_path)
    with pytest.raises(DataError, match="not the official file"):
        load(Files(tmp_path, download=False))


@each_set
def test_missing_files_offline_name_the_file_and_its_address(name: str, tmp_path: Path) -> None:
    load, path = twin(name, tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="missing file") as caught:
        load(lenient(tmp_path))
    assert str(path) in str(caught.value)
    assert "https://" in str(caught.value)


@each_set
def test_truncated_files_are_refused_by_name_even_when_unofficial_ones_are_allowed(name: str, tmp_path: Path) -> None:
    load, path = twin(name, tmp_path)
    path.write_bytes(path.read_bytes()[:-1000] if name != "mnist" else path.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged") as caught:
        load(lenient(tmp_path))
    assert str(path) in str(caught.value)


@each_set
def test_empty_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    load, path = twin(name, tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="damaged") as caught:
        load(lenient(tmp_path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("name", "where"), [("mnist", 8), ("cifar10", 3073), ("cifar100", 1)])
def test_a_label_out_of_range_is_refused_by_name(name: str, where: int, tmp_path: Path) -> None:
    load, path = twin(name, tmp_path)
    content = bytearray(path.read_bytes())
    content[where] = 100
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged") as caught:
        load(lenient(tmp_path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("column", "value"), [(5, "?"), (WHITE, "high"), (TARGET, "1.5"), (40, "nan")])
def test_a_bad_value_in_communities_is_refused_with_its_place(column: int, value: str, tmp_path: Path) -> None:
    load, path = twin("communities", tmp_path)
    rows = [line.split(",") for line in path.read_text().splitlines()]
    rows[6][column] = value
    path.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(DataError, match=rf"line 7, column {column + 1}, not '{value.replace('?', '[?]')}'"):
        load(lenient(tmp_path))


def test_a_truncated_gz_of_mnist(tmp_path: Path) -> None:
    load, path = twin("mnist", tmp_path)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()
    before = sorted(path.parent.iterdir())
    with pytest.raises(DataError, match="could not be decompressed") as caught:
        load(lenient(tmp_path))
    assert str(packed) in str(caught.value)
    assert sorted(path.parent.iterdir()) == before


def test_an_unverified_processed_folder_of_mnist_is_not_read(tmp_path: Path) -> None:
    load, _ = twin("mnist", tmp_path)
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for part in ("training.pt", "test.pt"):
        torch.save((torch.zeros(7, 28, 28, dtype=torch.uint8), torch.zeros(7, dtype=torch.int64)), processed / part)
    assert len(load(lenient(tmp_path)).train) == 200


# CIFAR's formats


def test_cifar10_records_are_read_in_order(tmp_path: Path) -> None:
    twins.cifar10(tmp_path)
    x, y = twins.images(200, 10, (3, 32, 32), 0)
    data = load_cifar10(lenient(tmp_path))
    assert torch.equal(data.train.x, torch.from_numpy(x))
    assert torch.equal(data.train.y, torch.from_numpy(y).long())
    assert data.classes == CIFAR10.classes
    assert len(data.unofficial) == 6


def test_cifar100_classes_are_the_fine_labels(tmp_path: Path) -> None:
    twins.cifar100(tmp_path)
    names = tmp_path / "cifar-100-binary" / "fine_label_names.txt"
    names.write_text("".join(f"fine_{c}\n" for c in range(100)))
    data = load_cifar100(lenient(tmp_path))
    assert data.train.y.tolist() == [*range(100), *range(100)]
    assert data.classes[99] == "fine_99"
    names.write_text("one\ntwo\n")
    with pytest.raises(DataError, match="2 names for 100 classes"):
        load_cifar100(lenient(tmp_path))


def python_version(variant: Variant, data: Dataset, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same data as torchvision's pickles, whose MD5s replace the official ones; returns their folder."""
    from bench.compat import torchvision

    reader = getattr(torchvision.datasets, variant.python)
    folder = root / str(reader.base_folder)
    folder.mkdir(parents=True)
    key = "labels" if variant is CIFAR10 else "fine_labels"

    def write(name: str, content: object) -> str:
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    def write_split(names: list[str], split: Split) -> list[list[str]]:
        parts = zip(names, split.x.flatten(1).chunk(len(names)), split.y.chunk(len(names)), strict=True)
        return [[name, write(name, {"data": x.numpy(), key: y.tolist()})] for name, x, y in parts]

    assert data.test is not None
    monkeypatch.setattr(reader, "train_list", write_split([n for n, _ in reader.train_list], data.train))
    monkeypatch.setattr(reader, "test_list", write_split([n for n, _ in reader.test_list], data.test))
    names = {"label_names": list(data.classes), "fine_label_names": list(data.classes)}
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": write(reader.meta["filename"], names)})
    return folder


@pytest.mark.parametrize(
    ("load", "write", "variant"),
    [(load_cifar10, twins.cifar10, CIFAR10), (load_cifar100, twins.cifar100, CIFAR100)],
)
def test_python_version_equals_binary_version(
    load: Load, write: Callable[[Path], None], variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "binary")
    binary = load(lenient(tmp_path / "binary"))
    folder = python_version(variant, binary, tmp_path / "python", monkeypatch)
    python = load(Files(tmp_path / "python", download=False))
    assert binary.test is not None
    assert python.test is not None
    for one, other in ((binary.train, python.train), (binary.test, python.test)):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
    assert python.revision == binary.revision
    assert python.classes == binary.classes
    assert not python.unofficial
    next(folder.glob("test*")).write_bytes(b"not what it was")
    with pytest.raises(DataError, match="not read even with --allow-unofficial-data") as caught:
        load(lenient(tmp_path / "python"))
    assert str(folder) in str(caught.value)


def test_an_unofficial_pickle_is_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / CIFAR10.python_folder
    folder.mkdir()
    mark = tmp_path / "executed"
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(f"cos\nmkdir\n(V{mark}\ntR.".encode())
    with pytest.raises(DataError, match="run any code"):
        load_cifar10(lenient(tmp_path))
    assert not mark.exists()


def test_the_binary_version_is_preferred(tmp_path: Path) -> None:
    twins.cifar10(tmp_path)
    (tmp_path / CIFAR10.python_folder).mkdir()
    assert len(load_cifar10(lenient(tmp_path)).train) == 200


# Augmentation


def moved(image: Tensor, flip: bool, down: int, right: int) -> Tensor:
    """[C, H, W] mirrored if `flip`, then moved, pixel by pixel."""
    channels, height, width = image.shape
    out = torch.zeros_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                row, column = i - down, j - right
                if 0 <= row < height and 0 <= column < width:
                    out[c, i, j] = image[c, row, width - 1 - column if flip else column]
    return out


def test_augmentation_of_each_image_is_a_flip_and_a_move() -> None:
    x = torch.rand(6, 2, 5, 7, generator=Generator().manual_seed(0))
    augmented = flip_and_translate(x, Generator().manual_seed(1), by=2)
    ways = [(f, down, right) for f in (False, True) for down in range(-2, 3) for right in range(-2, 3)]
    found = [
        [way for way in ways if torch.equal(moved(image, *way), out)] for image, out in zip(x, augmented, strict=True)
    ]
    assert all(len(candidates) == 1 for candidates in found)
    assert len({candidates[0] for candidates in found}) > 1, "each image has draws of its own"


def test_augmentation_reaches_every_way_equally_often() -> None:
    image = torch.zeros(1, 1, 12, 12)
    image[0, 0, 6, 4] = 1  # flipped to column 7
    n = 16_200
    augmented = flip_and_translate(image.expand(n, -1, -1, -1), Generator().manual_seed(0))
    where = augmented.flatten(1).argmax(1)
    row, column = where // 12 - 6, where % 12
    assert sorted(set(row.tolist())) == list(range(-4, 5))
    assert sorted(set(column.tolist())) == list(range(12))
    expected = {j: n / 18 * ((0 <= j <= 8) + (3 <= j <= 11)) for j in range(12)}
    for j, times in expected.items():
        assert abs(int((column == j).sum()) - times) < 5 * times**0.5
    for i in range(-4, 5):
        assert abs(int((row == i).sum()) - n / 9) < 5 * (n / 9) ** 0.5


def test_equal_seeds_augment_equally() -> None:
    x = torch.rand(8, 3, 32, 32)
    one, same, other = (flip_and_translate(x, Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == x.shape
    assert one.dtype == x.dtype


# The sets without files


def test_digits(tmp_path: Path) -> None:
    data = load_digits(Files(tmp_path, download=False))
    assert data.train.x.shape == (1797, 1, 8, 8)
    assert data.train.x.dtype == torch.uint8
    assert (int(data.train.x.min()), int(data.train.x.max())) == (0, 255)
    assert len(data.train.x.unique()) == 17
    assert counts(data.train.y) == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.test is None


def test_moons_is_the_reports_sample(tmp_path: Path) -> None:
    from sklearn.datasets import make_moons

    data = load_moons(Files(tmp_path, download=False))
    assert data.test is not None
    x, y = make_moons(1024, noise=0.1, random_state=1)
    both = Split.cat([data.train, data.test])
    expected = sorted(np.column_stack([x.astype(np.float32), y]).tolist())
    assert sorted(torch.column_stack([both.x, both.y]).tolist()) == expected
    assert len(data.train) == len(data.test) == 512


@pytest.mark.parametrize("load", [load_moons, load_separable])
def test_learning_rate_is_from_the_largest_singular_value(load: Load, tmp_path: Path) -> None:
    data = load(Files(tmp_path, download=False))
    x = data.train.x.double()
    sigma_max = torch.linalg.eigvalsh(x.T @ x)[-1].sqrt()
    assert data.recipe.lr == pytest.approx(0.01 / sigma_max.item(), rel=1e-6)
    assert 5e-5 < data.recipe.lr < 5e-4, "about 1e-4 in the report"


def test_moons_is_not_linearly_separable_and_separable_is(tmp_path: Path) -> None:
    from sklearn.svm import SVC

    margins = {}
    for load in (load_moons, load_separable):
        data = load(Files(tmp_path, download=False))
        assert data.val is not None
        assert data.test is not None
        every = Split.cat([data.train, data.val, data.test])
        machine = SVC(kernel="linear", C=1e4, max_iter=100_000) if load is load_separable else SVC(kernel="linear")
        machine.fit(every.x.numpy(), every.y.numpy())
        if machine.score(every.x.numpy(), every.y.numpy()) == 1:
            margins[data.name] = 2 / np.linalg.norm(machine.coef_)
    assert set(margins) == {"separable"}
    assert margins["separable"] > np.hypot(3, 3) - 4


@pytest.mark.parametrize("load", [load_moons, load_separable])
def test_the_plane_is_trained_on_alike_under_every_protocol_of_the_report(load: Load, tmp_path: Path) -> None:
    data = load(Files(tmp_path, download=False))
    assert {name: recipe.protocol for name, recipe in data.recipes.items()} == {n: n for n in data.recipes}
    assert data.recipes["label_shift"] == replace(data.recipe, protocol="label_shift")
    assert data.recipes["imbalance"].options == {"imbalance": {"factor": 10.0}}


def test_separable_is_balanced_truncated_and_rotated() -> None:
    x, y = separable(512, seed=1)
    assert np.bincount(y).tolist() == [512, 512]
    positive, negative = x[y == 1], x[y == 0] - 3
    assert np.linalg.norm(positive, axis=1).max() <= 2
    turn = np.angle((negative @ [1, 1j]) / (positive @ [1, 1j]))
    assert turn == pytest.approx(np.full(512, np.pi / 4))
    assert np.linalg.norm(negative, axis=1) == pytest.approx(np.linalg.norm(positive, axis=1))


@pytest.mark.parametrize("load", [load_digits, load_moons, load_separable])
def test_generated_sets_are_the_same_each_time(load: Load, tmp_path: Path) -> None:
    one, other = (load(Files(tmp_path, download=False)) for _ in range(2))
    assert torch.equal(one.train.x, other.train.x)
    assert one.revision == other.revision
    assert len(one.revision) == 12


def test_a_class_can_be_learned_from_the_twins(tmp_path: Path) -> None:
    for name, (load, write, _, _) in SETS.items():
        write(tmp_path / name)
        data = load(lenient(tmp_path / name))
        test = data.test or data.train
        centres = torch.stack([data.train.x[data.train.y == c].float().mean(0) for c in range(len(data.classes))])
        nearest = torch.cdist(test.x.float().flatten(1), centres.flatten(1)).argmin(1)
        assert (nearest == test.y).float().mean() > 0.6, name


def test_cats_and_dogs_are_those_of_cifar10_and_the_rest_is_a_probe(tmp_path):
    twins.cifar10(tmp_path)
    files = Files(tmp_path, allow_unofficial=True)
    whole, binary = load_cifar10(files), load_cat_dog(files)
    cats, dogs = (whole.train.y == 3), (whole.train.y == 5)
    assert torch.equal(binary.train.x, whole.train.x[cats | dogs])
    assert torch.equal(binary.train.y, dogs[cats | dogs].long())
    assert binary.classes == ("cat", "dog")
    assert torch.equal(binary.probes["other"].x, whole.test.x[(whole.test.y != 3) & (whole.test.y != 5)])
