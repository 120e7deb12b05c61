"""The one junit file of a command: a test for each task in their order, also for those that were never started."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from pytest_disagg.launch.slurm.campaign import Ending
from pytest_disagg.launch.slurm.junit import NOT_XML, count, merge, minimal, read_suites, set_properties
from pytest_disagg.redact import redact

XFAIL, SKIP = "pytest.xfail", "pytest.skip"
"""What pytest's own junit files have as the type of a skipped test."""


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
            _add(case, "error", ending.cause, ending.kind or ending.verdict, _text(ending))
        elif ending.verdict != "xfailed":
            _add(case, "skipped", ending.cause, SKIP)
    markers = ending.task.markers
    cases = list(root.iter("testcase"))
    red = [case for case in cases if _failures(case)]
    if ending.verdict == "xfailed":
        for case in red or cases[:1]:
            _expect_failure(case, markers.xfail or "", _text(ending))
    elif ending.verdict == "xpassed" and ending.code:
        _add(cases[0], "failure", f"[XPASS(strict)] {markers.xfail}", "", ending.cause)
    for case in cases:
        listed = {"disagg_list_line": ending.task.where, "disagg_unstable": markers.unstable or ""}
        set_properties(case, {name: redact(value) for name, value in listed.items()})
    count(root)
    return root


def _expect_failure(case: Element, reason: str, text: str) -> None:
    """What was wrong becomes the text of an expected failure."""
    parts = _failures(case)
    texts = [part.text or part.get("message") or "" for part in parts]
    for part in parts:
        case.remove(part)
    _add(case, "skipped", reason, XFAIL, "\n".join(filter(None, texts)) or text)


def _failures(case: Element) -> list[Element]:
    return [part for tag in ("failure", "error") for part in case.findall(tag)]


def _text(ending: Ending) -> str:
    return "\n".join(ending.result.red) if ending.result is not None and ending.result.red else ending.cause


def _add(case: Element, tag: str, message: str, kind: str, text: str = "") -> None:
    attributes = {"message": redact(message.partition("\n")[0]).translate(NOT_XML)}
    part = SubElement(case, tag, {**attributes, **({"type": kind} if kind else {})})
    part.text = redact(text).translate(NOT_XML) or None
