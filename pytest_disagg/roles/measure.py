"""Probe to accuracy, for one deployment after the other; keeps what was measured whatever comes after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_disagg.clients.printed import render
from pytest_disagg.clients.protocol import ClientHealth, LoadResult
from pytest_disagg.clients.result_json import to_json
from pytest_disagg.config.case import LoadSpec, ServerSpec
from pytest_disagg.records.device_step import DeviceStepError, IterationLog, parse
from pytest_disagg.records.metrics import DEVICE_STEP
from pytest_disagg.records.summary import summarize
from pytest_disagg.redact import redact, redact_data
from pytest_disagg.roles.accuracy import Evaluation, evaluate, write
from pytest_disagg.roles.load import Loader
from pytest_disagg.roles.planning import Planned
from pytest_disagg.roles.points import Point
from pytest_disagg.roles.recording import gate_of, record_of
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import write_text
from pytest_disagg.verdict.decide import decide, undecided

DEVICE_STEP_MODES = ("gen_only", "gen_only_no_context")
SETTLE_S = 10.0


@dataclass(frozen=True)
class Position:
    """Which load of the case is measured: indexes of its server and of the load, and both specs."""

    server_index: int
    load_index: int
    spec: ServerSpec | None
    load: LoadSpec


@dataclass
class Measurement:
    """Everything that one run measured, in order. ``deployed``: this run holds the deployment that it measures."""

    session: RoleSession
    points: list[Point] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    planned: Planned | None = None
    notes: list[str] = field(default_factory=list)
    deployments: int = 0
    deployed: bool = True

    def play(
        self,
        url: str,
        loads: Sequence[LoadSpec],
        *,
        servers: Sequence[str],
        spec: ServerSpec | None,
        logs: Sequence[str],
    ) -> None:
        """Probe the deployment at ``url``, run each load on it ``--disagg-repeat`` times, then its accuracy tasks.

        ``servers`` are URLs that report progress, ``logs`` the roles whose logs hold iteration lines.

        Raises:
            RunError: a load could not be completed; the points before it stay.
        """
        session = self.session
        index, self.deployments = self.deployments, self.deployments + 1
        policy = session.options.engine.probe_policy(session.case.id.mode)
        loader = Loader(session, url, lambda: servers)
        if policy.probe:
            with session.stage("probe"):
                loader.probe(loads[0])
        for position, load in enumerate(loads):
            if load.only_run_accuracy:
                continue
            if policy.warmup and load.warmup:
                with session.stage("warm-up"):
                    loader.warm_up(load)
            if session.options.repeat > 1 and not policy.repeat:
                self.notes.append(
                    f"measured once, not {session.options.repeat} times: a {session.case.id.mode} deployment of engine "
                    f"{session.case.engine} takes one load"
                )
            for repeat in range(session.options.repeats):
                self._once(loader, Position(index, position, spec, load), repeat, logs)
            if policy.repeat:
                self._confirm(loader, Position(index, position, spec, load), logs)
        for evaluation in evaluate(session, url, index, spec, loads):
            self.evaluations.append(evaluation)
            write(session, self.evaluations)

    def _once(self, loader: Loader, at: Position, repeat: int, logs: Sequence[str]) -> None:
        """Measure a load once and keep the point."""
        session = self.session
        with session.stage("measure"):
            files = [session.rundir.log(role) for role in logs] if self._on_device() else []
            starts = [_size(path) for path in files]
            result = loader.measure(at.load, repeat)
            metrics = self._summary(result, at.spec)
            steps, rows, problem = self._device_steps(files, starts)
            metrics |= steps
            point = Point(at.server_index, at.load_index, at.spec, at.load, repeat, result, metrics, problem, rows)
            self.points.append(point)
            self._write(point)
            session.say(_summary_line(at.load.name, point))

    def _confirm(self, loader: Loader, at: Position, logs: Sequence[str]) -> None:
        """Measure a suspected load again on the same deployment while that can still decide, and time allows."""
        session, planned = self.session, self.planned
        if planned is None or session.case.rehearsal:
            return
        first = len([point for point in self.points if point.key == (at.server_index, at.load_index)])
        while True:
            points = [point for point in self.points if point.key == (at.server_index, at.load_index)]
            name = planned.point_names[points[0].key]
            gate = gate_of(session, name, points)
            if not gate.ok:
                return
            more = planned.remeasure - (len(points) - first)
            found = [record_of(session, planned, point, gate) for point in points]
            if more <= 0 or not undecided(decide(planned.grounds, found, remeasure=more), len(points) - first):
                return
            needed_s = points[-1].result.duration_s + self._promised_s()
            if session.left_s() < needed_s:
                self.notes.append(
                    f"{name}: a suspected regression was not measured again: with what is still to be done that may "
                    f"take {needed_s:.0f} s, and {session.left_s():.0f} s are left of the run"
                )
                return
            session.log(f"{name}: suspected regression, measuring again (at most {more} times)")
            self._once(loader, at, len(points), logs)

    def _promised_s(self) -> float:
        """What the stages that are still to come may take, further deployments too: they keep what was promised."""
        measured = {point.key: point.load for point in self.points}
        done = {
            "plan_s": 1,
            **dict.fromkeys(("prepare_s", "launch_s", "ready_s", "probe_s"), self.deployments),
            "warmup_s": sum(load.warmup for load in measured.values()),
            "measure_s": len(measured) * self.session.options.repeats,
            "accuracy_s": len(self.evaluations),
            "stop_s": self.deployments - 1,
        }
        stages = self.session.limits.stages
        return sum(max(0, stage.count - done.get(stage.field, 0)) * stage.limit_s for stage in stages)

    def _on_device(self) -> bool:
        return self.session.case.id.mode in DEVICE_STEP_MODES

    def _summary(self, result: LoadResult, spec: ServerSpec | None) -> dict[str, float]:
        used = [spec] if spec is not None else list(self.session.case.servers)
        summary = summarize(
            result.samples,
            duration_s=result.duration_s,
            gpus=sum(each.count * each.world_size for each in used),
            slo_ms=result.point.slo_ms,
        )
        return summary | _client_metrics(result.health)

    def _device_steps(
        self, files: Sequence[Path], starts: Sequence[int]
    ) -> tuple[dict[str, float], tuple[int, ...] | None, str]:
        """Device step times of the load that just ended; the last rows may still be on their way into the logs."""
        if not self._on_device():
            return {}, None, ""
        if not files:
            return {}, None, "device step time: the logs of GEN servers that were not started here cannot be read"
        if not self.session.options.engine.iteration_logs():
            return {}, None, f"engine {self.session.case.engine} writes no iteration log"
        _wait_until_still(self.session, files)
        logs = [IterationLog(path, start, _size(path)) for path, start in zip(files, starts, strict=True)]
        try:
            steps = parse(logs)
        except DeviceStepError as error:
            return {}, None, str(error)
        return dict(steps.metrics()), tuple(file.used for file in steps.files), ""

    def _write(self, point: Point) -> None:
        """The load's own files: result JSON, and the block that tools of benchmark_serving parse."""
        rundir = self.session.rundir
        name = f"{point.server_index}.{point.load_index}"
        write_text(rundir.results / f"load.{name}.r{point.repeat}.json", _text(to_json(point.result, point.metrics)))
        errors = [sample.error for sample in point.result.samples if sample.error]
        block = redact(render(point.metrics, errors=errors))
        with (rundir.path / f"trtllm-benchmark.{name}.log").open("a", encoding="utf-8") as file:
            file.write(block + "\n")
        # Standard output, not the live log: tools read this block there, people read the table.
        print(block, flush=True)


