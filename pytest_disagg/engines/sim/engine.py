"""Engine ``sim``: the commands of the simulated processes and the questions asked of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines import http
from pytest_disagg.engines.base import BaseEngine
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ProbePolicy, Seen, ServerRequest
from pytest_disagg.engines.sim import metrics
from pytest_disagg.engines.sim.settings import CoordinatorSettings, Fault, ServerSettings, Timing, dump
from pytest_disagg.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, Mode, ServerSpec

DEFAULT_MAX_BATCH_SIZE = 512
DEFAULT_PREFILL_CHUNK_TOKENS = 8192


class SimEngine(BaseEngine):
    """Simulated servers. Also rehearses other engines' cases: of their blocks it reads the few keys it has a use for.

    These are ``max_batch_size``, ``max_num_tokens``, ``stream_interval``, ``print_iter_log`` and, as the batch of a
    server with attention DP is that of each rank, ``enable_attention_dp`` with ``tensor_parallel_size``.
    """

    name = "sim"

    def simulated(self, case: Case) -> bool:
        """True."""
        return True

    def server(self, request: ServerRequest, *, bootstrap_port: int = 0) -> Launch:
        """The command of one CTX, GEN or aggregated server. Raises ConfigError on a key of the block it cannot use.

        With a ``bootstrap_port`` a CTX server meets GEN servers there, as behind sglang-router.
        """
        case, spec = request.case, request.spec
        block = _Block(case, spec)
        gen = spec.kind == "gen"
        settings = ServerSettings(
            role=request.role,
            model=spec.model,
            max_batch_size=_max_batch_size(case, spec),
            tokens_per_chunk=case.sim.tokens_per_chunk or block.count("stream_interval", 1),
            prefill_chunk_tokens=block.count("max_num_tokens", DEFAULT_PREFILL_CHUNK_TOKENS),
            fill_gate=fill_gate(case, spec) if gen else 0,
            no_context=gen and without_context(case),
            iteration_log=block.flag("print_iter_log", default=gen and case.id.mode.startswith("gen_only")),
            seed=case.sim.seed,
            bootstrap_port=bootstrap_port,
            timing=Timing(**{name: getattr(case.sim, name) for name in asdict(Timing())}),
            faults=_faults(case, request.role if spec.kind != "server" else f"SERVER_{request.index}"),
        )
        return self._launch(
            request.role, ("server", "--kind", spec.kind), settings, request, truth_log=case.sim.truth_log
        )

    def coordinator(self, request: CoordinatorRequest) -> Launch:
        """The command of the coordinator in front of the given servers."""
        case = request.case
        settings = CoordinatorSettings(
            role=request.role,
            model=case.model,
            ctx=tuple(request.ctx),
            gen=tuple(request.gen),
            no_context=without_context(case),
            seed=case.sim.seed,
            faults=_faults(case, request.role),
        )
        return self._launch(request.role, ("coordinator",), settings, request, truth_log=case.sim.truth_log)

    def routable(self, url: str, *, ctx: int, gen: int, timeout_s: float) -> Seen:
        """Whether ``GET /cluster_info`` counts at least ``ctx`` CTX and ``gen`` GEN servers as healthy."""
        try:
            answer = http.get(f"{url}/cluster_info", timeout_s)
            if answer.status != 200:
                return Seen(False, f"GET {url}/cluster_info: {answer.status} {answer.text[:200]}".rstrip())
            info = json.loads(answer.text)
            found = {kind: _healthy_urls(info[kind]) for kind in ("context", "generation")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Seen(False, f"GET {url}/cluster_info: {error!r}")
        have_ctx, have_gen = len(found["context"]), len(found["generation"])
        seen = f"{have_ctx} of {ctx} CTX and {have_gen} of {gen} GEN servers routable at {url}"
        return Seen(have_ctx >= ctx and have_gen >= gen, seen)

    def progress(self, url: str, timeout_s: float) -> int | None:
        """Iterations, tokens and forwarded chunks so far, added up, from ``/metrics``."""
        return metrics.progress(http.text_of(f"{url}/metrics", timeout_s))

    def probe_policy(self, mode: Mode) -> ProbePolicy:
        """In gen_only nothing may be sent before the measured load: the fill gate would count it, once and for all."""
        free = mode != "gen_only"
        return ProbePolicy(probe=free, warmup=free, repeat=free)

    def iteration_logs(self) -> bool:
        """GEN servers write them, by default in the gen_only modes."""
        return True

    def _launch(
        self,
        role: str,
        command: tuple[str, ...],
        settings: ServerSettings | CoordinatorSettings,
        request: ServerRequest | CoordinatorRequest,
        *,
        truth_log: bool,
    ) -> Launch:
        settings_file = request.config_dir / f"sim.{role}.json"
        argv = [sys.executable, "-m", "pytest_disagg.engines.sim", *command, "--settings", str(settings_file)]
        argv += ["--host", request.host, "--port", "0", "--address-file", str(request.address_file)]
        if truth_log:
            argv += ["--truth-log", str(truth_path(request.log_dir, role))]
        return Launch(
            argv=tuple(argv),
            address_file=request.address_file,
            env={"PYTHONUNBUFFERED": "1"},
            files={settings_file: dump(settings)},
        )


def truth_path(log_dir: Path, role: str) -> Path:
    """Where a role's truth log lies."""
    return log_dir / f"{role}.truth.jsonl"


