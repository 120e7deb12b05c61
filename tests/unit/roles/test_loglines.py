"""Logs: what counts as news, and what a person is shown of one."""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.roles.loglines import LOOK_BYTES, FreshLines, last_lines


def add(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_line_is_news_once_and_numbers_alone_do_not_make_it_new(tmp_path: Path) -> None:
    log = tmp_path / "GEN_0.log"
    add(log, "what was there before is no news\n")
    lines = FreshLines([log, tmp_path / "missing.log"])
    assert not lines.look()
    add(log, "waiting for rank 3, 10 s\n")
    assert lines.look()
    assert not lines.look()
    add(log, "waiting for rank 3, 20 s\nwaiting for rank 3, 30 s\n")
    assert not lines.look()
    add(log, "waiting for a lock\n")
    assert lines.look()


def test_an_iteration_is_progress_as_often_as_its_count_grows(tmp_path: Path) -> None:
    log = tmp_path / "GEN_0.log"
    log.touch()
    lines = FreshLines([log])
    lines.look()
    for iteration in (1, 2):
        add(log, f"iter = {iteration}, host_step_time = 5 ms\n")
        assert lines.look()
    add(log, "iter = 2, host_step_time = 5 ms\n")
    assert not lines.look()


def test_a_flood_and_a_log_that_was_cut_do_no_harm(tmp_path: Path) -> None:
    log = tmp_path / "GEN_0.log"
    log.touch()
    lines = FreshLines([log])
    lines.look()
    add(log, "x" * (3 * LOOK_BYTES) + "\nnews\n")
    assert lines.look()
    log.write_text("short\n")
    assert not lines.look()
    add(log, "fresh\n")
    assert lines.look()


def test_the_end_of_a_log_comes_with_the_earlier_lines_that_name_an_error(tmp_path: Path) -> None:
    log = tmp_path / "GEN_0.log"
    add(log, "start\ntorch.OutOfMemoryError: CUDA out of memory\n" + "rank 1 leaves\n" * 30)
    shown = last_lines(log, 20)
    assert shown[:2] == [
        "earlier lines of GEN_0.log that name an error:",
        "torch.OutOfMemoryError: CUDA out of memory",
    ]
    assert shown[2] == "last 20 lines of GEN_0.log:"
    assert shown[3:] == ["rank 1 leaves"] * 20


def test_nothing_is_put_above_the_end_of_a_log_without_errors(tmp_path: Path) -> None:
    log = tmp_path / "GEN_0.log"
    add(log, "a\nb\n")
    assert last_lines(log, 20) == ["last 20 lines of GEN_0.log:", "a", "b"]
