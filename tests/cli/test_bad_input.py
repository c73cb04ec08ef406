"""Damaged files and impossible tasks, from the command line: one line that names the file or the numbers, no more."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from tests import twins
from tests.twins import photographs

Change = Callable[[Path], object]


def cut(root: Path, name: str, left: float = 0.9) -> None:
    (root / name).write_bytes((root / name).read_bytes()[: int(left * (root / name).stat().st_size)])


def turn(root: Path, name: str, at: int) -> None:
    """All bits of one byte."""
    content = bytearray((root / name).read_bytes())
    content[at] ^= 0xFF
    (root / name).write_bytes(content)


def put(root: Path, name: str, old: str, new: str) -> None:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new, 1))


def listed(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in root.rglob("*")}


BIRD = "waterbird_complete95_forest2water2"
DROUGHT = "droughtwatch/droughtwatch_data"
FILES: dict[str, tuple[str, Change, Change, str]] = {
    "a checksum of training": (
        "droughtwatch",
        lambda root: photographs.droughtwatch(root, 3, 2, unpacked=True),
        lambda root: turn(root, f"{DROUGHT}/train/part-r-00000", 5000),
        "part-r-00000 is damaged: record 1, at byte 0, has the checksum",
    ),
    "a checksum of validation": (
        "droughtwatch",
        lambda root: photographs.droughtwatch(root, 3, 2, unpacked=True),
        lambda root: turn(root, f"{DROUGHT}/val/part-r-00000", 5000),
        "part-r-00000 is damaged: record 1, at byte 0, has the checksum",
    ),
    "no validation files": (
        "droughtwatch",
        lambda root: photographs.droughtwatch(root, 3, 2, unpacked=True),
        lambda root: shutil.rmtree(root / DROUGHT / "val"),
        "holds no files val/part-*",
    ),
    "an attribute column": (
        "celeba",
        lambda root: photographs.celeba(root, 4, 2, 2),
        lambda root: put(root, "celeba/list_attr_celeba.txt", " Male ", " Mle "),
        "unknown attribute 'Male'",
    ),
    "an archive": (
        "celeba",
        lambda root: photographs.celeba(root, 4, 2, 2),
        lambda root: cut(root, "celeba/img_align_celeba.zip"),
        "img_align_celeba.zip is damaged",
    ),
    "an image": (
        "waterbirds",
        twins.waterbirds,
        lambda root: cut(root, f"{BIRD}/001.Gull/Gull_0003.jpg", 0.5),
        "Gull_0003.jpg cannot be read as an image",
    ),
    "a name": (
        "waterbirds",
        twins.waterbirds,
        lambda root: put(root, f"{BIRD}/metadata.csv", "001.Gull/Gull_0000", "\0"),
        "metadata.csv is damaged: it names an image whose path is not valid",
    ),
    "a cell of Adult": (
        "adult",
        twins.adult,
        lambda root: put(root, "adult/adult.data", "Male", "Mle"),
        "column 'sex': expected one of Female, Male, not 'Mle'",
    ),
    "a column of COMPAS": (
        "compas",
        twins.compas,
        lambda root: put(root, "compas/compas-scores-two-years.csv", ",race,", ",rce,"),
        "it has no column 'race'",
    ),
    "a line of Communities": (
        "communities",
        twins.communities,
        lambda root: cut(root, "communities/communities.data", 0.999),
        "communities.data is damaged: line 300 has",
    ),
    "a label of CIFAR-10": (
        "cifar10",
        twins.cifar10,
        lambda root: turn(root, "cifar-10-batches-bin/test_batch.bin", 0),
        "test_batch.bin is damaged: it has a label 255, and there are 10 classes",
    ),
    "pixels of CIFAR-100": (
        "cifar100",
        twins.cifar100,
        lambda root: cut(root, "cifar-100-binary/train.bin", 0.999),
        "train.bin is damaged: ",
    ),
    "images of MNIST": (
        "mnist",
        twins.mnist,
        lambda root: cut(root, "MNIST/raw/train-images-idx3-ubyte"),
        "train-images-idx3-ubyte is damaged: it is not a whole file",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_damaged_file_is_one_line_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    name, make, damage, said = FILES[what]
    make(tmp_path)
    damage(tmp_path)
    before = listed(tmp_path)
    result = CliRunner().invoke(
        main, ["data", "prepare", name, "--allow-unofficial-data", "--data-dir", str(tmp_path)], catch_exceptions=False
    )
    errors = [line for line in result.stderr.splitlines() if not line.endswith(" %")]  # that of the progress
    assert (result.exit_code, len(errors), result.stdout) == (2, 1, "")
    assert said in errors[0] and errors[0].startswith("error: ")
    assert listed(tmp_path) == before


TOO_MUCH = ("recipe.val_size=5000", "less 5000 for recipe.val_size leave 0 for training: ask for fewer")
TASKS = [
    (
        "imbalance",
        "protocol.factor=1000",
        "leaves 6 of 10 classes without a training sample (the largest has 18)",
    ),
    ("covariate_shift", "protocol.ratio=1000", "ratio 1000 leaves a part of 20 samples without any"),
    ("label_shift", "protocol.prior=1,1,1,1,1,1,1,1,1,1000", "leaves 5 test samples, and none of airplane"),
    ("label_noise", "protocol.target=cta", "has no class 'cta'; its classes: airplane"),
    ("label_noise", "protocol.fraction=2", "must be in [0, 1], not 2"),
    ("imbalance", "recipe.val_size=5000", "to be a multiple of 10 classes that leaves some of the 20 samples"),
    *((protocol, *TOO_MUCH) for protocol in ("covariate_shift", "label_shift", "label_noise", "class_fairness")),
]


@pytest.mark.parametrize("command", [["run", "--method", "erm", "--dataset"], ["data", "audit"]], ids=["run", "audit"])
@pytest.mark.parametrize(("protocol", "option", "said"), TASKS)
def test_a_task_that_leaves_no_sample_is_one_line_with_the_numbers(
    command: list[str], protocol: str, option: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    twins.cifar10(tmp_path / "data")
    size = ["-o", "recipe.val_size=20"] * ("val_size" not in option)
    words = [*command, "cifar10", "--protocol", protocol, "-o", option, *size, "--data-dir", "data"]
    result = CliRunner().invoke(main, [*words, "--allow-unofficial-data"], catch_exceptions=False)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr
    assert not [path for path in Path("bench-results").rglob("*") if path.is_file()]
