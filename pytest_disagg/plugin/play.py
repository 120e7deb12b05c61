"""Between a test of ours and the run: load the case, say why it cannot run here, play this process's part."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_disagg.clients import registry as clients
from pytest_disagg.clients.choice import client_name
from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.settings import RehearseLimits, Settings
from pytest_disagg.engines import registry as engines
from pytest_disagg.errors import ConfigError, DisaggError, RunError, UsageError
from pytest_disagg.plugin.cases import FIXTURE, ROLE_VARIABLE
from pytest_disagg.plugin.junit import add_properties, failure_text, outcome_properties
from pytest_disagg.plugin.live import Live
from pytest_disagg.plugin.values import Resolved, resolved
from pytest_disagg.process.termination import Termination
from pytest_disagg.records.manifest import git_state
from pytest_disagg.redact import redact
from pytest_disagg.rundir.runid import new_run_id, required_run_id, run_id_of
from pytest_disagg.rundir.state import Failure
from pytest_disagg.verdict.quarantine import Quarantines, cluster_names, found_in

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.listing import Listed
    from pytest_disagg.roles.options import RunOptions
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
            outcome = self._run(self.case)
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

    def _run(self, case: Case) -> Outcome | None:
        if self.role is not None and (rank := _follows(case)):
            from pytest_disagg.roles.nodes import run_follower

            run_follower(self._options(case, required_run_id(os.environ, self.role)), self.role, rank)
            return None
        if self.role in ("BENCHMARK", None) and case.id.runtime == "alone":
            from pytest_disagg.roles.alone import run_alone

            return run_alone(self._options(case, run_id_of(os.environ) or new_run_id()))
        if self.role is None:
            from pytest_disagg.plugin.local import run_here

            return run_here(self.request, case, resolved(self.request.config))
        options = self._options(case, required_run_id(os.environ, self.role))
        if self.role == "BENCHMARK":
            from pytest_disagg.roles.benchmark import run_benchmark

            return run_benchmark(options)
        if self.role == "DISAGG_SERVER":
            from pytest_disagg.roles.coordinator import run_coordinator

            run_coordinator(options)
        else:
            from pytest_disagg.roles.worker import run_worker

            run_worker(options, self.role)
        return None

    def _options(self, case: Case, run_id: str) -> RunOptions:
        from pytest_disagg.plugin.hosts import host_to_bind
        from pytest_disagg.plugin.started import started
        from pytest_disagg.roles.options import RunOptions, baseline_dirs
        from pytest_disagg.topology.deadlines import external_limit_s

        config = self.request.config
        values = resolved(config)
        return RunOptions(
            case=case,
            run_id=run_id,
            work_dir=values.work_dir,
            host=host_to_bind(values.interface, os.environ),
            engine=engines.get(case.engine),
            client=clients.get(client_name(case, values.client)),
            log=Live(config).line,
            hooks=_Hooks(config),
            baseline=values.baseline,
            baseline_dirs=baseline_dirs(values.config_dir, values.llm_src),
            stage_name=values.stage_name,
            repeat=values.repeat,
            keep=values.keep,
            history=values.history,
            policy=values.policy,
            reference_branch=values.reference_branch,
            require_upload=values.require_upload,
            external_limit_s=external_limit_s(os.environ, time.time()),
            models_root=values.models_root,
            llm_src=values.llm_src,
            quarantines=self.quarantines,
            started=started(self.request, values),
        )


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
        case = load_case(listed.id, path=listed.path, dirs=values.search, settings=settings(values), environ=os.environ)
        played.case = case
        played.quarantines = found_in(baseline_dirs(values.config_dir, values.llm_src))
        _check_role(played, case)
        reason = _unrunnable(config, case, values, role)
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


def settings(values: Resolved) -> Settings:
    """What lies over every case file of this session."""
    return Settings(
        engine=values.engine,
        sets=values.set,
        llm_src=values.llm_src,
        models_root=values.models_root,
        rehearse_limits=RehearseLimits.parse(values.rehearse_limit or ""),
    )


class _Hooks:
    """Forwards a run's events to pytest's hooks."""

    def __init__(self, config: pytest.Config) -> None:
        self._hook: Any = config.hook

    def stage(self, case: Case, role: str, stage: str, event: str) -> None:
        self._hook.pytest_disagg_stage(case=case, role=role, stage=stage, event=event)

    def record(self, case: Case, record: dict[str, Any]) -> None:
        self._hook.pytest_disagg_record(case=case, record=record)


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


def _check_role(played: Played, case: Case) -> None:
    """Refuse what no run can mean.

    Raises:
        UsageError: an unknown role, an index the case does not have, several tasks without a role.
    """
    request, role = played.request, played.role
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or "1"
    if role is None:
        rank = os.environ.get("SLURM_PROCID", "0")
        if "SLURM_STEP_ID" in os.environ and tasks != "1" and (case.id.runtime == "disagg" or rank != "0"):
            raise UsageError(
                f"{ROLE_VARIABLE} is unset in a Slurm step of {tasks} tasks (this is rank {rank}): each would "
                "deploy the whole case; give every step its role"
            )
        return
    if case.id.runtime == "alone":
        if role == "BENCHMARK":
            return
        raise UsageError(
            f"{ROLE_VARIABLE}={role}: case {case.id.text} has no roles, one process plays it all; unset it"
        )
    if role in case.roles:
        return
    kind, _, index = role.partition("_")
    if kind in ("GEN", "CTX") and index.isdecimal():
        count = case.num_gen if kind == "GEN" else case.num_ctx
        text = f"{ROLE_VARIABLE}={role}: case {case.id.text} has {count} {kind} servers"
        if request.config.getoption("keyword") and _selected(request) > 1:
            played.skip(f"{text}, and -k selected several cases")
        raise UsageError(f"{text}; expected one of {', '.join(case.roles)}")
    raise UsageError(f"{ROLE_VARIABLE}: found {role!r}, expected one of {', '.join(case.roles)}, or unset")


def _follows(case: Case) -> int:
    """Which node of its server this process is to start, where the engine starts one on each; else 0."""
    from pytest_disagg.roles.nodes import node_rank

    engine = engines.get(case.engine)
    return node_rank() if any(engine.on_every_node(case, spec) for spec in case.servers) else 0


def _selected(request: pytest.FixtureRequest) -> int:
    return sum(FIXTURE in getattr(item, "fixturenames", ()) for item in request.session.items)


def _unrunnable(config: pytest.Config, case: Case, values: Resolved, role: str | None) -> str | None:
    """Why this case cannot run here, in the order in which one would mend it."""
    from pytest_disagg.topology.deadlines import deadlines
    from pytest_disagg.topology.filled import check_filled

    deadlines(case)
    check_filled(case)
    if values.engine is not None:
        engines.get(values.engine)  # an unknown --disagg-engine is a mistake, not a reason to skip
    if case.engine not in engines.names():
        known = ", ".join(engines.names())
        return f"engine {case.engine!r} is not installed (known: {known}); rehearse it with --disagg-engine sim"
    engine = engines.get(case.engine)
    engine.check(case)
    return (
        engine.unavailable(case)
        or _accuracy_unavailable(case, role)
        or _client_unavailable(case, values, role)
        or _hardware(case, role)
        or config.hook.pytest_disagg_skip(case=case)
    )


def _accuracy_unavailable(case: Case, role: str | None) -> str | None:
    """Why the accuracy tasks of the case cannot be run; only BENCHMARK (or who plays everything) runs them."""
    if role not in (None, "BENCHMARK"):
        return None
    from pytest_disagg.clients.accuracy.command import unavailable
    from pytest_disagg.config.accuracy_tasks import all_tasks

    reasons = (unavailable({**os.environ, **task.env}) for task in all_tasks(case))
    return next(filter(None, reasons), None)


def _client_unavailable(case: Case, values: Resolved, role: str | None) -> str | None:
    """Why its load generator cannot run here; servers and the coordinator need none.

    Raises:
        UsageError: the one that was asked for by name cannot: that is a mistake, not a reason to skip.
    """
    name = client_name(case, values.client)
    if role not in ("BENCHMARK", None):
        return None
    if name in clients.names() or values.client:
        reason = clients.get(name).unavailable()
        if reason and values.client:
            raise UsageError(f"--disagg-client={name}: {reason}")
        return f"client {name}: {reason}" if reason else None
    known = ", ".join(clients.names())
    return f"client {name!r} is not installed (known: {known}); measure it with --disagg-client=native"


def _hardware(case: Case, role: str | None) -> str | None:
    """Nodes and GPU model, for engines that need GPUs."""
    if engines.get(case.engine).simulated(case):
        return None
    from pytest_disagg.records.gpu import NO_GPU, gpu_type
    from pytest_disagg.topology.placement import place

    nodes = place(case).total_nodes
    if role is None and nodes > 1:
        return f"needs {nodes} nodes, this is one machine; rehearse it with --disagg-engine sim"
    if not case.supported_gpus:
        return None
    gpu = gpu_type()
    if gpu == NO_GPU and role in ("BENCHMARK", "DISAGG_SERVER"):
        return None  # these may run where there is none
    if gpu not in [name.lower() for name in case.supported_gpus]:
        return f"GPU {gpu} is not among supported_gpus ({', '.join(case.supported_gpus)})"
    return None


def _failed(kind: str) -> dict[str, object]:
    return {"verdict": "failed", "kind": kind}


def _text(error: RunError, role: str) -> str:
    failure = Failure.of(role, error)
    head = error.message if error.because_of else failure.headline()
    return "\n".join([head, *(f"    {line}" for line in error.evidence)])
