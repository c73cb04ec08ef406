"""`tools/corruptions.py`: what is timed, and the record that it writes."""

import numpy as np
import pytest
import torch

from bench.data.files import Files, default_root
from bench.errors import DataError
from bench.records.json_file import load
from bench.throughput.corruptions import CorruptionCosts, Timing, section
from tests.images.test_corruptions import as_bytes, cifar, photographs
from tools import corruptions


@pytest.fixture
def small(monkeypatch):
    """Two corruptions of 20 images, of which the public implementation has 3, in 2 rounds after 1 to warm up."""
    images = as_bytes(photographs(32))
    chosen = {name: corruptions.CORRUPTIONS[name] for name in ("contrast", "brightness")}
    sizes = {"IMAGES": 20, "ONE_BY_ONE": 3, "ROUNDS": 2, "WARM_UP": 1}
    for name, value in {"CORRUPTIONS": chosen, "first_images": lambda files: images, **sizes}.items():
        monkeypatch.setattr(corruptions, name, value)
    return images


def test_what_is_published_has_the_sizes_of_the_committed_records():
    sizes = (corruptions.IMAGES, corruptions.ONE_BY_ONE, corruptions.SEVERITY, corruptions.ROUNDS, corruptions.WARM_UP)
    assert sizes == (1000, 100, 3, 15, 2)


def test_the_images_are_the_first_of_the_test_set():
    expected = cifar(1000)  # skips where they are not
    images = corruptions.first_images(Files(default_root(), allow_unofficial=True))
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), expected)


def test_a_time_is_that_of_the_second_call(monkeypatch):
    clocks = {"process_time": iter([10.0, 10.5]), "perf_counter": iter([20.0, 22.0])}
    for name, values in clocks.items():
        monkeypatch.setattr(corruptions.time, name, values.__next__)
    calls = []
    assert corruptions.seconds(lambda: calls.append(0)) == (0.5, 2.0)
    assert len(calls) == 2


def test_times_are_of_one_image_without_the_rounds_to_warm_up():
    measured = [(9.0, 9.0), (9.0, 9.0), (1.0, 2.0), (3.0, 5.0)]
    assert corruptions.of_an_image(measured, 10) == {"processor": [0.1, 0.3], "wall": [0.2, 0.5]}


def test_the_two_take_turns_on_their_images(small, monkeypatch):
    asked = []

    def theirs(picture, severity):
        asked.append(("public", np.asarray(picture).tolist(), severity))
        return np.zeros((32, 32, 3))

    def ours(images, severity, generator):
        asked.append(("ours", images, severity))

    monkeypatch.setattr(corruptions, "public", lambda constants: type("Public", (), {"contrast": staticmethod(theirs)}))
    monkeypatch.setitem(corruptions.CORRUPTIONS, "contrast", ours)
    corruptions.measure("contrast", small)
    turn = [("public", small[place].permute(1, 2, 0).tolist(), 3) for place in (0, 1, 2)]
    assert asked == (2 * turn + 2 * [("ours", small, 3)]) * 3


def test_one_thread_is_for_the_measurement_alone():
    before = torch.get_num_threads(), corruptions.cv2.getNumThreads()
    with corruptions.one_thread():
        assert (torch.get_num_threads(), corruptions.cv2.getNumThreads()) == (1, 1)
    assert (torch.get_num_threads(), corruptions.cv2.getNumThreads()) == before


def test_the_program_prints_the_table_and_writes_the_record(small, tmp_path, capsys):
    assert corruptions.main(["--out", str(tmp_path)]) == 0
    (record,), damaged = load(tmp_path / "corruptions", CorruptionCosts)
    assert damaged == {}
    assert record.command == f"python tools/corruptions.py --out {tmp_path}"
    assert (record.severity, record.images, record.one_by_one) == (3, 20, 3)
    assert record.public.endswith(", with the changes in tools/imagenet_c.py")
    assert [row.name for row in record.rows] == ["contrast", "brightness"]
    for row in record.rows:
        assert isinstance(row, Timing)
        assert {len(times) for clocks in (row.ours, row.public) for times in clocks.values()} == {2}
    *table, _, last = capsys.readouterr().out.splitlines()
    assert table == section(record)
    assert last == f"record: {tmp_path / 'corruptions' / record.path}"


def test_without_a_folder_nothing_is_written(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert corruptions.main([]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "unofficial", "said"),
    [([], {}, ""), (["--allow-unofficial-data"], {"a.bin": "0123"}, ", from unofficial files")],
)
def test_a_record_of_unofficial_images_says_so(small, tmp_path, monkeypatch, words, unofficial, said):
    def read(files):
        assert files.root == tmp_path and files.allow_unofficial == bool(words)
        files.unofficial.update(unofficial)
        return small

    monkeypatch.setattr(corruptions, "first_images", read)
    assert corruptions.main(["--data-dir", str(tmp_path), "--out", str(tmp_path), *words]) == 0
    (record,), _ = load(tmp_path / "corruptions", CorruptionCosts)
    assert record.data == "The first test images of CIFAR-10, 32 x 32" + said


def test_images_that_are_not_there_are_one_line(monkeypatch, capsys):
    def missing(files):
        raise DataError("no cifar-10-batches-bin")

    monkeypatch.setattr(corruptions, "first_images", missing)
    assert corruptions.main([]) == 1
    assert capsys.readouterr().err == "error: no cifar-10-batches-bin\n"
