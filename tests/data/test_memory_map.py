"""Arrays that are prepared once and mapped."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench import DataError, Split
from bench.data.batches import training_batches
from bench.data.dataset import Dataset
from bench.data.memory_map import Block, memory_map
from bench.protocol import hold_out
from bench.recipe import Recipe
from bench.streams import RandomStreams

X = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 5), np.uint8)
Y = np.arange(10, dtype=np.uint8)
ABOUT = {"size": 4, "bands": ("B1", "B2"), "source": "sha256:1"}


class Source:
    """Gives X and Y in uneven blocks and counts how often it is asked to."""

    def __init__(
        self, x: NDArray[np.uint8] = X, fail_at: int | None = None, error: BaseException | None = None
    ) -> None:
        self.x, self.fail_at, self.error, self.calls = x, fail_at, error, 0

    def __call__(self) -> Iterator[Block]:
        self.calls += 1
        for start, end in ((0, 3), (3, 4), (4, 10)):
            if start == self.fail_at and self.error:
                raise self.error
            yield {"x": self.x[start:end], "y": Y[start:end]}


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_is_prepared_is_what_was_given_and_is_prepared_once(tmp_path: Path) -> None:
    source = Source()
    first, again = (memory_map(tmp_path / "a" / "map", ABOUT, source) for _ in range(2))
    for found in (first, again):
        assert torch.equal(found.arrays["x"], torch.from_numpy(X))
        assert torch.equal(found.arrays["y"], torch.from_numpy(Y))
    assert source.calls == 1
    assert first.sha256 == again.sha256
    assert names(tmp_path / "a") == ["map", "map/about.json", "map/x", "map/y"]
    assert (tmp_path / "a" / "map" / "x").read_bytes() == X.tobytes()


def test_the_hash_follows_from_the_contents_and_the_names_of_the_arrays(tmp_path: Path) -> None:
    def swapped() -> Iterator[Block]:
        yield {"y": X, "x": Y}

    def at_once() -> Iterator[Block]:
        yield {"y": Y, "x": X}

    sources: list[Callable[[], Iterator[Block]]] = [Source(), Source(X + 1), swapped, at_once]
    hashes = [memory_map(tmp_path / str(i), ABOUT, source).sha256 for i, source in enumerate(sources)]
    assert hashes[3] == hashes[0]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize("other", [{"size": 8}, {"bands": ("B2", "B1")}, {"source": "sha256:2"}, {"more": None}])
def test_a_stale_map_is_prepared_again(tmp_path: Path, other: dict[str, Any]) -> None:
    memory_map(tmp_path / "map", ABOUT, Source())
    source = Source(255 - X)
    found = memory_map(tmp_path / "map", ABOUT | other, source)
    assert source.calls == 1
    assert torch.equal(found.arrays["x"], torch.from_numpy(255 - X))
    assert names(tmp_path) == ["map", "map/about.json", "map/x", "map/y"]


def cut(folder: Path) -> None:
    (folder / "x").write_bytes(X.tobytes()[:-1])


def lose(folder: Path) -> None:
    (folder / "y").unlink()


def garble(folder: Path) -> None:
    (folder / "about.json").write_text("{")


def older(folder: Path) -> None:
    known = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps(known | {"format": 0}))


def other_json(folder: Path) -> None:
    (folder / "about.json").write_text("[1]")


@pytest.mark.parametrize("damage", [cut, lose, garble, older, other_json])
def test_a_damaged_map_is_prepared_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    memory_map(tmp_path / "map", ABOUT, Source())
    damage(tmp_path / "map")
    source = Source()
    assert torch.equal(memory_map(tmp_path / "map", ABOUT, source).arrays["x"], torch.from_numpy(X))
    assert source.calls == 1


@pytest.mark.parametrize("error", [DataError("image 5 is damaged"), KeyboardInterrupt(), MemoryError()])
def test_an_error_or_an_interrupt_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        memory_map(tmp_path / "map", ABOUT, Source(fail_at=4, error=error))
    assert names(tmp_path) == []


def test_an_error_leaves_the_older_map(tmp_path: Path) -> None:
    memory_map(tmp_path / "map", ABOUT, Source())
    with pytest.raises(DataError, match="damaged"):
        memory_map(tmp_path / "map", {}, Source(fail_at=4, error=DataError("damaged")))
    source = Source()
    memory_map(tmp_path / "map", ABOUT, source)
    assert source.calls == 0


def test_a_full_disk_is_told_with_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No space left") as caught:
        memory_map(tmp_path / "map", ABOUT, Source(fail_at=4, error=OSError(28, "No space left on device")))
    assert str(tmp_path / "map") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be prepared"):
        memory_map(tmp_path / "file" / "map", ABOUT, Source())


@pytest.mark.parametrize("blocks", [[], [{"x": X[:0]}]])
def test_no_samples_are_no_map(tmp_path: Path, blocks: list[Block]) -> None:
    with pytest.raises(DataError, match="no samples"):
        memory_map(tmp_path / "map", ABOUT, lambda: blocks)
    assert names(tmp_path) == []


def test_two_that_prepare_at_once_both_get_it(tmp_path: Path) -> None:
    gate = threading.Barrier(2)

    def together() -> Iterator[Block]:
        yield from Source()()
        gate.wait(10)  # neither is finished before the other has begun

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(memory_map(tmp_path / "map", ABOUT, together))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [torch.equal(f.arrays["x"], torch.from_numpy(X)) for f in found] == [True, True]
    assert names(tmp_path) == ["map", "map/about.json", "map/x", "map/y"]


def test_writing_to_a_map_changes_no_file(tmp_path: Path) -> None:
    first = memory_map(tmp_path / "map", ABOUT, Source())
    first.arrays["x"].zero_()
    assert torch.equal(memory_map(tmp_path / "map", ABOUT, Source()).arrays["x"], torch.from_numpy(X))


def test_a_map_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    memory_map(tmp_path / "map", ABOUT, Source())
    count = 2**38 // X[0].size  # 256 GiB, of which the disk holds nothing
    for name, row in (("x", X[0].size), ("y", 1)):
        with (tmp_path / "map" / name).open("r+b") as file:
            file.truncate(count * row)
    about = tmp_path / "map" / "about.json"
    known = json.loads(about.read_text())
    known["shapes"] = {name: [count, *shape[1:]] for name, shape in known["shapes"].items()}
    about.write_text(json.dumps(known))
    x = memory_map(tmp_path / "map", ABOUT, Source(fail_at=0, error=AssertionError("prepared again"))).arrays["x"]
    assert len(x) == count
    assert torch.equal(x[:10], torch.from_numpy(X))
    assert not x[count - 1].any()


def mapped(tmp_path: Path) -> Split:
    found = memory_map(tmp_path / "map", ABOUT, Source()).arrays
    y = found["y"].long() % 2
    return Split(found["x"], y, group=y)


def test_a_split_gives_the_same_batches_from_a_map_as_from_memory(tmp_path: Path) -> None:
    from_map, y = mapped(tmp_path), torch.from_numpy(Y).long() % 2
    from_memory = Split(torch.from_numpy(X), y, group=y)
    for one, other in zip(
        training_batches(from_map, 4, RandomStreams((0,)), 1),
        training_batches(from_memory, 4, RandomStreams((0,)), 1),
        strict=True,
    ):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
    assert from_map.to(torch.device("cpu")).x.data_ptr() == from_map.x.data_ptr()


def test_a_part_of_a_map_is_a_split_without_a_copy(tmp_path: Path) -> None:
    whole = mapped(tmp_path)
    end = Split(whole.x[6:], whole.y[6:], whole.group[6:])
    assert end.x.data_ptr() == whole.x.data_ptr() + 6 * X[0].size
    assert torch.equal(end.batch(torch.tensor([3, 0])).x, torch.from_numpy(X[[9, 6]]) / 255)


def test_test_and_validation_data_of_their_own_stay_in_the_map(tmp_path: Path) -> None:
    whole = mapped(tmp_path)
    data = Dataset("toy", whole, test=whole, val=whole, classes=("no", "yes"), recipe=Recipe())
    found = hold_out(data, Recipe(), RandomStreams((0,)))
    assert found.val.x.data_ptr() == found.tests["test"].x.data_ptr() == whole.x.data_ptr()
