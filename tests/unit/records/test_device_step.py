"""Device step times: which rows count, which batch size is chosen, where a segment begins and ends."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

import pytest

from pytest_disagg.records import device_step
from pytest_disagg.records.device_step import DeviceStepError, IterationLog, parse
from pytest_disagg.records.metrics import METRICS

MEAN = "mean_gen_worker_per_iter_device_step_time"


def row(
    iteration: int, time_ms: str, tokens: int | None = 8, *, scheduled: int | None = 8, rank: int | None = 0
) -> str:
    text = "[I] "
    text += f"iter = {iteration}, " + (f"global_rank = {rank}, rank = 0, " if rank is not None else "")
    text += f"host_step_time = 1.0 ms, prev_device_step_time = {time_ms} ms, "
    text += f"num_scheduled_requests = {scheduled}, " if scheduled is not None else ""
    text += f"states = {{'num_ctx_requests': 0, 'num_generation_tokens': {tokens}}}" if tokens is not None else ""
    return text + "\n"


def log(path: Path, *rows: str) -> IterationLog:
    path.write_text("".join(rows))
    return IterationLog(path)


def test_statistics_of_one_file(tmp_path: Path) -> None:
    times = [4.0, 5.0, 6.0, 7.0, 20.0]
    steps = parse([log(tmp_path / "g", *(row(5 + i, f"{time}") for i, time in enumerate(times)))])
    expected = {"mean": 8.4, "median": 6.0, "std": stdev(times), "p75": 7.0, "p99": 19.48}
    found = steps.metrics()
    assert {name: found[f"{name}_gen_worker_per_iter_device_step_time"] for name in expected} == pytest.approx(expected)
    assert set(found) <= set(METRICS)


def test_the_first_iterations_are_warm_up(tmp_path: Path) -> None:
    steps = parse([log(tmp_path / "g", row(3, "99"), row(4, "99"), row(5, "4"), row(6, "6"))])
    assert steps.files[0].times_ms == (4.0, 6.0)
    assert steps.files[0].rows == 4


def test_a_row_after_an_idle_iteration_of_its_rank_is_left_out(tmp_path: Path) -> None:
    rows = [
        row(5, "4"),
        row(6, "4", scheduled=0),
        row(6, "5", scheduled=3, rank=1),
        row(7, "90"),  # the time of iteration 6, which scheduled nothing
        row(7, "5", rank=1),  # another rank, whose iteration 6 did work
        row(8, "4"),
        row(9, "4", scheduled=0),
        row(11, "6"),  # its predecessor is not there
    ]
    steps = parse([log(tmp_path / "g", *rows)])
    assert 90.0 not in steps.files[0].times_ms
    assert steps.files[0].used == 7


def test_the_commonest_batch_size_is_chosen_the_larger_of_two(tmp_path: Path) -> None:
    rows = [row(5, "1", 4), row(6, "2", 16), row(7, "3", 16), row(8, "4", 4), row(9, "5", None), row(10, "9", 2)]
    steps = parse([log(tmp_path / "g", *rows)])
    assert steps.files[0].tokens == 16
    assert steps.files[0].times_ms == (2.0, 3.0)
    more = parse([log(tmp_path / "g", *rows, row(11, "6", 4))])
    assert more.files[0].times_ms == (1.0, 4.0, 6.0)


def test_without_token_counts_every_row_counts(tmp_path: Path) -> None:
    steps = parse([log(tmp_path / "g", row(5, "1", None), row(6, "3", None))])
    assert steps.files[0].tokens is None
    assert steps.metrics()[MEAN] == 2.0


def test_files_weigh_the_same(tmp_path: Path) -> None:
    one = log(tmp_path / "0", row(5, "10"))
    many = log(tmp_path / "1", *(row(5 + i, "20") for i in range(9)))
    found = parse([one, many]).metrics()
    assert found[MEAN] == fmean([10, 20])
    assert found["std_gen_worker_per_iter_device_step_time"] == 0


def test_a_segment_ends_where_the_next_load_begins(tmp_path: Path) -> None:
    path = tmp_path / "g"
    first, second = row(5, "4") + row(6, "4"), row(7, "40") + row(8, "40")
    path.write_text(first + second)
    middle = len(first)
    assert parse([IterationLog(path, 0, middle)]).metrics()[MEAN] == 4.0
    assert parse([IterationLog(path, middle)]).metrics()[MEAN] == 40.0
    assert parse([IterationLog(path, 0, middle + 30)]).files[0].used == 2, "half a line is no row"


def test_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_step, "MAX_ROWS", 3)
    steps = parse([log(tmp_path / "g", *(row(5 + i, str(i)) for i in range(9)))])
    assert steps.files[0].times_ms == (0.0, 1.0, 2.0)


def test_bytes_that_are_no_text_and_numbers_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "g"
    path.write_bytes(b"\xff\xfe broken\n" + row(5, "1.2.3").encode() + b"\xff " + row(6, "4").encode())
    assert parse([IterationLog(path)]).files[0].times_ms == (4.0,)


def test_an_idle_server_is_named(tmp_path: Path) -> None:
    busy, idle = log(tmp_path / "0", row(5, "4")), log(tmp_path / "1", "no rows\n")
    steps = parse([busy, idle])
    assert steps.empty == (tmp_path / "1",)
    assert steps.metrics()[MEAN] == 4.0


def test_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceStepError, match=r"g1 is not there, expected the log of a GEN server"):
        parse([log(tmp_path / "g0", row(5, "4")), IterationLog(tmp_path / "g1")])


def test_no_row_anywhere_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(DeviceStepError, match=r"found 1 rows.*none usable.*g bytes 0 to end; .*print_iter_log: true"):
        parse([log(tmp_path / "g", row(2, "4"))])


def test_a_log_that_was_cut_is_an_error(tmp_path: Path) -> None:
    path = log(tmp_path / "g", row(5, "4")).path
    with pytest.raises(DeviceStepError, match="expected at least 10000"):
        parse([IterationLog(path, 10_000)])
    with pytest.raises(DeviceStepError, match="no GEN log was named"):
        parse([])
