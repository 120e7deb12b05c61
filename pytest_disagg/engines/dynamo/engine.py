"""Engine ``dynamo``: the commands of Dynamo's workers and frontend, and the questions asked of them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines.base import BaseEngine, address_of, numactl
from pytest_disagg.engines.dynamo import answers, discovery
from pytest_disagg.engines.dynamo.backends import BACKEND, backend_of, block_problems, build_worker
from pytest_disagg.engines.models import model_path
from pytest_disagg.engines.options import block_of, coordinator_block, key_problems, refuse
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, Seen, ServerRequest, ServiceRequest, Site
from pytest_disagg.engines.trtllm.environment import WORKER_BASE
from pytest_disagg.engines.vllm.flags import SERVE
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.topology.placement import place
from pytest_disagg.topology.problems import problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, ServerSpec

VARIABLE = "DISAGG_DYNAMO_PYTHON"
INSTALL = "bash tests/dynamo/install.sh"
BLOCK = "coordinator_config"
HIGHEST_SYSTEM_PORT = 2**15 - 1
"""``DYN_SYSTEM_PORT`` is read as a signed 16-bit number."""
OWNED = refuse(
    ("nothing: the run gives it", "http_host http_port namespace namespace_prefix interactive"),
    ("the discovery block of the file", "discovery_backend request_plane event_plane"),
    ("metadata.model_name: the workers bring the model", "model_name model_path"),
    ("nothing: roles speak HTTP to each other", "tls_cert_path tls_key_path tls_client_ca_cert_path"),
)
"""Options of the frontend that the harness gives -> what to write instead."""


class DynamoEngine(BaseEngine):
    """``python -m dynamo.frontend`` before ``python -m dynamo.<backend>`` workers (Dynamo 1.6.1).

    ``worker_config.<kind>.backend`` names the backend: ``sglang``, ``trtllm``, ``vllm``, or ``mocker``, which computes
    nothing and needs no GPU. The frontend finds the workers by itself. A worker is asked for its health on a port of
    its own (``DYN_SYSTEM_PORT``). A deployment is routable once the frontend knows every worker and a streamed request
    has named the prefill and the decode worker that it met.
    """

    name = "dynamo"

    def unavailable(self, case: Case) -> str | None:
        """No interpreter with Dynamo, no etcd or NATS where the case needs them started, or no folder for a mocker."""
        if reason := _no_interpreter():
            return reason
        if absent := discovery.missing(case):
            packages = " ".join(f"{name.removesuffix('-server')}-server" for name in absent)
            return f"{' and '.join(absent)} not on PATH, which discovery.backend: etcd starts (Debian: {packages})"
        return _no_folder(case)

    def check(self, case: Case) -> None:
        """Raises ConfigError: see :func:`check_case`."""
        check_case(case)

    def simulated(self, case: Case) -> bool:
        """Whether mockers stand for the workers."""
        return all(spec.engine_config.get(BACKEND) == "mocker" for spec in case.servers)

    def around_pytest(self, case: Case, spec: ServerSpec) -> tuple[str, ...]:
        """For ``trtllm`` over several nodes TensorRT-LLM's launcher: rank 0 runs pytest, the others MPI workers."""
        return backend_of(case, spec).launcher if place(case).multi_node else ()

    def environment(self, case: Case, spec: ServerSpec) -> Mapping[str, str]:
        """What every rank below that launcher needs."""
        return WORKER_BASE if spec.kind != "server" and self.around_pytest(case, spec) else {}

    def on_every_node(self, case: Case, spec: ServerSpec) -> bool:
        """SGLang and vLLM start a process on each node."""
        return backend_of(case, spec).every_node

    def fronts_aggregated(self, case: Case) -> bool:
        """Always: workers speak no HTTP to clients."""
        return True

    def services(self, case: Case) -> tuple[str, ...]:
        """etcd and NATS, where discovery needs them and the file gives no addresses."""
        return discovery.services(case)

    def service(self, request: ServiceRequest) -> Launch:
        """``etcd`` or ``nats-server``."""
        return discovery.service(request)

    def service_healthy(self, name: str, address: str, timeout_s: float) -> Seen:
        """Whether etcd says that it is healthy, or NATS answers a PING."""
        return discovery.service_healthy(name, address, timeout_s)

    def server(self, request: ServerRequest) -> Launch:
        """The command of one worker, or of one node of it. Raises ConfigError on what Dynamo cannot be given."""
        case, spec = request.case, request.spec
        check_case(case)
        worker = build_worker(request)
        argv = [*numactl(case), _python(), "-m", f"dynamo.{spec.engine_config[BACKEND]}", *worker.argv]
        env = {
            **_defaults({**_QUIET, **worker.env}, spec.env),
            **discovery.environment(case, request.site, request.host),
        }
        argv += discovery.options(case)
        if request.node_rank:
            return Launch(tuple(argv), env=env, files=worker.files, facts=worker.facts)
        port = request.site.port(highest=HIGHEST_SYSTEM_PORT)
        env |= {
            "DYN_SYSTEM_HOST": request.host,
            "DYN_SYSTEM_PORT": str(port),
            "DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS": '["generate"]',
        }
        address = address_of(request.host, port)
        return Launch(tuple(argv), address=address, env=env, files=worker.files, facts=worker.facts)

    def coordinator(self, request: CoordinatorRequest) -> Launch:
        """The command of the frontend. Raises ConfigError on what it cannot be given, and on workers out of reach."""
        case = request.case
        check_case(case)
        _check_reach(request)
        port = request.site.port()
        argv = [_python(), "-m", "dynamo.frontend", "--http-host", request.host, "--http-port", str(port)]
        argv += [*discovery.options(case), *SERVE.words(coordinator_block(case))]
        env = {
            **_defaults(_QUIET, case.coordinator_env),
            **case.coordinator_env,
            **discovery.environment(case, request.site, request.host),
        }
        return Launch(tuple(argv), address=address_of(request.host, port), env=env)

    def healthy(self, url: str, timeout_s: float) -> Seen:
        """A worker serves its endpoint; the frontend has a model and a worker."""
        return answers.healthy(url, timeout_s)

    def routable(self, url: str, *, ctx: int, gen: int, timeout_s: float) -> Seen:
        """Whether the frontend knows that many prefill and decode workers."""
        return answers.routable(url, ctx, gen, timeout_s)

    def proof(self, case: Case, url: str, timeout_s: float) -> Seen:
        """A streamed request that names the workers it met."""
        return answers.proof(case, url, timeout_s)

    def progress(self, url: str, timeout_s: float) -> int | None:
        """Tokens of the frontend, requests and bytes of a worker, from ``/metrics``."""
        return answers.progress(url, timeout_s)

    def startup(self, url: str, timeout_s: float) -> Mapping[str, Any] | None:
        """The load time of a worker's model."""
        return answers.startup(url, timeout_s)


