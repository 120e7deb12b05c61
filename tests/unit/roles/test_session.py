"""A role's session: what is the cause when several things go wrong, and that its limits are those of the tree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.errors import RunError
from pytest_disagg.redact import redact
from pytest_disagg.roles.options import NoHooks
from tests.unit.roles.conftest import SessionFactory


class BrokenHook(NoHooks):
    def stage(self, case: Case, role: str, stage: str, event: str) -> None:
        if event == "end":
            raise KeyError("somebody's hook")


def test_a_broken_hook_does_not_hide_why_the_stage_failed(make_session: SessionFactory) -> None:
    said: list[str] = []
    session = make_session(hooks=BrokenHook(), log=said.append)
    with (
        pytest.raises(RunError, match="the real cause"),
        session,
        session.stage("probe"),
    ):
        raise RunError("the real cause", kind="functional", stage="probe")
    state = json.loads(session.rundir.role("BENCHMARK").read_text())
    assert state["failure"]["message"] == "the real cause"
    assert any("somebody's hook" in line for line in said)


def test_a_broken_hook_fails_a_stage_that_went_well(make_session: SessionFactory) -> None:
    session = make_session(hooks=BrokenHook())
    with pytest.raises(RunError, match="KeyError"), session, session.stage("probe"):
        pass


def test_what_the_file_gives_to_a_server_is_known_as_secret(make_session: SessionFactory) -> None:
    with make_session(env={"HF_TOKEN": "plain-words-of-the-file"}):
        assert redact("a server that prints plain-words-of-the-file") == "a server that prints ***"


def test_a_run_directory_that_cannot_be_read_for_a_moment_does_not_end_a_role(
    make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session()
    real, asked = session.monitor._watch.outcome, []

    def stale() -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise OSError(116, "Stale file handle")
        return real()

    monkeypatch.setattr(session.monitor._watch, "outcome", stale)
    with session:
        assert session.wait_quietly(lambda: len(asked) > 1 and session.monitor.blind_s() == 0.0, limit_s=20)
