"""`bench plot` as a user meets it, on records that a run has left."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.cli.plot import picture_name
from bench.plots import images
from bench.store.weighted import extremes
from bench_plugins.datasets.digits import load_digits


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Of short runs on points in a plane and on images, in one folder."""
    out = tmp_path_factory.mktemp("out")
    for words in (
        ["--dataset", "moons", "--model", "logistic", "--method", "erm", "-o", "recipe.evaluate_at=1", "--seeds", 2],
        ["--dataset", "moons", "--model", "logistic", "--method", "importance_weighted", "-o", "ratio=1,10"],
        ["--dataset", "digits", "--method", "random", "--seeds", 2],
    ):
        result = CliRunner().invoke(main, [*map(str, ["run", *words, "--epochs", 2, "--out", out])])
        assert result.exit_code == 0, result.output
    return out / "results"


@pytest.fixture
def plot(records, tmp_path):
    """Draws from the records; gives the result, and what was written."""

    def drawn(*words):
        result = CliRunner().invoke(
            main, ["plot", "--records", str(records), "--out", str(tmp_path / "plots"), *map(str, words)],
            catch_exceptions=False,
        )  # fmt: skip
        return result, sorted(path.name for path in (tmp_path / "plots").glob("*"))

    return drawn


MOONS, DIGITS = "class_fairness-v1.moons.logistic", "class_fairness-v1.digits.mlp"


@pytest.mark.parametrize(
    ("kind", "words", "tasks"),
    [
        ("curves", ["--metric", "accuracy", "--metric", "train/effective_sample_size"], [DIGITS, MOONS]),
        ("fraction", ["--dataset", "moons"], [MOONS]),
        ("gradients", [], [DIGITS, MOONS]),
        ("weight", ["--method", "importance_weighted"], [MOONS]),
        ("counts", [], [DIGITS, MOONS]),
        ("surfaces", ["--dataset", "moons"], [MOONS]),
        ("histograms", [], [DIGITS, MOONS]),
        ("images", ["--dataset", "digits"], [DIGITS]),
    ],
)
def test_each_kind_is_drawn_for_each_task(plot, kind, words, tasks):
    result, written = plot(kind, *words)
    assert result.exit_code == 0, result.output
    assert written == [f"{kind}.{task}.{suffix}" for task in tasks for suffix in ("png", "svg")]
    assert sorted(Path(line).name for line in result.output.split()) == written


def test_capacity_needs_two_models(plot, tmp_path):
    result, _ = plot("capacity", "--dataset", "digits")
    assert result.exit_code == 2 and "all of these models have 4,810 parameters" in result.output
    words = ["--dataset", "digits", "--method", "erm", "--each", "model.hidden=4", "--each", "model.hidden=8"]
    CliRunner().invoke(main, ["run", *words, "--epochs", "1", "--out", str(tmp_path)])
    words = ["plot", "capacity", "--records", str(tmp_path / "results"), "--file", str(tmp_path / "a.svg")]
    assert CliRunner().invoke(main, words).exit_code == 0 and "610" in (tmp_path / "a.svg").read_text()


def test_settings_choose(plot, tmp_path):
    result, _ = plot("fraction", "-o", "ratio=1,10")
    assert result.exit_code == 0
    text = (tmp_path / "plots" / f"fraction.{MOONS}.svg").read_text()
    assert "importance_weighted<" in text and "All with ratio=1,10, recipe.epochs=2." in text and "erm<" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fraction", "--dataset", "mnist"], "no such finished run in"),
        (
            ["fraction", "--dataset", "mnist"],
            "there is: erm on moons (logistic), importance_weighted on moons (logistic), ",
        ),
        (["fraction", "-o", "ratio"], "option 'ratio': expected NAME=VALUE"),
        (["fraction", "-o", "ratio=1,2", "-o", "ratio=1,10"], "option ratio is given twice"),
        (["curves", "--metric", "auc", "--dataset", "moons"], "no run has test/auc in its history; there is: grid/"),
        (["weight", "--method", "erm"], "no option of these methods is a pair of weights: name the setting"),
        (["weight", "--x", "beta"], "no record has a setting 'beta' that is a number"),
        (["histograms", "--method", "erm"], "all samples weigh the same in these runs"),
        (["surfaces", "--dataset", "digits"], "surfaces are of data sets of points in a plane"),
        (["mislabelled", "--dataset", "digits"], "nothing that was kept beside its records says which labels are"),
        (["images", "--dataset", "moons"], "moons has no images"),
    ],
)
def test_what_cannot_be_drawn_is_told(plot, words, message):
    result, _ = plot(*words)
    assert result.exit_code == 2
    assert message in result.output


def test_weights_of_samples_with_wrong_labels(tmp_path):
    words = ["run", "--method", "forml", "--dataset", "digits", "--protocol", "label_noise", "--epochs", "1"]
    assert CliRunner().invoke(main, [*words, "--out", str(tmp_path)]).exit_code == 0
    words = ["plot", "mislabelled", "--records", str(tmp_path / "results"), "--file", str(tmp_path / "a.svg")]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    text = (tmp_path / "a.svg").read_text()
    assert "AUROC 0." in text and "Label noise on digits, mlp: weights of samples with right and wrong labels" in text


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_one_picture_goes_to_a_file(plot, tmp_path, suffix):
    words = ["fraction", "--dataset", "moons"]
    plot(*words)
    result, _ = plot(*words, "--file", tmp_path / f"own/name.{suffix}")
    assert result.exit_code == 0 and result.output == f"{tmp_path}/own/name.{suffix}\n"
    (written,) = (tmp_path / "own").iterdir()
    assert written.read_bytes() == (tmp_path / "plots" / f"fraction.{MOONS}.{suffix}").read_bytes()


