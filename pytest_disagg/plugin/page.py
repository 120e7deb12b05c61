"""The session's HTML page: written when all cases are played, named below the table. Silent without our cases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_disagg.plugin.cases import ROLE_VARIABLE
from pytest_disagg.plugin.terminal import PROPERTY_PREFIX

if TYPE_CHECKING:
    from pytest_disagg.plugin.values import Resolved
    from pytest_disagg.report.model import CaseReport


class Page:
    """Collects what was played. Registered at every start; does nothing until a case of ours shows up."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._played: list[tuple[dict[str, str], str]] = []
        self._line = ""

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a case's properties, and its text where it is red (under xdist it comes from another process)."""
        if report.when != "call":
            return
        found = {
            str(name).removeprefix(PROPERTY_PREFIX): str(value)
            for name, value in report.user_properties
            if str(name).startswith(PROPERTY_PREFIX)
        }
        if "verdict" in found:
            self._played.append((found, report.longreprtext if report.failed else ""))

    def pytest_sessionfinish(self) -> None:
        if not self._played or hasattr(self._config, "workerinput"):
            return
        from pytest_disagg.errors import told
        from pytest_disagg.plugin.values import NO_PAGE, resolved

        values = resolved(self._config)
        # A role holds its deployment's nodes: nothing is drawn there unless somebody asked for it.
        if values.html == NO_PAGE or (values.html is None and os.environ.get(ROLE_VARIABLE)):
            return
        try:
            self._line = f"report: {self._write(values)}"
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the page, the verdict stands and is reported
            self._line = f"no report page: {told(error)}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Where the page is, below the table."""
        if self._line:
            from pytest_disagg.redact import redact

            terminalreporter.write_line(redact(self._line))

    def _write(self, values: Resolved) -> Path:
        from pytest_disagg.report import make
        from pytest_disagg.rundir.layout import RunDir

        folders: list[Path] = []
        others: list[CaseReport] = []
        for found, text in self._played:
            folder = RunDir.of(values.work_dir, found.get("run_id") or "-", found.get("case", "")).path
            if folder.is_dir():
                folders.append(folder)
            else:
                others.append(_without_run(found, text))
        first = folders[0].parent if folders else values.work_dir
        path = values.html or first / make.FILE_NAME
        make.write_html(path, make.read(list(dict.fromkeys(folders)), values.history, others=others))
        return path


def _without_run(found: dict[str, str], text: str) -> CaseReport:
    """A case that never became a run: its file, an option or the environment could not be used."""
    from pytest_disagg.redact import redact
    from pytest_disagg.report.model import CaseReport

    return CaseReport(
        case=found.get("case", ""),
        run_id=found.get("run_id", ""),
        verdict=found["verdict"],
        kind=found.get("kind", ""),
        red=tuple(redact(text).splitlines()),
    )
