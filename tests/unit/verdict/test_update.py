"""Updating a baseline changes the values and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.verdict.baseline import load
from pytest_disagg.verdict.judge import judge
from pytest_disagg.verdict.update import number, update, write

Record = dict[str, str | int | float | bool]


def record(concurrency: int, throughput: float, **fields: str | float | bool) -> Record:
    return {
        "s_case_id": "c",
        "l_concurrency": concurrency,
        "s_benchmark_mode": "e2e",
        "s_model_name": "m",
        "d_token_throughput": throughput,
        "d_median_e2el": 1.5,
        **fields,
    }


def test_only_values_change(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    before = '# first\r\ntest_name, throughput ,latency\r\n\r\n"other,x",5,6\r\n"c/con8" , 100 ,"1.5"\r\n# last'
    path.write_bytes(before.encode())
    change = update(path, [record(8, 123.45678)])
    assert change.after == before.replace(" 100 ", " 123.457 ")
    assert change.before == before
    assert path.read_bytes() == before.encode(), "nothing is written yet"


def test_points_without_a_row_come_last(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text("test_name,throughput,latency\r\nc/con8,100,1.5")
    change = update(path, [record(16, 7.0), record(8, 100.0)])
    assert change.after == "test_name,throughput,latency\nc/con8,100,1.5\nc/con16,7,1.5\n".replace("\n", "\r\n")


def test_a_new_file_judges_its_own_records_as_passed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "b.csv"
    gates = {"d_total_token_throughput": 9.0, "d_median_ttft": 2.0, "d_median_tpot": 0.25, "b_eos": True, "d_al": 2.5}
    records = [record(8, 100.0, **gates)]
    for form in ("wide", "long"):
        write(path, update(path, records, form=form).after)
        judged = judge(load(path), records)
        assert judged.word == "pass"
        assert judged.notes == ()
        assert len(judged.verdicts) == {"wide": 2, "long": 5}[form]
        path.unlink()


def test_rows_of_the_long_form(tmp_path: Path) -> None:
    change = update(tmp_path / "b.csv", [record(8, 100.0, d_median_ttft=2.0)], form="long", threshold=0.2)
    assert change.after.splitlines()[1:] == [
        "m,c/con8/token_throughput,test_e2e[c]/con8,-0.2,0,TOKEN_THROUGHPUT,100",
        "m,c/con8/median_ttft,test_e2e[c]/con8,0.2,0,MEDIAN_TTFT,2",
    ]


def test_gen_only_has_no_throughput(tmp_path: Path) -> None:
    step = {"d_mean_gen_worker_per_iter_device_step_time": 8.4}
    change = update(tmp_path / "b.csv", [record(8, 100.0, **step, s_benchmark_mode="gen_only")])
    assert change.after == "test_name,throughput,latency\nc/con8,,8.4\n"


def test_invalid_measurements_and_rehearsals_are_no_baseline(tmp_path: Path) -> None:
    records = [record(8, 1.0, b_is_valid=False), record(4, 1.0, b_rehearsal=True)]
    change = update(tmp_path / "b.csv", records)
    assert change.after == change.before == ""
    assert change.used == 0
    assert change.notes == ("1 records of rehearsals are not used", "c/con8 did not pass the gate and is not used")


def test_a_broken_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text("test_name,throughput,latency\nc,x,1\n")
    with pytest.raises(ConfigError, match=r"b\.csv:2: throughput"):
        update(path, [record(8, 1.0)])


def test_the_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, link = tmp_path / "real.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640

    def fail(descriptor: int) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk is full"):
        write(link, "newer")
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "real.csv"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.00012345678, "0.000123457"), (5.0, "5"), (1234567.8912, "1234567.891")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
