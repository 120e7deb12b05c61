"""Engine ``sglang``: the commands of SGLang's servers and of its router, and the questions asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines.base import BaseEngine, address_of, numactl
from pytest_disagg.engines.models import model_path
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, Seen, ServerRequest
from pytest_disagg.engines.sglang import answers
from pytest_disagg.engines.sglang.flags import OPTIONS
from pytest_disagg.engines.sglang.installed import ROUTER, SERVER
from pytest_disagg.engines.sglang.options import check_case, router_options, server_options, simulated
from pytest_disagg.engines.sim.engine import SimEngine

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, ServerSpec

BOOTSTRAP = "bootstrap_port"
"""The fact of a CTX server that the router needs: where GEN servers ask it for KV caches."""

METRICS = "metrics"
"""The fact of a router: the whole URL of its metrics."""

MODES = {"ctx": "prefill", "gen": "decode"}
ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}


class SglangEngine(BaseEngine):
    """``python -m sglang.launch_server`` behind ``python -m sglang_router.launch_router``.

    Command lines are those of SGLang 0.5.23 and sglang-router 0.3.2 (both of 2026). A server is told its ports. One of
    several nodes has a process on each, all with the same options but for its rank; the first answers requests. The
    router posts a request to a CTX and a GEN server at once and says to both where they meet: at the CTX server's
    bootstrap port. Where the blocks say ``backend: sim``, simulated servers speak with the real router.
    """

    name = "sglang"

    def __init__(self) -> None:
        self._sim = SimEngine()

    def unavailable(self, case: Case) -> str | None:
        """SGLang is not installed, where a server needs it, or the router is not, where there is one."""
        if not simulated(case):
            for spec in case.servers:
                if reason := SERVER.missing(spec.env):
                    return reason
        return ROUTER.missing(case.coordinator_env) if case.id.runtime == "disagg" else None

    def check(self, case: Case) -> None:
        """Raises ConfigError: see :func:`check_case`."""
        check_case(case)

    def simulated(self, case: Case) -> bool:
        """Whether simulated servers stand behind the router."""
        return simulated(case)

    def on_every_node(self, case: Case, spec: ServerSpec) -> bool:
        """True: a process starts the ranks of its own node. A simulated server is one process."""
        return not simulated(case)

    def server(self, request: ServerRequest) -> Launch:
        """The command of one node of a CTX, GEN or aggregated server.

        Raises:
            ConfigError: the case asks for what SGLang or the router does not have.
        """
        case, spec = request.case, request.spec
        check_case(case)
        if simulated(case):
            return self._simulated(request)
        port = request.site.port()
        argv = [*numactl(case), SERVER.python(spec.env), "-m", SERVER.module]
        argv += ["--model-path", model_path(case, spec.model, request.site), "--served-model-name", spec.model]
        argv += ["--host", request.host, "--port", str(port)]
        facts: dict[str, str] = {}
        if spec.kind != "server":
            argv += ["--disaggregation-mode", MODES[spec.kind]]
        if spec.kind == "ctx":
            # One server, one bootstrap server: that of the first node.
            facts[BOOTSTRAP] = request.lead.get(BOOTSTRAP) or str(request.site.port())
            argv += ["--disaggregation-bootstrap-port", facts[BOOTSTRAP]]
        if request.nodes > 1:
            argv += ["--nnodes", str(request.nodes), "--node-rank", str(request.node_rank)]
            argv += ["--dist-init-addr", request.rendezvous]
        argv += OPTIONS.words(server_options(spec))
        return Launch(tuple(argv), address=address_of(request.host, port), env=ENVIRONMENT, facts=facts)

    def coordinator(self, request: CoordinatorRequest) -> Launch:
        """The router in front of the given servers. Raises ConfigError as :meth:`server`."""
        case, site = request.case, request.site
        check_case(case)
        port, metrics_port = site.port(), site.port()
        argv = [ROUTER.python(case.coordinator_env), "-m", ROUTER.module]
        argv += ["--host", request.host, "--port", str(port)]
        argv += ["--prometheus-host", request.host, "--prometheus-port", str(metrics_port), "--pd-disaggregation"]
        for address, said in zip(request.ctx, request.ctx_facts, strict=True):
            argv += ["--prefill", f"http://{address}", said.get(BOOTSTRAP, "none")]
        for address in request.gen:
            argv += ["--decode", f"http://{address}"]
        argv += OPTIONS.words(router_options(case))
        facts = {METRICS: f"http://{address_of(request.host, metrics_port)}/metrics"}
        return Launch(tuple(argv), address=address_of(request.host, port), env=ENVIRONMENT, facts=facts)

    def healthy(self, url: str, timeout_s: float) -> Seen:
        """Whether ``GET /health`` is 200, for which SGLang takes its time."""
        return answers.healthy(url, timeout_s)

    def routable(self, url: str, *, ctx: int, gen: int, timeout_s: float) -> Seen:
        """Whether the router lists that many healthy prefill and decode workers."""
        return answers.routable(url, ctx, gen, timeout_s)

    def text_prompts(self, case: Case) -> bool:
        """The router refuses token ids."""
        return case.id.runtime == "disagg"

    def metrics_url(self, url: str, facts: Mapping[str, str]) -> str | None:
        """``/metrics`` of a server; the router has a port of its own for them."""
        return facts.get(METRICS) or super().metrics_url(url, facts)

    def progress(self, url: str, timeout_s: float) -> int | None:
        """Tokens so far, from a server's ``/metrics``."""
        return answers.progress(url, timeout_s)

    def startup(self, url: str, timeout_s: float) -> Mapping[str, Any] | None:
        """Version and load times, from ``GET /server_info``."""
        return answers.startup(url, timeout_s)

    def _simulated(self, request: ServerRequest) -> Launch:
        if request.spec.kind != "ctx":
            return self._sim.server(request)
        port = request.site.port()
        launch = self._sim.server(request, bootstrap_port=port)
        return replace(launch, facts={BOOTSTRAP: str(port)})
