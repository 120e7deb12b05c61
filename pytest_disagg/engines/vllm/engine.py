"""Engine ``vllm``: the commands of vLLM's servers and of the coordinator before them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_disagg.config.overrides import unshared
from pytest_disagg.engines.base import BaseEngine, address_of, numactl
from pytest_disagg.engines.models import model_path
from pytest_disagg.engines.options import as_json, block_of, key_problems, keys, refuse, without
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, Seen, ServerRequest
from pytest_disagg.engines.vllm import answers
from pytest_disagg.engines.vllm.coordinator import (
    ROUTER,
    coordinator_problems,
    coordinator_words,
    missing_coordinator,
    program_of,
)
from pytest_disagg.engines.vllm.flags import SERVE
from pytest_disagg.engines.vllm.kv import OPTION, match_problems, transfer, transfer_problems
from pytest_disagg.engines.vllm.nodes import among_nodes, size_problems
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.topology.problems import problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, ServerSpec

PROGRAM = "vllm"
VARIABLE = "DISAGG_VLLM"
METRICS = "metrics"
"""The fact of a coordinator: the whole URL of its metrics, empty where it has none."""
OF_THE_HARNESS = keys(
    "mode concurrency name model_name disagg_run_type gpus gpus_per_node match_mode client_configs server_env_var "
    "world_size"
)
"""Keys of a server's block that are not the engine's."""

OWNED = refuse(
    (
        "nothing: the run says where a server listens, and speaks plain HTTP",
        "host port uds grpc grpc_port ssl_keyfile ssl_certfile ssl_ca_certs",
    ),
    (
        "nothing: the run places nodes and ranks",
        "headless nnodes node_rank master_addr master_port data_parallel_address data_parallel_rank "
        "data_parallel_start_rank data_parallel_size_local data_parallel_rpc_port data_parallel_hybrid_lb "
        "data_parallel_external_lb data_parallel_multi_port_external_lb",
    ),
    ("metadata.model_name, and environment.model_path for its files", "model model_tag served_model_name"),
    ("the options themselves in this block", "config"),
    ("nothing: the client sends no key", "api_key"),
    ("HF_TOKEN in the environment: a command line is no place for a secret", "hf_token"),
)
"""Options that the harness gives itself or cannot serve with -> what to write instead."""


class VllmEngine(BaseEngine):
    """``vllm serve`` servers (vLLM 0.33.0) behind ``vllm-router`` (0.1.17) or a proxy script.

    A server's block is its command line; every node of a server starts a process. vLLM has neither a gate that holds
    GEN servers until every request waits nor a log of device step times, so both gen_only modes are refused.
    """

    name = "vllm"

    def unavailable(self, case: Case) -> str | None:
        """``vllm`` or what has to stand before the servers is not there."""
        program = _program()
        if not shutil.which(program):
            return f"{program} is not on PATH (vLLM is not installed here: pip install vllm, or {VARIABLE})"
        return None if case.id.runtime == "alone" else missing_coordinator(case)

    def check(self, case: Case) -> None:
        """Raises ConfigError: see :func:`check_case`."""
        check_case(case)

    def on_every_node(self, case: Case, spec: ServerSpec) -> bool:
        """Always: ranks of one node are started by its ``vllm serve``."""
        return True

    def server(self, request: ServerRequest) -> Launch:
        """The command of one node of a server. Only rank 0 listens. Raises ConfigError on what vLLM cannot be given."""
        case, spec = request.case, request.spec
        check_case(case)
        kv = transfer(request)
        place, met = among_nodes(request)
        block = {
            key: value
            for key, value in unshared(dict(spec.engine_config)).items()
            if key not in OF_THE_HARNESS and key != OPTION and (key != "api_server_count" or not request.node_rank)
        }
        argv = [*numactl(case), _program(), "serve", model_path(case, spec.model, request.site)]
        argv += ["--served-model-name", spec.model]
        address = ""
        if not request.node_rank:
            port = request.site.port()
            argv += ["--host", request.host, "--port", str(port)]
            address = address_of(request.host, port)
        argv += [*place, *SERVE.words(block)]
        if kv.config:
            argv += ["--kv-transfer-config", as_json(kv.config)]
        env = {**({"VLLM_HOST_IP": request.host} if request.nodes > 1 else {}), **kv.env}
        return Launch(tuple(argv), address=address, env=env, facts={**kv.facts, **met})

    def coordinator(self, request: CoordinatorRequest) -> Launch:
        """The command of the router or proxy. Raises ConfigError on what it cannot be given."""
        check_case(request.case)
        routed = program_of(request.case) == ROUTER
        port, metrics_port = request.site.port(), request.site.port() if routed else 0
        argv = coordinator_words(request, port, metrics_port)
        # Only the router has metrics, and has them on a port of their own.
        facts = {METRICS: f"http://{address_of(request.host, metrics_port)}/metrics" if routed else ""}
        return Launch(tuple(argv), address=address_of(request.host, port), facts=facts)

    def healthy(self, url: str, timeout_s: float) -> Seen:
        """Whether ``GET /health`` (of the proxy ``/healthcheck``) is 200."""
        return answers.healthy(url, timeout_s)

    def routable(self, url: str, *, ctx: int, gen: int, timeout_s: float) -> Seen:
        """Whether the coordinator counts that many servers."""
        return answers.routable(url, ctx, gen, timeout_s)

    def metrics_url(self, url: str, facts: Mapping[str, str]) -> str | None:
        """``/metrics``; of the coordinator what its launch says."""
        return facts.get(METRICS, f"{url}/metrics") or None

    def progress(self, url: str, timeout_s: float) -> int | None:
        """Prompt and output tokens so far, from ``/metrics``."""
        return answers.progress(url, timeout_s)

    def startup(self, url: str, timeout_s: float) -> Mapping[str, Any] | None:
        """Version and KV cache size; load times are in the log alone."""
        return answers.startup(url, timeout_s)


def check_case(case: Case) -> None:
    """What would else be found when servers start, or never.

    Raises:
        ConfigError: with all problems.
    """
    if problems := list(_problems(case)):
        raise ConfigError(problems)


def _problems(case: Case) -> Iterator[Problem]:
    if case.id.mode.startswith("gen_only"):
        expected = "e2e: vLLM writes no device step times, and holds no GEN server until every request waits"
        yield problem(case, "benchmark.mode", case.id.mode, expected)
    for spec in case.servers:
        where = block_of(case, spec)
        yield from key_problems(case, where, without(spec.engine_config, OF_THE_HARNESS), OWNED)
        yield from size_problems(case, spec, where)
        yield from transfer_problems(case, spec, where)
    if case.id.runtime == "disagg":
        yield from match_problems(case)
        yield from coordinator_problems(case)


def _program() -> str:
    return os.environ.get(VARIABLE) or PROGRAM
