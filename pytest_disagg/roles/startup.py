"""What servers say of their own start (load times), collected once they serve."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import to_json, write_text

ASK_TIMEOUT_S = 10.0
ASKED_AT_ONCE = 32


def collect_startup(session: RoleSession, urls: Mapping[str, str], index: int = 0) -> None:
    """Ask each server (role -> URL) and write ``results/startup_metrics.<index>.json``; nothing where none answers.

    That a server says nothing is no failure: older ones cannot.
    """

    def ask(url: str) -> Mapping[str, Any] | None:
        return session.options.engine.startup(url, ASK_TIMEOUT_S)

    with ThreadPoolExecutor(min(len(urls), ASKED_AT_ONCE) or 1) as pool:
        answers = dict(zip(urls, pool.map(ask, urls.values()), strict=True))
    found = {role: answer for role, answer in answers.items() if answer is not None}
    if found:
        write_text(session.rundir.results / f"startup_metrics.{index}.json", to_json(found))
