"""The run's one junit file: BENCHMARK's own, with the cause that only the job knows, or one made here."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.redact import redact
from pytest_disagg.rundir.files import write_text

XFAIL, SKIP = "pytest.xfail", "pytest.skip"
"""What pytest's own junit files have as the type of a skipped test."""
NOT_XML = dict.fromkeys([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0xFFFE, 0xFFFF], "?")


def write_junit(path: Path, benchmark: Path, test: str, result: JobResult, evidence: Sequence[str]) -> None:
    """Write ``path``: the file ``benchmark`` as pytest wrote it where it says what ``result`` says, else corrected.

    ``test`` is the node id (``tests/perf/test_x.py::test_e2e[...]``) of a file that pytest did not write.
    """
    root = read_suites(benchmark)
    if root is None:
        root = minimal(test)
    case = next(root.iter("testcase"))
    if result.red and not _says(case, result.headline):
        _fail(case, result, evidence)
    if result.red and result.excused:
        expect_failure(case, result.quarantine, "\n".join(result.red))
    said = {"job_id": result.job_id, "run_id": result.run_id, "nodes": result.nodes, "quarantine": result.quarantine}
    set_properties(case, {f"disagg_{name}": value for name, value in said.items()})
    count(root)
    write_text(path, redact(text_of(root)))


def text_of(root: Element) -> str:
    """The file's text."""
    ElementTree.indent(root)
    out = io.StringIO()
    ElementTree.ElementTree(root).write(out, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{out.getvalue()}\n'


def read_suites(path: Path) -> Element | None:
    """What pytest wrote; None where it wrote nothing that holds a test."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    return root if root.find(".//testcase") is not None else None


def minimal(test: str) -> Element:
    """A file with one green test, by its node id."""
    file, _, name = test.partition("::")
    root = Element("testsuites")
    suite = SubElement(
        root, "testsuite", {"name": "pytest", "errors": "0", "failures": "0", "skipped": "0", "tests": "1"}
    )
    SubElement(suite, "testcase", {"classname": file.removesuffix(".py").replace("/", "."), "name": name, "time": "0"})
    return root


def expect_failure(case: Element, reason: str, text: str) -> None:
    """What was wrong becomes the text of an expected failure, ``text`` where the file does not say."""
    parts = [part for tag in ("failure", "error", "skipped") for part in case.findall(tag)]
    texts = [part.text or (part.get("message") if part.tag != "skipped" else "") or "" for part in parts]
    for part in parts:
        case.remove(part)
    add(case, "skipped", reason, XFAIL, "\n".join(filter(None, texts)) or text)


def add(case: Element, tag: str, message: str, kind: str, text: str = "") -> None:
    """Add how a test ended."""
    attributes = {"message": redact(message.partition("\n")[0]).translate(NOT_XML)}
    part = SubElement(case, tag, {**attributes, **({"type": kind} if kind else {})})
    part.text = redact(text).translate(NOT_XML) or None


def _says(case: Element, headline: str) -> bool:
    return any((failure.text or "").startswith(headline) for failure in case.findall("failure"))


def _fail(case: Element, result: JobResult, evidence: Sequence[str]) -> None:
    """Put the cause first; what pytest itself said stays below it."""
    before = [part.text or part.get("message") or "" for tag in ("failure", "error") for part in case.findall(tag)]
    for tag in ("failure", "error", "skipped"):
        for part in case.findall(tag):
            case.remove(part)
    lines = [*result.red, *(f"    {line}" for line in evidence)]
    text = "\n".join([*lines, *(["", "pytest said:", *before] if any(before) else [])])
    failure = Element("failure", {"message": result.headline.translate(NOT_XML)})
    failure.text = text.translate(NOT_XML)
    at = next((i + 1 for i, part in enumerate(case) if part.tag == "properties"), 0)
    case.insert(at, failure)
    set_properties(case, {"disagg_verdict": result.verdict, "disagg_kind": result.kind or ""})


def set_properties(case: Element, values: Mapping[str, str]) -> None:
    """Set properties of a test; an empty value makes none."""
    block = case.find("properties")
    if block is None:
        block = Element("properties")
        case.insert(0, block)
    known = {each.get("name"): each for each in block}
    for name, value in values.items():
        if name in known:
            known[name].set("value", value)
        elif value:
            SubElement(block, "property", {"name": name, "value": value.translate(NOT_XML)})


def count(root: Element) -> None:
    """Make the numbers of every suite those of its tests."""
    for suite in root.iter("testsuite"):
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))


def merge(path: Path, parts: Sequence[Path | Element]) -> None:
    """Write one junit file with the suites of ``parts``, files or what was made of them.

    A file that is missing or broken is an error case of its own.
    """
    merged = Element("testsuites", {"name": "disagg"})
    for part in parts:
        merged.extend((part if isinstance(part, Element) else _suites(part)).iter("testsuite"))
    write_text(path, text_of(merged))


def _suites(path: Path) -> Element:
    root = read_suites(path)
    if root is None:
        root = minimal(f"{path.parent.name}::junit")
        failure = SubElement(next(root.iter("testcase")), "failure", {"message": f"{path} cannot be read"})
        failure.text = f"infrastructure: {path} is missing or is no junit file"
        count(root)
    return root
