"""Claims: of several processes exactly one gets a run, whatever happened to the one before."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.records.processes import Process
from bench.records.sidecar import sidecar_path, sidecars_of
from bench.store import claims as module
from bench.store.claims import Claims
from bench.store.results import ResultStore

RECORD = "digits.erm.0.0123456789ab.json"
BASE = "digits.erm.0.0123456789ab.claim"
TOKEN = "0123456789abcdef"


def forged(folder: Path, process: Process, token: str = TOKEN, name: str = BASE, age: float = 0.0) -> Path:
    """A claim as that process writes it."""
    known = {"machine": process.machine, "pid": process.pid, "started": process.started, "token": token}
    path = folder / name
    path.write_text(json.dumps(known | {"host": "far", "time": "2026-01-01T00:00:00+00:00"}))
    os.utime(path, (0, time.time() - age))
    return path


@pytest.fixture(scope="module")
def dead() -> Process:
    """A process of this machine that has ended."""
    code = "from bench.records.processes import Process; print(Process.this().mark)"
    mark = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return Process.of_mark(mark.strip())


ELSEWHERE = Process("00000000", 1, "1")


def test_one_at_a_time_holds_a_run_and_nothing_is_left(tmp_path):
    with Claims(tmp_path) as one, Claims(tmp_path) as other:
        assert one.take(RECORD)
        assert not other.take(RECORD)
        assert str(other.holder(RECORD)).startswith(f"process {os.getpid()} on ")
        assert one.holder(RECORD) is None
        assert other.take(RECORD.replace(".0.", ".1."))
        one.release(RECORD)
        assert other.holder(RECORD) is None
        assert other.take(RECORD)
        assert [path.name for path in tmp_path.iterdir() if path.suffix != ".claim"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_claims_are_released_however_it_ends(tmp_path, error):
    def work() -> None:
        with Claims(tmp_path) as claims:
            claims.take(RECORD)
            raise error

    with pytest.raises(error):
        work()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_was_interrupted_while_it_was_taken_is_released(tmp_path, monkeypatch):
    link = os.link

    def interrupted(*names):
        link(*names)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt), Claims(tmp_path) as claims:
        claims.take(RECORD)
    assert list(tmp_path.iterdir()) == []


def test_the_claim_of_a_dead_process_is_taken_over_at_once(tmp_path, dead):
    forged(tmp_path, dead)
    with Claims(tmp_path) as claims:
        assert claims.holder(RECORD) is None
        assert claims.take(RECORD)
        with Claims(tmp_path) as other:
            assert not other.take(RECORD)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("age", "taken"), [(0.0, False), (200.0, False), (400.0, True)])
def test_that_of_another_machine_is_taken_over_when_it_was_not_touched_for_long(tmp_path, age, taken):
    forged(tmp_path, ELSEWHERE, age=age)
    with Claims(tmp_path) as claims:
        assert (claims.holder(RECORD) is None) == taken
        assert claims.take(RECORD) == taken


@pytest.mark.parametrize(("ahead", "taken"), [(200.0, False), (400.0, True), (10**9, True)])
def test_one_that_was_touched_in_the_future_holds_no_run_for_ever(tmp_path, ahead, taken):
    forged(tmp_path, ELSEWHERE, age=-ahead)
    with Claims(tmp_path) as claims:
        assert claims.take(RECORD) == taken


def test_where_the_time_is_not_known_nothing_is_stale(tmp_path, monkeypatch):
    forged(tmp_path, ELSEWHERE)
    claims = Claims(tmp_path)
    monkeypatch.setattr(module, "part_of", lambda path: tmp_path / "no folder" / "clock")
    assert claims.holder(RECORD) is not None


def test_one_who_took_over_and_died_is_taken_over_too(tmp_path, dead):
    forged(tmp_path, dead)
    forged(tmp_path, dead, "1" * 16, f"{BASE}.{TOKEN}")
    with Claims(tmp_path) as claims:
        assert claims.take(RECORD)
        assert len(list(tmp_path.iterdir())) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"token": "../../x"}'])
def test_a_damaged_claim_holds_a_run_until_it_is_old(tmp_path, content):
    (tmp_path / BASE).write_bytes(content)
    with Claims(tmp_path) as claims:
        assert not claims.take(RECORD)
        assert "whoever made" in str(claims.holder(RECORD))
        os.utime(tmp_path / BASE, (0, time.time() - 400))
        assert claims.take(RECORD)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_read_at_once_and_no_more_than_a_claim(tmp_path):
    os.mkfifo(tmp_path / BASE)
    (tmp_path / BASE.replace(".0.", ".1.")).symlink_to("/dev/zero")
    with Claims(tmp_path) as claims:
        assert not claims.take(RECORD)
        claims.take(RECORD.replace(".0.", ".1."))


def test_of_many_that_take_over_at_once_exactly_one_gets_it(tmp_path, dead):
    """Others come just as it is released again: at no time do two hold it."""
    holding, most, got = 0, 0, 0
    lock = threading.Lock()

    def work(start: threading.Barrier) -> None:
        nonlocal holding, most, got
        claims = Claims(tmp_path)
        start.wait()
        for _ in range(15):
            if claims.take(RECORD):
                with lock:
                    holding, got = holding + 1, got + 1
                    most = max(most, holding)
                time.sleep(0.001)
                with lock:
                    holding -= 1
                claims.release(RECORD)

    for _ in range(10):
        forged(tmp_path, dead)
        start = threading.Barrier(6)
        threads = [threading.Thread(target=work, args=(start,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(tmp_path.iterdir()) == []
    assert most == 1
    assert got >= 10


def _count(folder: str, records: int) -> list[int]:
    """What a worker gets: it takes the next run that nobody holds or has recorded."""
    own = []
    with Claims(Path(folder)) as claims:
        for number in range(records):
            record = f"toy.erm.{number}.0123456789ab.json"
            if claims.take(record):
                if not (Path(folder) / record).exists():
                    own.append(number)
                    (Path(folder) / record).touch()
                claims.release(record)
    return own


def test_processes_share_the_runs_and_make_each_once(tmp_path, dead):
    for number in range(0, 40, 2):
        forged(tmp_path, dead, name=f"toy.erm.{number}.0123456789ab.claim")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.starmap(_count, [(str(tmp_path), 40)] * 4, chunksize=1)
    assert sorted(number for own in made for number in own) == list(range(40))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_a_file_system_without_links_will_do(tmp_path, dead, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    forged(tmp_path, dead)
    with Claims(tmp_path) as one, Claims(tmp_path) as other:
        assert one.take(RECORD) and not other.take(RECORD)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_shows_that_its_process_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    with Claims(tmp_path) as claims:
        claims.take(RECORD)
        os.utime(tmp_path / BASE, (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / BASE).stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / BASE).stat().st_mtime < 60


def test_one_that_seemed_dead_leaves_the_run_to_its_successor(tmp_path):
    with Claims(tmp_path) as slept, Claims(tmp_path) as successor:
        assert slept.take(RECORD)
        os.utime(tmp_path / BASE, (0, time.time() - 400))
        assert successor.take(RECORD)
        slept.release(RECORD)
        with Claims(tmp_path) as third:
            assert not third.take(RECORD)
    assert list(tmp_path.iterdir()) == []


def test_claims_and_sidecars_of_dead_processes_are_removed_and_nothing_else(tmp_path, dead):
    """A sidecar is an orphan only where the claim shows that their process died: records may be renamed by hand."""
    other = RECORD.replace(".0.", ".1.")
    forged(tmp_path, dead)
    forged(tmp_path, dead, name=BASE.replace(".0.", ".1."))
    forged(tmp_path, dead, name=f"{BASE.replace('.0.', '.2.')}.{TOKEN}")
    sidecar_path(tmp_path / RECORD, "f" * 12).touch()
    sidecar_path(tmp_path / RECORD, "e" * 12).touch()
    kept = [tmp_path / other, sidecar_path(tmp_path / other, "f" * 12)]
    kept += [sidecar_path(tmp_path / "renamed.erm.3.0123456789ab.json", "f" * 12)]
    kept += [(tmp_path / RECORD).with_suffix(".npz")]  # of earlier versions, whose records may have been renamed
    kept += [tmp_path / "mine.claim", tmp_path / "mine.claim.1"]
    for path in kept:
        path.touch()
    kept.append(forged(tmp_path, ELSEWHERE, name=BASE.replace(".0.", ".4.")))
    with Claims(tmp_path) as claims:
        claims.remove_stale()
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_what_a_dead_process_left_beside_an_older_record_is_removed(tmp_path, dead, make_result):
    """Its sidecar stays, and all of them where it cannot be read which one is its own."""
    store = ResultStore(tmp_path)
    for seed in (0, 1):
        path = store.put(make_result(seed=seed))
        left = sidecar_path(path, "f" * 12)
        left.touch()
        if seed:
            path.write_text("half")
        kept = [*sidecars_of(path)] if seed else [one for one in sidecars_of(path) if one != left]
        forged(path.parent, dead, name=path.with_suffix(".claim").name)
        with Claims(tmp_path) as claims:
            claims.remove_stale()
        assert sidecars_of(path) == kept


def test_claims_lie_beside_their_records_in_the_folder_of_the_task(tmp_path, dead):
    folder = tmp_path / "class_fairness-v1" / "digits"
    with Claims(tmp_path) as claims:
        assert claims.take(f"class_fairness-v1/digits/{RECORD}")
        assert [path.name for path in folder.iterdir()] == [BASE]
        assert not Claims(tmp_path).take(f"class_fairness-v1/digits/{RECORD}")
    forged(folder, dead)
    sidecar_path(folder / RECORD, "f" * 12).touch()
    with Claims(tmp_path) as claims:
        claims.remove_stale()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("step", ["os.fsync", "os.link", "json.dump"])
def test_an_interrupt_while_a_claim_is_made_leaves_nothing(tmp_path, monkeypatch, step):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with Claims(tmp_path) as claims:
        monkeypatch.setattr(step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            claims.take("a.erm.0.0123456789ab.json")
    assert list(tmp_path.iterdir()) == []
