"""What stands before the servers: ``vllm-router``, or a proxy script.

Options of the first are those of vllm-router 0.1.17 (``vllm-router --help``, ``docs/cli_reference.md``), of the second
those of ``tests/v1/kv_connector/nixl_integration/toy_proxy_server.py`` in vLLM's repository (2026): the proxy that the
documentation of the NIXL connector uses, and that no package installs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_disagg.config.case import Case
from pytest_disagg.engines.options import PLAIN, coordinator_block, key_problems, refuse, without
from pytest_disagg.engines.protocol import CoordinatorRequest
from pytest_disagg.engines.vllm.kv import BOOTSTRAP, family_of
from pytest_disagg.errors import Problem
from pytest_disagg.topology.problems import problem

BLOCK = "coordinator_config"
ROUTER = "vllm-router"
PROXY = "proxy"
ROUTER_VARIABLE = "DISAGG_VLLM_ROUTER"
PYTHON_VARIABLE = "DISAGG_VLLM_PYTHON"
OF_THE_HARNESS = frozenset(("program", "script"))
_RUN = "nothing: the run gives it"
OWNED: Mapping[str, Mapping[str, str]] = {
    ROUTER: refuse(
        (
            _RUN,
            "host port prometheus_host prometheus_port vllm_pd_disaggregation prefill decode worker_urls kv_connector",
        ),
        ("nothing: servers are listed", "service_discovery vllm_discovery_address enable_igw"),
        ("nothing: only the run knows where servers are", "kv_event_source kv_event_replay_source pd_kv_events"),
        ("nothing: the client sends no key", "api_key"),
    ),
    PROXY: refuse((_RUN, "host port prefiller_hosts prefiller_ports decoder_hosts decoder_ports")),
}


def program_of(case: Case) -> str:
    """``vllm-router`` or ``proxy``."""
    return str(coordinator_block(case).get("program") or ROUTER)


def router_program() -> str:
    """``DISAGG_VLLM_ROUTER``, else the name on PATH."""
    return os.environ.get(ROUTER_VARIABLE) or ROUTER


def missing_coordinator(case: Case) -> str | None:
    """Why the coordinator cannot be started here; None when it can."""
    if program_of(case) == PROXY:
        script = Path(str(coordinator_block(case).get("script")))
        return None if script.is_file() else f"{script} ({BLOCK}.script) is not there"
    program = router_program()
    return (
        None if shutil.which(program) else f"{program} is not on PATH (pip install vllm-router, or {ROUTER_VARIABLE})"
    )


def coordinator_problems(case: Case) -> Iterator[Problem]:
    """What is wrong with the block."""
    block, program = coordinator_block(case), program_of(case)
    if program not in OWNED:
        yield problem(case, f"{BLOCK}.program", repr(program), f"{ROUTER} or {PROXY}")
        return
    yield from key_problems(case, BLOCK, block, OWNED[program])
    if program == ROUTER:
        if "script" in block:
            yield problem(case, f"{BLOCK}.script", repr(block["script"]), f"nothing, or program: {PROXY}")
        return
    if not isinstance(block.get("script"), str) or not block["script"]:
        yield problem(case, f"{BLOCK}.script", repr(block.get("script")), "the path of the proxy's script")
    if family_of(case, "ctx") == "mooncake":
        expected = f"{ROUTER}: the proxy speaks NIXL's protocol"
        yield problem(case, f"{BLOCK}.program", PROXY, expected)


def coordinator_words(request: CoordinatorRequest, port: int, metrics_port: int) -> list[str]:
    """The command line of the coordinator on ``port``; it ends with the file's own options.

    The router retries only where the file says ``disable_retries: false``: a request that failed is to be seen as
    failed.
    """
    own = without(coordinator_block(request.case), OF_THE_HARNESS)
    listens = ["--host", request.host, "--port", str(port)]
    if program_of(request.case) == PROXY:
        python = os.environ.get(PYTHON_VARIABLE) or "python3"
        script = str(coordinator_block(request.case)["script"])
        return [python, script, *listens, *_proxied(request), *PLAIN.words(own)]
    metrics = ["--prometheus-host", request.host, "--prometheus-port", str(metrics_port)]
    return [router_program(), *listens, *metrics, *_routed(request), *PLAIN.words({"disable_retries": True, **own})]


def _routed(request: CoordinatorRequest) -> Iterator[str]:
    mooncake = family_of(request.case, "ctx") == "mooncake"
    yield "--vllm-pd-disaggregation"
    if mooncake:
        yield from ("--kv-connector", "mooncake")
    for index, server in enumerate(request.ctx):
        yield from ("--prefill", f"http://{server}")
        if mooncake:
            yield request.ctx_facts[index][BOOTSTRAP]
    for server in request.gen:
        yield from ("--decode", f"http://{server}")


def _proxied(request: CoordinatorRequest) -> Iterator[str]:
    for kind, servers in (("prefiller", request.ctx), ("decoder", request.gen)):
        parts = [server.rpartition(":") for server in servers]
        yield from (f"--{kind}-hosts", *(host for host, _, _ in parts))
        yield from (f"--{kind}-ports", *(port for _, _, port in parts))
