"""Load on a live deployment: probe, warm-up, measure. Shared by BENCHMARK and by aggregated runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from pytest_disagg.clients.checks import TOKENIZER_KEY
from pytest_disagg.clients.protocol import LoadPoint, LoadProgress, LoadResult
from pytest_disagg.config.case import Case, LoadSpec
from pytest_disagg.engines.models import model_path
from pytest_disagg.engines.protocol import Engine, Site
from pytest_disagg.errors import ConfigError, RunError
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.roles.watchdog import Watchdog
from pytest_disagg.rundir.files import tail_lines
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.topology.deadlines import Deadlines
from pytest_disagg.topology.problems import problem

PROBE_TOKENS = 8
PROBE_ANSWERS = 3
PROBE_SHORTEST_S = 0.5
PROOF_TIMEOUT_S = 30.0
WARMUP_TOKENS = 32


def load_point(session: RoleSession, load: LoadSpec, repeat: int) -> LoadPoint:
    """What the client of this run is asked for."""
    options = session.options
    return point_of(
        session.case,
        load,
        repeat,
        engine=options.engine,
        limits=session.limits,
        site=Site(models_root=options.models_root, llm_src=options.llm_src),
        rundir=session.rundir,
    )


def point_of(
    case: Case, load: LoadSpec, repeat: int, *, engine: Engine, limits: Deadlines, site: Site, rundir: RunDir
) -> LoadPoint:
    """What a client is asked for.

    A repeat is the same work: lengths follow the seed, which stays, and the client varies random prompts by the repeat.
    Of a dataset a repeat takes other lines where there are more, so that no cache of the one before helps it.
    """
    return LoadPoint(
        concurrency=load.concurrency,
        num_prompts=load.num_prompts,
        isl=load.isl,
        osl=load.osl,
        model=case.model,
        random_range_ratio=load.random_range_ratio,
        request_rate=load.request_rate,
        streaming=load.streaming,
        use_chat_template=load.use_chat_template,
        text_prompts=engine.text_prompts(case),
        dataset_file=load.dataset_file,
        seed=repeat if load.dataset_file else 0,
        request_timeout_s=limits.request_s,
        timeout_s=limits.measure_s,
        slo_ms=case.slo.model_dump(exclude_none=True) if case.slo else {},
        backend=load.backend,
        trust_remote_code=load.trust_remote_code,
        tokenizer=model_path(case, case.model, site),
        files=rundir.client(load.name, repeat),
        env=load.env,
    )


def check_loads(session: RoleSession) -> None:
    """Ask the client what of the case's loads it cannot send, before anything is deployed for them.

    Raises:
        ConfigError: what that is, and who can.
    """
    case, problems = session.case, []
    for load in (*case.clients, *(each for spec in case.servers for each in spec.clients)):
        if load.only_run_accuracy:
            continue
        for found in session.options.client.check(load_point(session, load, repeat=0)):
            # A model that the run is to fetch before its servers start is not here yet.
            if found.key != TOKENIZER_KEY or case.model_source is None:
                problems.append(problem(case, _key(case, load, found.key), found.found, found.expected))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _key(case: Case, load: LoadSpec, key: str) -> str:
    """A client's word for a setting as the path of a case file; where a file has many loads, which one it is."""
    if "." in key:
        return key
    return f"benchmark.{key}" if "benchmark" in case.document else f"{load.name}: {key}"


