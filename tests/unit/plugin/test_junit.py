"""What a run leaves in junit-xml."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_disagg import redact
from pytest_disagg.plugin.junit import CauseRepr, add_properties, failure_text, outcome_properties, own_file
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure

CAUSE = Failure("GEN_0", "functional", "measure", "its server was killed by SIGKILL", evidence=("last line",))
RED = Outcome(
    run_id="r1",
    case="disagg-e2e-x",
    verdict="failed",
    kind="functional",
    cause=CAUSE,
    red=(CAUSE.headline(), "invalid: con8: nothing measured"),
    lines=("no baseline",),
)


def test_a_failure_begins_with_the_cause_and_ends_with_what_else_is_known() -> None:
    assert failure_text(RED).splitlines() == [
        "functional: GEN_0 failed in stage measure: its server was killed by SIGKILL",
        "invalid: con8: nothing measured",
        "    last line",
        "run r1",
        "no baseline",
    ]


def test_a_red_run_without_a_reason_still_has_a_kind() -> None:
    assert failure_text(Outcome("r1", "x", "invalid", kind="invalid")).startswith(
        "invalid: run r1 ended without a reason"
    )
    assert failure_text(Outcome("r1", "x", "failed")).startswith("infrastructure: ")


def test_the_message_is_the_first_line_and_the_text_is_all() -> None:
    shown = CauseRepr("first\nsecond")
    assert (shown.reprcrash.message, str(shown)) == ("first", "first\nsecond")


def test_properties_hold_verdict_identity_and_every_metric() -> None:
    outcome = Outcome(
        run_id="r1",
        case="x",
        verdict="pass",
        metrics={"con4": {"median_ttft": 12.34567891, "total_requests": 8}, "con8": {"median_ttft": 0.5}},
        words={"con8": "insufficient-history"},
        properties={"git_sha": "abc"},
    )
    found = outcome_properties(outcome)
    assert (found["verdict"], found["kind"], found["run_id"], found["git_sha"]) == ("pass", "", "r1", "abc")
    assert found["points"] == "con4 con8"
    assert (found["con4.median_ttft"], found["con4.total_requests"]) == ("12.3457", 8)
    assert (found["con4.verdict"], found["con8.verdict"]) == ("pass", "insufficient-history")


def test_properties_go_to_the_item_redacted() -> None:
    redact.register("opensesame-1234")
    item = SimpleNamespace(user_properties=[("before", "kept")])
    add_properties(cast(pytest.Item, item), {"url": "https://x/?q=opensesame-1234", "count": 3})
    (before, url, count) = item.user_properties
    assert (before, count) == (("before", "kept"), ("disagg_count", "3"))
    assert url[0] == "disagg_url"
    assert "opensesame" not in url[1]


class LogXML:
    """As pytest's junit writer looks from outside."""

    def __init__(self, logfile: str) -> None:
        self.logfile = logfile


@pytest.mark.parametrize(
    ("role", "rank", "name"),
    [
        ("GEN_0", "", "r.GEN_0.xml"),
        ("CTX_1", "3", "r.CTX_1.3.xml"),
        ("", "2", "r.2.xml"),
    ],
)
def test_a_process_writes_beside_the_file_that_was_asked_for(role: str, rank: str, name: str) -> None:
    writer, other = LogXML("/out/r.xml"), SimpleNamespace(logfile="/out/log.txt")
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugins=lambda: [other, writer]))
    own_file(config, role, rank)
    assert Path(writer.logfile) == Path("/out") / name
    assert other.logfile == "/out/log.txt"


def test_a_file_that_is_the_roles_own_already_keeps_its_name() -> None:
    writer = LogXML("/run/junit/GEN_0.xml")
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugins=lambda: [writer]))
    own_file(config, "GEN_0", "")
    assert writer.logfile == "/run/junit/GEN_0.xml"
