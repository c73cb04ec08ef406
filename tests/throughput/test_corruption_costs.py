"""The page of what corruptions cost: ratios by hand, and what becomes of the records."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.records.json_file import load
from bench.throughput.corruptions import FOLDER, PAGE, CorruptionCosts, Timing, cells, render
from tests.environments import made_up_environment


def timing(name: str, ours: list[float], public: list[float], wall: float = 1.0) -> Timing:
    """Seconds by round; on the wall, so many times those of the processor."""
    by_clock = [{"processor": s, "wall": [wall * each for each in s]} for s in (ours, public)]
    return Timing(name, *by_clock)


@pytest.fixture
def record() -> CorruptionCosts:
    rows = [
        timing("fog", [1e-6, 2e-6, 4e-6], [8e-6, 24e-6, 40e-6], wall=2.0),  # 8, 12 and 10 times as fast
        timing("snow", [1e-6] * 3, [3e-6] * 3),
        timing("frost", [1e-6] * 3, [99e-6] * 3),
    ]
    environment = made_up_environment(device="CPU A (R) 1")
    return CorruptionCosts("pytest it", "theirs 1.0", "Images", 3, 1000, 100, rows, environment)


def test_ratios_are_of_the_times_of_one_round(record: CorruptionCosts) -> None:
    assert record.rows[0].ratio("processor") == record.rows[0].ratio("wall") == pytest.approx((9, 10, 11))
    assert record.median("wall") == pytest.approx(10)


def test_a_page_has_both_clocks_and_the_median_of_all(record: CorruptionCosts) -> None:
    assert cells(record)[0] == [
        *("fog", "2.00 [1.50, 3.00]", "24.0 [16.0, 32.0]", "10.0 [9.00, 11.0]"),
        *("4.00 [3.00, 6.00]", "48.0 [32.0, 64.0]", "10.0 [9.00, 11.0]"),
    ]
    assert cells(record)[-1] == ["median of all", "", "", "**10.0**", "", "", "**10.0**"]
    page = render([record])[PAGE]
    assert "## CPU A (R) 1" in page
    assert "Images: 1,000 in a batch and 100 one by one, severity 3, one thread, 3 rounds; public: theirs 1.0" in page
    assert "torch 2.0, 2026-01-02. `pytest it`" in page
    assert render([]) == {}


def test_a_record_is_read_as_it_was_and_replaces_that_of_its_device(record: CorruptionCosts, tmp_path: Path) -> None:
    assert record.save(tmp_path).name == "cpu-a-r-1.json"
    replace(record, severity=4).save(tmp_path)
    assert load(tmp_path, CorruptionCosts) == ([replace(record, severity=4)], {})


def test_the_leaderboard_writes_checks_and_distrusts(record: CorruptionCosts, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    path = record.save(tmp_path / FOLDER)
    words = ["leaderboard", "--out", str(tmp_path)]
    assert CliRunner().invoke(main, words).stdout == f"{tmp_path / PAGE}\n{tmp_path / 'README.md'}\n"
    assert (tmp_path / PAGE).read_text() == render([record])[PAGE]
    assert CliRunner().invoke(main, [*words, "--check"]).exit_code == 0
    path.write_text(path.read_text().replace('"severity": 3', '"severity": 1'))
    changed = CliRunner().invoke(main, [*words, "--check"])
    assert changed.exit_code == 1
    assert "skipped the record" in changed.stderr and "changed by hand" in changed.stderr