class Loader:
    """Puts load on ``url``. ``servers`` gives the URLs whose progress counters tell a stall from a long step."""

    def __init__(self, session: RoleSession, url: str, servers: Callable[[], Sequence[str]]) -> None:
        self._session = session
        self._client = session.options.client
        self._url = url
        self._servers = servers

    def probe(self, load: LoadSpec) -> None:
        """One real streamed request must come back with tokens, and the engine's own proof of a route must hold.

        An answer that is wrong (an error status, no tokens) is asked for again a few times; no answer at all (refused,
        503) until the stage's limit.

        Raises:
            RunError: no good answer; says what was last seen (``functional``).
        """
        point = dataclasses.replace(
            load_point(self._session, load, repeat=0),
            concurrency=1,
            num_prompts=1,
            random_range_ratio=0.0,
            osl=min(load.osl, PROBE_TOKENS),
            streaming=True,
            dataset_file=None,
            request_rate=None,
            request_timeout_s=min(self._session.limits.request_s, self._session.limits.probe_s),
            seed=1_000_003,
        )
        wrong = 0
        ends_at = time.monotonic() + self._session.limits.probe_s

        def look() -> tuple[RequestSample | None, str]:
            nonlocal wrong
            left_s = max(ends_at - time.monotonic(), PROBE_SHORTEST_S)
            asked = dataclasses.replace(point, request_timeout_s=min(point.request_timeout_s, left_s))
            sample = self._client.probe(self._url, asked, should_stop=self._session.trouble)
            if sample.ok and sample.output_tokens > 0:
                return sample, f"{sample.output_tokens} tokens"
            seen = sample.error or f"status {sample.status} and {sample.output_tokens} tokens"
            wrong += sample.status not in (0, 503)
            if wrong >= PROBE_ANSWERS:
                self._session.settle()
                raise RunError(
                    f"the probe, a streamed request of {point.osl} tokens to {self._url}, got no tokens {wrong} times; "
                    f"last seen: {seen}",
                    kind="functional",
                    stage="probe",
                )
            return None, seen

        self._session.wait(
            look,
            what=f"tokens from {self._url}",
            limit_s=self._session.limits.probe_s,
            key="timeouts.probe_s",
            dump_stacks=True,
        )
        self._prove(ends_at)

    def _prove(self, ends_at: float) -> None:
        session = self._session

        def look() -> tuple[bool | None, str]:
            left_s = max(ends_at - time.monotonic(), PROBE_SHORTEST_S)
            proof = session.options.engine.proof(session.case, self._url, min(left_s, PROOF_TIMEOUT_S))
            return (True if proof.ok else None), proof.seen

        session.wait(
            look,
            what=f"a request to {self._url} that shows its way through the servers",
            limit_s=max(ends_at - time.monotonic(), PROBE_SHORTEST_S),
            key="what tokens left of timeouts.probe_s",
            dump_stacks=True,
        )

    def warm_up(self, load: LoadSpec) -> None:
        """A short load of the same shape; its numbers are thrown away.

        Raises:
            RunError: it could not be completed.
        """
        point = dataclasses.replace(
            load_point(self._session, load, repeat=0),
            num_prompts=load.concurrency,
            osl=min(load.osl, WARMUP_TOKENS),
            dataset_file=None,
            request_rate=None,
            timeout_s=self._session.limits.warmup_s,
            seed=1_000_033,
        )
        result = self._run(f"{load.name} warm-up", point, -1)
        self._session.log(f"{load.name} warm-up: {len(result.samples)} requests in {result.duration_s:.2f} s")

    def measure(self, load: LoadSpec, repeat: int) -> LoadResult:
        """Run the load once.

        Raises:
            RunError: it could not be completed: another role failed, a stall, a limit.
        """
        return self._run(self._label(load, repeat), load_point(self._session, load, repeat), repeat)

    def _label(self, load: LoadSpec, repeat: int) -> str:
        repeats = self._session.options.repeats
        if repeat >= repeats:
            return f"{load.name}, measured again ({repeat - repeats + 1})"
        return f"{load.name}, repeat {repeat + 1} of {repeats}" if repeats > 1 else load.name

    def _run(self, label: str, point: LoadPoint, repeat: int) -> LoadResult:
        session = self._session
        logs = [session.rundir.log(role) for role in self._roles()]
        with Watchdog(session.options.engine, self._servers, session.limits.stall_s, logs) as watchdog:

            def should_stop() -> str | None:
                return session.trouble() or watchdog.stalled()

            def on_progress(progress: LoadProgress) -> None:
                watchdog.saw(progress)
                session.progress = _line(label, progress)

            try:
                result = self._client.measure(
                    self._url, point, repeat, on_progress=on_progress, should_stop=should_stop
                )
            except RunError as error:
                stalled = watchdog.stalled() is not None
                if not stalled:
                    session.settle()
                raise RunError(
                    f"{label}: {error.message}",
                    kind=error.kind,
                    stage=session.stage_name,
                    evidence=[*error.evidence, *(self._last_words() if stalled else ())],
                    dump_stacks=stalled,
                ) from error
            finally:
                session.progress = ""
        if any(not sample.ok for sample in result.samples):
            # A server that dies takes its requests with it before its role can say so.
            session.settle()
        return result

    def _roles(self) -> list[str]:
        """Everything that has a log of a server or of the coordinator."""
        case = self._session.case
        alone = [f"SERVER_{index}" for index in range(len(case.servers))]
        return [role for role in case.roles if role != "BENCHMARK"] or alone

    def _last_words(self) -> list[str]:
        lines: list[str] = []
        for role in self._roles():
            if tail := tail_lines(self._session.rundir.log(role), 5):
                lines += [f"last lines of {role}.log:", *tail]
        return lines


def _line(label: str, progress: LoadProgress) -> str:
    failed = f", {progress.failed} failed" if progress.failed else ""
    rate = progress.output_chunks / progress.elapsed_s if progress.elapsed_s > 0 else 0.0
    return (
        f"{label}: {progress.completed}/{progress.total} requests{failed}, {progress.in_flight} in flight, "
        f"{rate:.0f} chunks/s, {progress.elapsed_s:.0f} s"
    )
