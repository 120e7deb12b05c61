"""A minimal junit file for a pytest that never started or was killed: without one, the job would just lack a result."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from pytest_disagg.wrapper.files import write_text
from pytest_disagg.wrapper.redaction import redact
from pytest_disagg.wrapper.step import OWNERS, Step

_OPTIONS = ("--junitxml", "--junit-xml", "--periodic-junit-xmlpath")
_IN_TEXT = re.compile(rf"""(?:{"|".join(_OPTIONS)})(?:=|\s+)(?:"([^"]+)"|'([^']+)'|([^\s'";|&<>()]+))""")
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TEST_ID = re.compile(r"(?P<file>[^\s'\"]+?)\.py::(?P<name>[^\s'\"]+\[[^\]]*\]|[^\s'\"]+)")


def path_in_words(argv: Sequence[str]) -> Path | None:
    """The junit file that the words of a pytest command ask for; the last one counts, as in pytest."""
    found: Path | None = None
    for at, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option in _OPTIONS:
            value = value if equals else argv[at + 1] if at + 1 < len(argv) else ""
            found = Path(value) if value else found
    return found


def path_in_text(text: str) -> Path | None:
    """The same for command text that cannot be interpreted; None where the path has a variable or a placeholder."""
    found = ["".join(groups) for groups in _IN_TEXT.findall(text)]
    known = [path for path in found if "$" not in path and "__PLACEHOLDER_" not in path]
    return Path(known[-1]) if known else None


class Junit:
    """The junit files that this task may write, and whether pytest has written one since this object was made."""

    def __init__(self, step: Step, cwd: Path, asked: Path | None) -> None:
        self._step = step
        if asked is None and step.run_dir is not None and step.role:
            asked = step.run_dir / "junit" / f"{step.role}.xml"
        self._asked = None if asked is None else cwd / asked
        self._before = {path: _stamp(path) for path in self._candidates()}

    def _own(self, path: Path) -> Path:
        """Only BENCHMARK and an aggregated rank 0 own the file asked for; others write beside it, as our plugin."""
        rank = f".{self._step.rank}" if self._step.rank else ""
        if self._step.role in OWNERS:
            return path.with_name(f"{path.stem}{rank}{path.suffix}")
        if path.stem == self._step.role and not rank:
            return path
        role = "" if path.stem == self._step.role else f".{self._step.role}"
        return path.with_name(f"{path.stem}{role}{rank}{path.suffix}")

    def _candidates(self) -> list[Path]:
        return [] if self._asked is None else [self._asked, self._own(self._asked)]

    @property
    def written(self) -> bool:
        """Whether pytest has written a whole report since."""
        return any(_stamp(path) != self._before[path] and _is_whole(path) for path in self._candidates())

    def write_error(self, message: str, details: str, environ: Mapping[str, str]) -> Path | None:
        """Write one test case with one error; the path, None where no junit file is known.

        A report that is there already, from this run (a periodic one) or another, is left alone: the error goes beside
        it into ``<stem>.killed.xml``.
        """
        if self._asked is None:
            return None
        path = self._own(self._asked)
        if path.exists():
            path = path.with_name(f"{path.stem}.killed{path.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, document(self._step, message, details, environ.get("pytestCommand", "")))
        return path


def document(step: Step, message: str, details: str, command: str) -> str:
    """A junit report of one test case named after the test id in ``command``, with one ``<error>``."""
    found = _TEST_ID.search(command)
    stage = step.role or "aggregated"
    classname = found.group("file").replace("/", ".").lstrip(".") if found else "slurm_run"
    name = found.group("name") if found else stage
    suites = ElementTree.Element("testsuites")
    attributes = {"name": "slurm_run", "tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": "0"}
    attributes["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%S")
    attributes["hostname"] = step.node
    suite = ElementTree.SubElement(suites, "testsuite", attributes)
    case = ElementTree.SubElement(suite, "testcase", {"classname": classname, "name": _clean(name), "time": "0"})
    properties = ElementTree.SubElement(case, "properties")
    for key, value in (("kind", "infrastructure"), ("role", step.role), ("rank", str(step.rank)), ("job", step.job)):
        ElementTree.SubElement(properties, "property", {"name": key, "value": value})
    title = _clean(f"infrastructure: {stage} rank {step.rank} on node {step.node}: {message}")
    error = ElementTree.SubElement(case, "error", {"message": title, "type": "infrastructure"})
    error.text = _clean(f"{title}\n{details}")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """``text`` redacted and without the characters that XML cannot hold."""
    return _NOT_XML.sub("?", redact(text))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_whole(path: Path) -> bool:
    try:
        ElementTree.parse(str(path))
    except (OSError, ElementTree.ParseError):
        return False
    return True
