"""What the log of a load generator says of its load while it grows."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.clients.tool.run import Watch

POINT = LoadPoint(concurrency=4, num_prompts=32, isl=8, osl=8, model="m")


def watch(log: Path) -> Watch:
    return Watch(log, re.compile(r"^Maximum request concurrency:", re.MULTILINE), POINT)


def test_a_log_that_is_not_there_yet_is_a_start(tmp_path: Path) -> None:
    seen = watch(tmp_path / "log").look()
    assert (seen.starting, seen.completed, seen.in_flight, seen.total) == (True, 0, 0, 32)


def test_lines_and_bars_are_read_whole_however_they_come(tmp_path: Path) -> None:
    log = tmp_path / "log"
    looking = watch(log)
    with log.open("w", encoding="utf-8") as file:
        for text, starting, completed in (
            ("Loading a tokenizer\nMaximum request con", True, 0),
            ("currency: 4\n", False, 0),
            # Of something else than its requests.
            ("prompts: 100%|█████| 7/7 [00:01<00:00]\n", False, 0),
            ("  9%|▉    | 3/32 [00:00<00:09]\r 38%|███▊  | 12/3", False, 3),
            ("2 [00:02<00:03]\r", False, 12),
        ):
            file.write(text)
            file.flush()
            seen = looking.look()
            assert (seen.starting, seen.completed) == (starting, completed), text
    assert seen.in_flight == 4


def test_no_more_are_in_flight_than_are_left(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Maximum request concurrency: 4\n30/32 |#########| 94% [00:02<00:00]\n")
    assert watch(log).look().in_flight == 2


def test_a_log_that_was_cut_is_read_from_its_end(tmp_path: Path) -> None:
    """The guard of a child keeps the head and the tail of a log that grows too long."""
    log = tmp_path / "log"
    looking = watch(log)
    log.write_text("Maximum request concurrency: 4\n" + "x\n" * 100)
    looking.look()
    log.write_text("  9%|9    | 3/32 [00:00<00:09]\n")
    assert looking.look().completed == 3
