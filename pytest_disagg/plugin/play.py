"""Between a test of ours and the run: load the case, play this process's part, and say how that ended."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_disagg.clients import registry as clients
from pytest_disagg.config.resolve import load_case
from pytest_disagg.engines import registry as engines
from pytest_disagg.errors import ConfigError, DisaggError, RunError, UsageError
from pytest_disagg.plugin.cases import ROLE_VARIABLE
from pytest_disagg.plugin.junit import add_properties, failure_text, outcome_properties
from pytest_disagg.plugin.part import play_part
from pytest_disagg.plugin.runnable import not_of_role, unrunnable
from pytest_disagg.plugin.values import resolved
from pytest_disagg.process.termination import Termination
from pytest_disagg.records.manifest import git_state
from pytest_disagg.redact import redact
from pytest_disagg.rundir.runid import run_id_of
from pytest_disagg.rundir.state import Failure
from pytest_disagg.verdict.quarantine import Quarantines, cluster_names, found_in

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.listing import Listed
    from pytest_disagg.rundir.outcome import Outcome

CONFIG = "config"
"""The ``kind`` of a case that never became a run: its file, an option or the environment cannot be used."""


@dataclass
class Played:
    """One test's part of a run. ``problem`` is why it fails before anything starts, ``kind`` of which kind that is.

    ``excuse`` is set by a red run of a case in quarantine: which quarantine keeps it from failing.
    """

    request: pytest.FixtureRequest
    listed: Listed
    case: Case | None = None
    role: str | None = None
    problem: str | None = None
    kind: str = CONFIG
    quarantines: Quarantines = field(default_factory=Quarantines)
    excuse: str = ""

    @property
    def case_id(self) -> str:
        return self.listed.id

    def skip(self, reason: str) -> NoReturn:
        """Skip the test; it has its properties all the same."""
        add_properties(self.request.node, {**self._identity(), "verdict": "skipped", "kind": ""})
        pytest.skip(redact(reason))

    def play(self) -> str | None:
        """Play it; the failure's text when it is red. Either way the test gets its properties."""
        with Termination() as termination:
            properties, text = self._play()
        if termination.reason:
            # Told to stop: what was played is reported, no further case is deployed.
            self.request.session.shouldstop = termination.reason
            self.excuse = ""
        add_properties(self.request.node, {**self._identity(), **properties})
        return redact(text) if text else None

    def _play(self) -> tuple[dict[str, object], str | None]:
        if self.problem is not None or self.case is None:
            return _failed(self.kind), self.problem or f"{self.case_id}: nothing to run"
        try:
            outcome = play_part(self.request, self.case, self.role, self.quarantines)
        except RunError as error:
            return _failed(error.kind), _text(error, self.role or "BENCHMARK")
        except DisaggError as error:
            return _failed("infrastructure"), f"infrastructure: {error}"
        if outcome is None:
            return {}, None
        outcome = self._with_quarantine(self.case, outcome)
        if outcome.excused:
            self.excuse = redact(outcome.quarantine)
        self.request.config.hook.pytest_disagg_outcome(case_id=self.case_id, outcome=outcome.to_dict())
        return outcome_properties(outcome), failure_text(outcome) if outcome.red or outcome.kind else None

    def _with_quarantine(self, case: Case, outcome: Outcome) -> Outcome:
        """What BENCHMARK would have said of it, had it lived."""
        if outcome.quarantine:
            return outcome
        clusters = cluster_names(os.environ)
        standing = self.quarantines.standing(case.id.text, clusters, (), rehearsal=case.rehearsal)
        return replace(outcome, quarantine=standing.words, excused=standing.excused)

    def _identity(self) -> dict[str, object]:
        """What every test of ours says about itself, whether or not there is an outcome."""
        found: dict[str, object] = {"case": self.case_id, "run_id": run_id_of(os.environ) or ""}
        if self.role is not None:
            found["role"] = self.role
        digest, engine = (self.case.digest, self.case.engine) if self.case is not None else ("", "")
        return found | {"config_digest": digest, "git_sha": _git_sha(self.listed.path.parent), "engine": engine}


def prepare(request: pytest.FixtureRequest, listed: Listed) -> Played:
    """Load the case; skip where it cannot run, unless this process was given a role: then that is its failure."""
    from pytest_disagg.roles.options import baseline_dirs

    config = request.config
    values = resolved(config)
    role = os.environ.get(ROLE_VARIABLE) or None
    played = Played(request, listed, role=role)
    if listed.problem is not None:
        played.problem = str(listed.problem)
        return played
    _register(config)
    try:
        case = load_case(listed.id, path=listed.path, dirs=values.search, settings=values.settings, environ=os.environ)
        played.case = case
        played.quarantines = found_in(baseline_dirs(values.config_dir, values.llm_src))
        if reason := not_of_role(request, case, role):
            played.skip(reason)
        reason = unrunnable(config, case, values, role)
    except (ConfigError, UsageError) as error:
        played.problem = str(error)
        return played
    if reason and role is None:
        played.skip(reason)
    if reason:
        failure = Failure(role or "", "infrastructure", "plan", f"cannot run here: {reason}")
        played.problem, played.kind = failure.headline(), failure.kind
    return played


@cache
def _git_sha(directory: Path) -> str:
    """The commit that case files of that directory are of, empty where none is; asked for once a session."""
    return str(git_state(directory).get("sha", ""))


_REGISTERED: pytest.StashKey[bool] = pytest.StashKey()


def _register(config: pytest.Config) -> None:
    """Take the engines and clients of conftests and other plugins, once a session."""
    if _REGISTERED in config.stash:
        return
    config.stash[_REGISTERED] = True
    for offered in config.hook.pytest_disagg_engines():
        for name, factory in offered.items():
            engines.register(name, factory)
    for offered in config.hook.pytest_disagg_clients():
        for name, factory in offered.items():
            clients.register(name, factory)


def _failed(kind: str) -> dict[str, object]:
    return {"verdict": "failed", "kind": kind}


def _text(error: RunError, role: str) -> str:
    failure = Failure.of(role, error)
    head = error.message if error.because_of else failure.headline()
    return "\n".join([head, *(f"    {line}" for line in error.evidence)])
