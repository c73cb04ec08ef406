"""Files that are being made: what a killed process leaves of them is removed, and nothing else."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import StoreError
from bench.records.files import (
    ABANDONED_SECONDS,
    check_replaceable,
    check_writable,
    part_of,
    remove_abandoned,
    write_whole,
)
from bench.records.processes import Process


def killed(code: str) -> None:
    """Run Python code in a process that then kills itself."""
    words = [sys.executable, "-c", f"import os, pathlib\n{code}\nos.kill(os.getpid(), 9)"]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    target = f"pathlib.Path({str(tmp_path / 'a.json')!r})"
    killed(
        "from bench.records.files import write_whole, part_of\n"
        f"write_whole({target}, b'older')\n"
        f"part_of({target}).mkdir()\n"
        f"write_whole({target}, lambda file: (file.write(b'half'), os.kill(os.getpid(), 9)))"
    )
    assert len(list(tmp_path.iterdir())) == 3
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"older"


def test_what_others_are_writing_or_have_named_so_stays(tmp_path):
    this = Process.this()
    elsewhere = Process("0" * 8, this.pid, this.started)
    kept = [
        part_of(tmp_path / "mine"),
        tmp_path / f"elsewhere.{elsewhere.mark}-0a1b2c3d.part",
        tmp_path / "download.part",
        tmp_path / "a.1-2.part",
        tmp_path / ".part",
        tmp_path / f"a.999999999-{this.machine}-1-0a1b2c3d.part.txt",
    ]
    for path in kept:
        path.touch()
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_what_another_machine_left_a_day_ago_is_removed(tmp_path):
    part = tmp_path / f"a.{Process('0' * 8, 1, '').mark}-0a1b2c3d.part"
    part.touch()
    os.utime(part, (0, time.time() - ABANDONED_SECONDS - 1))
    remove_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_is_dead_when_it_has_ended_also_if_nobody_asked_or_its_number_is_used_again():
    this = Process.this()
    assert not this.is_dead
    assert Process.of_mark(this.mark) == this
    assert not Process("0" * 8, this.pid, "1").is_dead  # of another machine
    unasked = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert unasked.stdout
    unasked.stdout.read()  # it has closed it
    other = Process(this.machine, unasked.pid, "")
    deadline = time.monotonic() + 10
    while not other.is_dead and time.monotonic() < deadline:
        time.sleep(0.01)
    assert other.is_dead
    unasked.communicate()
    assert other.is_dead
    if this.started:
        assert Process(this.machine, this.pid, str(int(this.started) - 1)).is_dead


def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "below" / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "below" / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "below").stat().st_mode & 0o777 == 0o750


def test_whether_a_folder_can_be_written_is_told_without_making_it(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    check_writable(Path("c", "d"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        check_writable(tmp_path / "file" / "a")


def test_a_folder_in_the_place_of_a_file_is_found_before(tmp_path):
    (tmp_path / "a.npz").mkdir()
    (tmp_path / "b.npz").write_text("earlier")
    (tmp_path / "c.npz").symlink_to(tmp_path / "a.npz")  # a link is replaced, whatever it points to
    check_replaceable(tmp_path / name for name in ("b.npz", "c.npz", "d.npz", "e/f.npz"))
    with pytest.raises(StoreError, match=r"a\.npz is a folder, and a file is to be written there: move it away"):
        check_replaceable([tmp_path / "b.npz", tmp_path / "a.npz"])
    with pytest.raises(StoreError, match=r"cannot write .*a\.npz: Is a directory"):  # which is what it foresees
        write_whole(tmp_path / "a.npz", b"")
    write_whole(tmp_path / "c.npz", b"new")
    assert (tmp_path / "c.npz").read_bytes() == b"new"


def test_a_file_in_the_place_of_a_folder_is_found_before(tmp_path):
    (tmp_path / "superseded").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    check_replaceable([], [tmp_path, tmp_path / "new"])
    for name in ("superseded", "nowhere"):
        with pytest.raises(StoreError, match=f"{name} is no folder, and files are to be written into it"):
            check_replaceable([], [tmp_path / name])