def _summary_line(name: str, point: Point) -> str:
    shown = (
        ("token_throughput", "tok/s", ""),
        ("median_ttft", "ms", "TTFT p50 "),
        (f"mean_{DEVICE_STEP}", "ms", "step "),
    )
    figures = [f"{title}{point.metrics[metric]:.1f} {unit}" for metric, unit, title in shown if metric in point.metrics]
    return ", ".join([f"{name}: {len(point.result.samples)} requests in {point.result.duration_s:.1f} s", *figures])


def _text(document: Mapping[str, Any]) -> str:
    """``document`` as redacted JSON, request by request.

    In one piece the millions of numbers of a long load would hold the interpreter, and with it this role's heartbeat,
    for as long as it takes others to believe that the role is dead.
    """
    return (
        "{" + ", ".join(f"{json.dumps(key)}: {_value(redact_data(value))}" for key, value in document.items()) + "}\n"
    )


def _value(value: object) -> str:
    return f"[{', '.join(map(json.dumps, value))}]" if isinstance(value, list) else json.dumps(value)


def _client_metrics(health: ClientHealth | None) -> dict[str, float]:
    """How well the client itself kept up, as metrics of the record."""
    if health is None:
        return {}
    return {
        "client_lag_p50_ms": health.lag_p50_ms,
        "client_lag_p99_ms": health.lag_p99_ms,
        "client_lag_max_ms": health.lag_max_ms,
        "client_cpu_ratio": health.cpu_ratio,
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _wait_until_still(session: RoleSession, files: Sequence[Path]) -> None:
    """Until no log has grown between two looks: what the servers wrote has arrived."""
    seen: list[int] = []

    def still() -> bool:
        nonlocal seen
        before, seen = seen, [_size(path) for path in files]
        return before == seen

    if not session.wait_quietly(still, limit_s=min(SETTLE_S, session.limits.store_s)):
        session.log(f"iteration logs still grow after {SETTLE_S:g} s: {', '.join(path.name for path in files)}")
