"""What most engines answer: defaults of everything in :class:`pytest_disagg.engines.protocol.Engine` but commands.

Of commands it has what is the same in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines import http
from pytest_disagg.engines.protocol import Launch, ProbePolicy, Seen, ServiceRequest
from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, Mode, ServerSpec


def address_of(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def numactl(case: Case) -> tuple[str, ...]:
    """What a server's command begins with: ``slurm.numa_bind`` keeps its memory on the NUMA nodes of the CPUs.

    Grace's GPUs are NUMA nodes, too. The option is one word, as in TensorRT-LLM's perf-sanity test.
    """
    return ("numactl", "-m 0,1") if case.numa_bind else ()


class BaseEngine:
    """An engine whose processes share nothing, whose rank 0 starts a whole server, and that answers ``GET /health``.

    A subclass names itself and gives the commands (``server``, ``coordinator``).
    """

    name: str

    def unavailable(self, case: Case) -> str | None:
        """None: it runs wherever this package does."""
        return None

    def check(self, case: Case) -> None:
        """Nothing to find."""

    def simulated(self, case: Case) -> bool:
        """False."""
        return False

    def secrets(self, case: Case) -> tuple[str, ...]:
        """None."""
        return ()

    def around_pytest(self, case: Case, spec: ServerSpec) -> tuple[str, ...]:
        """Nothing: rank 0 alone plays the role."""
        return ()

    def environment(self, case: Case, spec: ServerSpec) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def on_every_node(self, case: Case, spec: ServerSpec) -> bool:
        """False: rank 0 starts the whole server."""
        return False

    def fronts_aggregated(self, case: Case) -> bool:
        """False: it takes requests itself."""
        return False

    def services(self, case: Case) -> tuple[str, ...]:
        """None."""
        return ()

    def service(self, request: ServiceRequest) -> Launch:
        """There is none. Raises UsageError."""
        raise UsageError(f"engine {self.name} has no service {request.name!r}")

    def service_healthy(self, name: str, address: str, timeout_s: float) -> Seen:
        """Whether ``GET /health`` is 200."""
        return http.healthy(f"http://{address}", timeout_s)

    def healthy(self, url: str, timeout_s: float) -> Seen:
        """Whether ``GET /health`` is 200."""
        return http.healthy(url, timeout_s)

    def routable(self, url: str, *, ctx: int, gen: int, timeout_s: float) -> Seen:
        """Whether the coordinator is healthy: it counts no instances."""
        return http.healthy(url, timeout_s)

    def proof(self, case: Case, url: str, timeout_s: float) -> Seen:
        """Ok: tokens are proof enough."""
        return Seen(True, "nothing beside tokens is asked for")

    def text_prompts(self, case: Case) -> bool:
        """False."""
        return False

    def metrics_url(self, url: str, facts: Mapping[str, str]) -> str | None:
        """``/metrics``."""
        return f"{url}/metrics"

    def progress(self, url: str, timeout_s: float) -> int | None:
        """None: there is no counter."""
        return None

    def startup(self, url: str, timeout_s: float) -> Mapping[str, Any] | None:
        """None: it says nothing of its start."""
        return None

    def probe_policy(self, mode: Mode) -> ProbePolicy:
        """Everything may be sent, any number of times."""
        return ProbePolicy(probe=True, warmup=True, repeat=True)

    def iteration_logs(self) -> bool:
        """False."""
        return False