@pytest.mark.parametrize("words", [["--file", "link.svg"], ["--out", "."]])
def test_what_a_link_leads_to_is_drawn_and_the_link_stays(plot, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    link = Path("link.svg" if "--file" in words else f"counts.{MOONS}.svg")
    link.symlink_to("there.svg")
    for _ in range(2):  # at first there is nothing
        result, _ = plot("counts", "--dataset", "moons", *words)
        assert result.exit_code == 0 and link.is_symlink() and "<svg" in Path("there.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["counts"], f"--file is for one picture, and there are 2: counts.{MOONS}, counts.{DIGITS}; choose with"),
        (["counts", "--dataset", "moons", "--file", "a.jpg"], "expected a name that ends in .svg or .png"),
    ],
)
def test_what_fits_no_file_is_told(plot, tmp_path, words, message):
    result, written = plot(words[0], "--file", tmp_path / "a.svg", *words[1:])
    assert result.exit_code == 2 and message in result.output.replace("\n", " ") and not written


def test_images_are_those_that_were_trained_on_where_a_protocol_chose_them(tmp_path, monkeypatch):
    """Beside each image stands its class: the labels of the data at the positions that are shown."""
    out, shown = tmp_path / "out", []
    words = ["run", "--method", "forml", "--dataset", "digits", "--protocol", "pruning", "-o", "protocol.drop=none"]
    done = CliRunner().invoke(main, [*words, "--epochs", "2", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    draw = images.images
    monkeypatch.setattr(images, "images", lambda *given: shown.append(given) or draw(*given))
    words = ["plot", "images", "--records", str(out / "results"), "--out", str(tmp_path / "plots")]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    ((_, weights, y, (most, _), _, _),) = shown
    digits = load_digits(None).train
    label = {x.numpy().tobytes(): int(y) for x, y in zip(digits.x, digits.y, strict=True)}
    assert [label[picture.tobytes()] for picture in most] == [int(y[at]) for at in extremes(weights)[0]]


def test_tasks_that_a_picture_does_not_fit_are_left_out_with_the_reason(plot):
    result, written = plot("weight")
    assert result.exit_code == 0 and set(written) == {f"weight.{MOONS}.png", f"weight.{MOONS}.svg"}
    why = "no option of these methods is a pair of weights"
    assert f"left out weight.{DIGITS}: {why}" in result.output.replace("\n", " ")


def test_no_folder_and_lost_arrays_are_told_with_a_command_that_makes_them_again(plot, records, tmp_path):
    assert "name the folder of the records with --records" in plot("fraction", "--records", tmp_path / "none")[0].output
    (sidecar,) = records.rglob("moons.importance_weighted.*.xz")
    sidecar.unlink()
    data = tmp_path / "my data"
    result, _ = plot("histograms", "--method", "importance_weighted", "--data-dir", data)
    command = result.output.rpartition("the same run makes it again: ")[2]
    assert command == (
        "bench run --method importance_weighted --dataset moons --model logistic --epochs 2 -o ratio=1,10 --seed 0 "
        f"--force --out {records.parent} --data-dir '{data}'\n"
    )
    again = CliRunner().invoke(main, shlex.split(command)[1:], catch_exceptions=False)
    assert again.exit_code == 0 and sidecar.exists()


def test_a_run_without_its_sidecar_is_named_and_the_others_are_drawn(plot, records):
    sidecar = next(iter(sorted(records.rglob("moons.erm.1.*.xz"))))
    content = sidecar.read_bytes()
    sidecar.unlink()
    try:
        result, written = plot("curves", "--dataset", "moons")
        counts, _ = plot("counts", "--dataset", "moons")  # which needs none
    finally:
        sidecar.write_bytes(content)
    assert (result.exit_code, written) == (1, [f"curves.{MOONS}.png", f"curves.{MOONS}.svg"])
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        f"warning: left out {sidecar} is missing; the same run makes it again: bench run --method erm"
    )
    assert (counts.exit_code, counts.stderr) == (0, "")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_word_of_the_help_is_broken(width):
    text = CliRunner().invoke(main, ["plot", "--help"], terminal_width=width).output
    words = set(text.split())
    assert {"fraction", "mislabelled", "histograms", "KIND"} <= words
    assert width < 80 or max(map(len, text.splitlines())) <= 80 + (width - 80)


def test_pictures_need_no_torch_and_help_no_matplotlib(records, tmp_path):
    code = (
        "import sys; from bench.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "print([m for m in ('torch', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    for words, loaded in (
        (["plot", "--help"], "[]"),
        (["plot", "fraction", "--records", str(records), "--out", str(tmp_path)], "['matplotlib']"),
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == loaded


def test_each_picture_has_a_name_of_its_own():
    tasks = [("p/1", "a/b", "m"), ("p/1", "a-b", "m"), ("p/1", "a.b", "c"), ("p/1", "a", "b.c"), ("p/1", "a", "B.c")]
    tasks += [("p/1", "a", "timm/m"), ("p/1", "a", "timm-m"), ("p-v1/1", "a", "m"), ("p.q/1", "a", "m")]
    tasks += [("p/1", "q-v1.a", "m")]
    assert len({picture_name("curves", *task).lower() for task in tasks}) == len(tasks)
    assert picture_name("curves", "label_shift/1", "moons", "mlp") == "curves.label_shift-v1.moons.mlp"
    assert picture_name("curves", "p/1", "a", "timm/resnet.a1") == "curves.p-v1.a.timm~resnet.a1"
