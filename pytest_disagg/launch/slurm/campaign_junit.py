"""The one junit file of a command: a test for each task in their order, also for those that were never started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from pytest_disagg.launch.slurm.campaign import Ending
from pytest_disagg.launch.slurm.junit import (
    SKIP,
    add,
    count,
    expect_failure,
    merge,
    minimal,
    read_suites,
    set_properties,
)
from pytest_disagg.redact import redact


def write_endings(path: Path, endings: Sequence[Ending]) -> None:
    """Write the file, and its folder where that is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    merge(path, [suites_of(ending) for ending in endings])


def suites_of(ending: Ending) -> Element:
    """The suites of one task: what its job wrote, as its markers want it shown, else one made here."""
    root = read_suites(Path(ending.result.junit)) if ending.result is not None and ending.result.junit else None
    if root is None:
        root = minimal(ending.task.test)
        case = next(root.iter("testcase"))
        if ending.code:
            add(case, "error", ending.cause, ending.kind or ending.verdict, _text(ending))
        elif ending.verdict != "xfailed":
            add(case, "skipped", ending.cause, SKIP)
    markers = ending.task.markers
    cases = list(root.iter("testcase"))
    red = [case for case in cases if _failures(case)]
    if ending.verdict == "xfailed":
        for case in red or cases[:1]:
            expect_failure(case, markers.xfail or "", _text(ending))
    elif ending.verdict == "xpassed" and ending.code:
        add(cases[0], "failure", f"[XPASS(strict)] {markers.xfail}", "", ending.cause)
    for case in cases:
        listed = {"disagg_list_line": ending.task.where, "disagg_unstable": markers.unstable or ""}
        set_properties(case, {name: redact(value) for name, value in listed.items()})
    count(root)
    return root


def _failures(case: Element) -> list[Element]:
    return [part for tag in ("failure", "error") for part in case.findall(tag)]


def _text(ending: Ending) -> str:
    return "\n".join(ending.result.red) if ending.result is not None and ending.result.red else ending.cause