def without_context(case: Case) -> bool:
    """Whether GEN servers decode without CTX servers: a disaggregated run that has none."""
    return case.id.mode == "gen_only_no_context" or (case.id.runtime == "disagg" and case.num_ctx == 0)


def fill_gate(case: Case, spec: ServerSpec) -> int:
    """How many queued requests open one GEN server's fill gate; 0 outside gen_only.

    It is this server's share of the concurrency, which the coordinator spreads evenly: concurrency / GEN servers,
    rounded down so that no server waits for a request that another one got, and no more than fits one batch.
    """
    if case.id.mode != "gen_only" or not case.clients:
        return 0
    share = case.clients[0].concurrency // max(1, case.num_gen)
    return max(1, min(share, _max_batch_size(case, spec)))


class _Block:
    """The engine's block of a server, read with errors that name file and key."""

    def __init__(self, case: Case, spec: ServerSpec) -> None:
        self._case = case
        self._spec = spec

    def count(self, key: str, default: int) -> int:
        """A positive integer."""
        value = self._spec.engine_config.get(key)
        if value is None:
            return default
        if type(value) is not int or value < 1:
            raise self._error(key, value, "a positive integer")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """A boolean."""
        value = self._spec.engine_config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._error(key, value, "true or false")
        return value

    def _error(self, key: str, value: Any, expected: str) -> ConfigError:
        where = (
            f"server_configs ({self._spec.name})" if self._spec.kind == "server" else f"worker_config.{self._spec.kind}"
        )
        return ConfigError([Problem(self._case.path, None, f"{where}.{key}", repr(value), expected)])


def _max_batch_size(case: Case, spec: ServerSpec) -> int:
    if case.sim.max_batch_size is not None:
        return case.sim.max_batch_size
    block = _Block(case, spec)
    ranks = spec.tp if block.flag("enable_attention_dp", default=False) else 1
    return ranks * block.count("max_batch_size", DEFAULT_MAX_BATCH_SIZE)


def _faults(case: Case, role: str) -> tuple[Fault, ...]:
    everyone = f"{role.rpartition('_')[0]}_*"
    return tuple(
        Fault(fault.kind, fault.after_requests, fault.exit_code, fault.ratio, fault.delay_s)
        for fault in case.sim.faults
        if fault.role in (role, everyone)
    )


def _healthy_urls(servers: Iterable[dict[str, Any]]) -> list[str]:
    return [server["url"] for server in servers if server["healthy"]]
