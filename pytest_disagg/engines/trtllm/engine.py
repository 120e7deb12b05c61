"""Engine ``trtllm``: the commands of TensorRT-LLM's servers and coordinator, and the questions asked of them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines import http
from pytest_disagg.engines.base import BaseEngine, address_of, numactl
from pytest_disagg.engines.models import model_path
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ProbePolicy, ServerRequest
from pytest_disagg.engines.trtllm.environment import WORKER_BASE, mode_environment
from pytest_disagg.engines.trtllm.files import AUTH_KEY, check_case, engine_options, server_list
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.topology.placement import place

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, Mode, ServerSpec

PROGRAM = "trtllm-serve"
LAUNCHER = "trtllm-llmapi-launch"
FRONTENDS = "num_serve_frontends"
DEFAULT_TIMEOUT_S = 10800
"""Of ``slurm.timeout``, as in TensorRT-LLM's perf-sanity test."""


class TrtllmEngine(BaseEngine):
    """``trtllm-serve``: the command lines and files of TensorRT-LLM's own perf-sanity tests (2026).

    A server takes everything but its address from its ``--config`` file. It reports the port that it chose with
    ``--report_addr``, unless it has several frontends: these share a port that they must be told. The coordinator
    counts no instances; it is started when every server is healthy. Statistics of iterations are not read over HTTP:
    who reads them takes them away.
    """

    name = "trtllm"

    def unavailable(self, case: Case) -> str | None:
        """``trtllm-serve`` is not on PATH."""
        return None if shutil.which(PROGRAM) else f"{PROGRAM} is not on PATH (TensorRT-LLM is not installed here)"

    def check(self, case: Case) -> None:
        """Blocks with a key of their own, and what the coordinator's file cannot say."""
        check_case(case)

    def secrets(self, case: Case) -> tuple[str, ...]:
        """The key of internal requests, unless the file gives one; an aggregated server has nobody to share it with."""
        return () if case.id.runtime == "alone" or case.document.get(AUTH_KEY) else (AUTH_KEY,)

    def around_pytest(self, case: Case, spec: ServerSpec) -> tuple[str, ...]:
        """``trtllm-llmapi-launch``: rank 0 runs pytest, the others become the engine's MPI workers.

        In a case that one node holds, servers start their ranks themselves: steps of such a job know nothing of Slurm
        and MPI.
        """
        return (LAUNCHER,) if place(case).multi_node else ()

    def environment(self, case: Case, spec: ServerSpec) -> Mapping[str, str]:
        """CTX and GEN: caches that ranks of one node do not share, and what the mode needs."""
        return {} if spec.kind == "server" else {**WORKER_BASE, **mode_environment(case, spec.kind)}

    def server(self, request: ServerRequest) -> Launch:
        """The command of one CTX, GEN or aggregated server. Raises ConfigError on a key that it cannot use."""
        case, spec = request.case, request.spec
        check_case(case)
        kind = "aggr" if spec.kind == "server" else spec.kind
        folder = request.config_dir if spec.kind == "server" else request.secrets_dir
        config = folder / f"extra-llm-api-config.{kind}.{safe_name(spec.name)}.yml"
        argv = [*numactl(case), PROGRAM, model_path(case, spec.model, request.site)]
        argv += ["--backend", str(spec.engine_config.get("backend") or "pytorch"), "--config", str(config)]
        env = {name: value for name, value in mode_environment(case, spec.kind).items() if name not in spec.env}
        files = {config: engine_options(case, spec, request.site)}
        if int(spec.engine_config.get(FRONTENDS) or 1) > 1:
            port = request.site.port(shared=True)
            argv += ["--host", request.host, "--port", str(port)]
            return Launch(tuple(argv), address=address_of(request.host, port), env=env, files=files)
        argv += ["--host", request.host, "--port", "0", "--report_addr", str(request.address_file)]
        return Launch(tuple(argv), address_file=request.address_file, env=env, files=files)

    def coordinator(self, request: CoordinatorRequest) -> Launch:
        """``trtllm-serve disaggregated`` in front of the given servers, with ``slurm.timeout`` as its own time-outs."""
        config, limit = request.secrets_dir / "server_config.0.yaml", str(_timeout_s(request.case))
        argv = [PROGRAM, "disaggregated", "-c", str(config), "-t", limit, "-r", limit]
        argv += ["--report_addr", str(request.address_file)]
        return Launch(
            tuple(argv),
            address_file=request.address_file,
            env={**mode_environment(request.case, None), **request.case.coordinator_env},
            files={config: server_list(request)},
        )

    def metrics_url(self, url: str, facts: Mapping[str, str]) -> str | None:
        """``/prometheus/metrics``: ``/metrics`` are the statistics of iterations."""
        return f"{url}/prometheus/metrics"

    def startup(self, url: str, timeout_s: float) -> Mapping[str, Any] | None:
        """What ``GET /server_info`` says: newer servers give their load times there."""
        return http.json_of(f"{url}/server_info", timeout_s)

    def probe_policy(self, mode: Mode) -> ProbePolicy:
        """In gen_only nothing may be sent before the measured load: the fill gate would count it, once and for all."""
        free = mode != "gen_only"
        return ProbePolicy(probe=free, warmup=free, repeat=free)

    def iteration_logs(self) -> bool:
        """GEN servers write them where their block says ``print_iter_log: true``."""
        return True


def _timeout_s(case: Case) -> int:
    slurm = case.document.get("slurm") or {}
    return math.ceil(case.total_s) if slurm.get("timeout") else DEFAULT_TIMEOUT_S
