"""What a run leaves in junit-xml: properties on its test, the failure text, and a file of its own for each role."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_disagg.plugin.terminal import PROPERTY_PREFIX

if TYPE_CHECKING:
    from pytest_disagg.rundir.outcome import Outcome


class CaseFailed(AssertionError):
    """A red run; its text starts with the cause. ``excuse`` is the quarantine that keeps it from failing the test."""

    def __init__(self, text: str, excuse: str = "") -> None:
        super().__init__(text)
        self.excuse = excuse


@dataclass(frozen=True)
class Crash:
    """What pytest's short summary and junit's ``message`` show."""

    message: str

    def __str__(self) -> str:
        return self.message


class CauseRepr:
    """A failure shown as its text, without a traceback: the cause is not in our stack frames."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.reprcrash = Crash(text.partition("\n")[0])

    def __str__(self) -> str:
        return self.text

    def toterminal(self, writer: Any) -> None:
        for line in self.text.splitlines():
            writer.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, CaseFailed):
        report.longrepr = CauseRepr(str(call.excinfo.value))  # type: ignore[assignment]
        if call.excinfo.value.excuse and not item.config.getoption("runxfail"):
            # As pytest.xfail does, which would lose what was red.
            report.outcome = "skipped"
            report.wasxfail = f"reason: {call.excinfo.value.excuse}"
    return report


def add_properties(item: pytest.Item, values: dict[str, object]) -> None:
    """Append to the item's own list, redacted: a report's copy would be lost."""
    from pytest_disagg.redact import redact

    item.user_properties.extend((f"{PROPERTY_PREFIX}{name}", redact(str(value))) for name, value in values.items())


def outcome_properties(outcome: Outcome) -> dict[str, object]:
    """Verdict, kind of failure, identity, GPU-hours and every metric (``<point>.<metric>``) of a run."""
    from pytest_disagg.records.gpu_hours import PREFIX

    values: dict[str, object] = {
        "case": outcome.case,
        "verdict": outcome.verdict,
        "kind": outcome.kind or "",
        "run_id": outcome.run_id,
        **outcome.properties,
        "points": " ".join(outcome.metrics),
        "records": outcome.records,
        "quarantine": outcome.quarantine,
        "red": outcome.red[0].partition("\n")[0] if outcome.red else "",
        "lines": "\n".join(outcome.lines),
        **{f"{PREFIX}{name}": f"{value:.6g}" for name, value in outcome.gpu_hours.items()},
    }
    for point, metrics in outcome.metrics.items():
        values[f"{point}.verdict"] = outcome.words.get(point, outcome.verdict)
        for name, value in metrics.items():
            values[f"{point}.{name}"] = f"{value:.6g}" if isinstance(value, float) else value
    return values


def failure_text(outcome: Outcome) -> str:
    """The cause first, then whatever else makes the run red, then the evidence."""
    lines = list(outcome.red) or [f"{outcome.kind or 'infrastructure'}: run {outcome.run_id} ended without a reason"]
    if outcome.cause is not None:
        lines += [f"    {line}" for line in outcome.cause.evidence if line not in lines]
    return "\n".join([*lines, f"run {outcome.run_id}", *outcome.lines])


def own_file(config: pytest.Config, role: str, rank: str) -> None:
    """Let this process write ``<stem>[.<ROLE>][.<rank>].xml`` beside the file that was asked for.

    pytest's junit plugin registers its writer without a name; it is known by what it has to have, a ``logfile``.
    """
    for plugin in config.pluginmanager.get_plugins():
        writer: Any = plugin
        if type(plugin).__name__ == "LogXML" and hasattr(plugin, "logfile"):
            path = Path(writer.logfile)
            if path.stem == role:
                continue  # A launcher of ours asked for a file of this role's own.
            name = ".".join(part for part in (path.stem, role, rank) if part)
            writer.logfile = str(path.with_name(f"{name}{path.suffix}"))