_QUIET: Mapping[str, str] = {"DYN_SDK_DISABLE_ANSI_LOGGING": "1", "PYTHONUNBUFFERED": "1"}
"""Logs are files: no colours, and every line at once."""


def check_case(case: Case) -> None:
    """What would else be found when workers start, or never.

    Raises:
        ConfigError: with all problems.
    """
    if problems := list(_problems(case)):
        raise ConfigError(problems)


def _problems(case: Case) -> Iterator[Problem]:
    if case.id.mode in ("gen_only", "gen_only_no_context"):
        expected = (
            "e2e or ctx_only: Dynamo has no gate that holds decode workers, and they take requests after a prefill"
        )
        yield problem(case, "mode", case.id.mode, expected)
    elif case.id.runtime == "disagg" and not (case.num_ctx and case.num_gen):
        found = f"{case.num_ctx} CTX and {case.num_gen} GEN servers"
        yield problem(case, "hardware", found, "at least one of each: without prefill workers Dynamo answers 503")
    for spec in case.servers:
        yield from block_problems(case, spec)
    names = {spec.kind: spec.engine_config.get(BACKEND) for spec in case.servers}
    if case.id.runtime == "disagg" and len(set(names.values())) > 1:
        ctx, gen = case.server("ctx"), names.get("gen")
        if ctx is not None:
            yield problem(case, f"{block_of(case, ctx)}.{BACKEND}", repr(names["ctx"]), f"{gen}, as worker_config.gen")
    yield from key_problems(case, BLOCK, coordinator_block(case), OWNED)


def _check_reach(request: CoordinatorRequest) -> None:
    hosts = {server.rpartition(":")[0] for server in (*request.ctx, *request.gen)}
    if discovery.backend(request.case) == "file" and hosts - {request.host}:
        found = f"file, with workers on {', '.join(sorted(hosts - {request.host}))} and the frontend on {request.host}"
        expected = "etcd: file discovery does not see what other machines write"
        raise ConfigError([problem(request.case, "discovery.backend", found, expected)])


def _defaults(env: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in given}


def _python() -> str:
    return os.environ.get(VARIABLE) or sys.executable


def _no_interpreter() -> str | None:
    if named := os.environ.get(VARIABLE):
        return None if shutil.which(named) else f"{VARIABLE}: {named} is no program that can be started"
    if importlib.util.find_spec("dynamo") is not None:
        return None
    return (
        f"Dynamo is not installed here ({INSTALL} prints what to set {VARIABLE} to; with GPUs: pip install ai-dynamo)"
    )


def _no_folder(case: Case) -> str | None:
    """A mocker reads tokenizer and configuration; a name with a slash is fetched as any other model's."""
    site = Site(models_root=case.source.settings.models_root)
    for spec in case.servers:
        path = model_path(case, spec.model, site)
        if spec.engine_config.get(BACKEND) == "mocker" and "/" not in spec.model and not Path(path).is_dir():
            return (
                f"model {spec.model}: no folder of that name below --disagg-models-root "
                "(python tests/dynamo/make_model.py DIR makes one for mockers)"
            )
    return None
