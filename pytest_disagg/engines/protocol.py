"""What a serving engine has to say for itself: commands, addresses, readiness. A new engine is one class.

Engines never start anything and never know pytest: they return argument lists and files as data, and answer questions
about a URL. ``roles`` does the rest, the same way for all of them. Found by entry-point group
``pytest_disagg.engines`` (name -> class without arguments) through :mod:`pytest_disagg.engines.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, Mode, ServerSpec


@dataclass(frozen=True)
class Launch:
    """A process to start. ``files`` (absolute path -> text) are written, whole, before it starts.

    ``env`` lies over the role's own environment. Where the process listens is either what it reports in
    ``address_file`` (``host:port``, written to a temporary name and renamed), or the ``address`` that it was told. A
    process that others find by themselves still has an address of its own: the one that answers for its health.
    ``facts`` are published with the address, for the coordinator's request (the bootstrap port of a prefill server).
    """

    argv: tuple[str, ...]
    address_file: Path | None = None
    address: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


MEETING_PORTS = 16
"""How many ports in a row are free where the nodes of a server meet. SGLang's attention DP takes up to 13 above it."""


def no_port(*, shared: bool = False, highest: int | None = None, count: int = 1) -> int:
    """Stands for a port that only a run can choose."""
    return 0


@dataclass(frozen=True)
class Site:
    """What the case does not say and an engine may need. None and empty where nobody said.

    ``models_root`` holds models and datasets, ``llm_src`` is a TensorRT-LLM checkout. ``secrets`` are those that
    :meth:`Engine.secrets` named. ``port()`` is a free TCP port of this host, kept free until the process starts;
    ``port(shared=True)`` stays bound (SO_REUSEPORT, never listening) for as long as the process lives,
    ``port(highest=n)`` is for a program that takes no higher one, of ``port(count=n)`` those that follow are free, too.
    ``services`` maps the names of :meth:`Engine.services` to the ``host:port`` where each was started. ``shared_dir``
    is a folder of this run, empty at its start, that its processes on all nodes see.
    """

    models_root: Path | None = None
    llm_src: Path | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    port: Callable[..., int] = no_port
    services: Mapping[str, str] = field(default_factory=dict)
    shared_dir: Path = Path("shared")


@dataclass(frozen=True)
class ServiceRequest:
    """A service that the servers need before they start: ``name`` is one of :meth:`Engine.services`.

    It is started once a run, beside the coordinator. ``host`` is the interface to bind, ``data_dir`` an empty folder
    for its state, of this run and on this node.
    """

    case: Case
    name: str
    host: str
    data_dir: Path
    config_dir: Path
    address_file: Path
    site: Site = field(default_factory=Site)


@dataclass(frozen=True)
class ServerRequest:
    """One server to be started: the role that asks, its place in the run directory, the interface to bind.

    ``config_dir`` is this role's own folder for what it writes, ``secrets_dir`` its own folder for files that hold
    a secret, gone when the run stops; ``log_dir`` is where extra logs (a truth log) may lie. Where every node of a
    server starts a process (:meth:`Engine.on_every_node`), ``node_rank`` of ``nodes`` is the one that asks, and
    ``rendezvous`` the ``host:port`` where rank 0 lets the others find it, the first of :data:`MEETING_PORTS` ports that
    rank 0 has free, and ``lead`` the facts of rank 0's launch, for the other ranks.
    """

    case: Case
    spec: ServerSpec
    role: str
    index: int
    host: str
    config_dir: Path
    log_dir: Path
    secrets_dir: Path
    address_file: Path
    site: Site = field(default_factory=Site)
    node_rank: int = 0
    nodes: int = 1
    rendezvous: str = ""
    lead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CoordinatorRequest:
    """The coordinator, started when every server has an address. ``ctx``/``gen`` are ``host:port`` in index order.

    ``ctx_facts``/``gen_facts`` are what each of them published with its address (:attr:`Launch.facts`).
    """

    case: Case
    role: str
    host: str
    ctx: Sequence[str]
    gen: Sequence[str]
    config_dir: Path
    log_dir: Path
    secrets_dir: Path
    address_file: Path
    site: Site = field(default_factory=Site)
    ctx_facts: Sequence[Mapping[str, str]] = ()
    gen_facts: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class Seen:
    """An answer to "is it ready?" and, ready or not, what was last seen, in words for an error message."""

    ok: bool
    seen: str


@dataclass(frozen=True)
class ProbePolicy:
    """What may be sent before the measured load, per mode, and whether the load can be repeated on the deployment."""

    probe: bool
    warmup: bool
    repeat: bool

    def repeats(self, asked: int) -> int:
        """How often a load is measured where ``asked`` times were asked for."""
        return asked if self.repeat else 1


class Engine(Protocol):
    """A serving engine. Methods are quick, raise :class:`pytest_disagg.errors.ConfigError` or ``UsageError`` only."""

    name: str

    def unavailable(self, case: Case) -> str | None:
        """Why this engine cannot run here (``trtllm-serve is not on PATH``); None when it can. Starts nothing."""
        ...

    def check(self, case: Case) -> None:
        """Find what would else be found when servers start, or never. Starts nothing.

        Raises:
            ConfigError: every key and mode of the file that it cannot serve.
        """
        ...

    def simulated(self, case: Case) -> bool:
        """Whether what is served is only simulated, so that no GPU is needed and none is held."""
        ...

    def secrets(self, case: Case) -> tuple[str, ...]:
        """Names of the random secrets that the processes of a run share; each is 64 hexadecimal digits."""
        ...

    def around_pytest(self, case: Case, spec: ServerSpec) -> tuple[str, ...]:
        """The launcher that every task of a server's Slurm step runs pytest under.

        Empty where rank 0 alone plays the role and starts the server: the other ranks then wait for it.
        """
        ...

    def environment(self, case: Case, spec: ServerSpec) -> Mapping[str, str]:
        """What every rank below that launcher needs, under the file's own; values may name ``${SLURM_LOCALID}``."""
        ...

    def on_every_node(self, case: Case, spec: ServerSpec) -> bool:
        """Whether each node of a server starts a process of its own; else rank 0 starts the whole server."""
        ...

    def fronts_aggregated(self, case: Case) -> bool:
        """Whether an aggregated server takes requests only through a coordinator, started in front of it."""
        ...

    def services(self, case: Case) -> tuple[str, ...]:
        """Names of what has to run before any server starts (``etcd``), in that order; empty where nothing has to."""
        ...

    def service(self, request: ServiceRequest) -> Launch:
        """The command of one of them."""
        ...

    def service_healthy(self, name: str, address: str, timeout_s: float) -> Seen:
        """Whether the service at ``address`` (``host:port``) answers. Never raises."""
        ...

    def server(self, request: ServerRequest) -> Launch:
        """The command of one CTX, GEN or aggregated server, or of one node of it."""
        ...

    def coordinator(self, request: CoordinatorRequest) -> Launch:
        """The command of the coordinator in front of the given servers."""
        ...

    def healthy(self, url: str, timeout_s: float) -> Seen:
        """Whether the server or coordinator at ``url`` (``http://host:port``) answers as healthy. Never raises."""
        ...

    def routable(self, url: str, *, ctx: int, gen: int, timeout_s: float) -> Seen:
        """Whether the coordinator at ``url`` reports that many instances. Never raises."""
        ...

    def proof(self, case: Case, url: str, timeout_s: float) -> Seen:
        """A request of the engine's own to the coordinator that shows a route through CTX and GEN. Never raises.

        Asked in stage ``probe``, where :meth:`probe_policy` allows one, until it is ok.
        """
        ...

    def text_prompts(self, case: Case) -> bool:
        """Whether random prompts have to be text, because the coordinator takes no token ids."""
        ...

    def metrics_url(self, url: str, facts: Mapping[str, str]) -> str | None:
        """Where the server or coordinator at ``url`` gives metrics as Prometheus text; None where it does not.

        ``facts`` are those of its launch.
        """
        ...

    def progress(self, url: str, timeout_s: float) -> int | None:
        """A counter that grows while the server works (tokens, iterations); None where it has none. Never raises."""
        ...

    def startup(self, url: str, timeout_s: float) -> Mapping[str, Any] | None:
        """What the server at ``url`` says of its own start (load times); None where it does not. Never raises."""
        ...

    def probe_policy(self, mode: Mode) -> ProbePolicy:
        """How a deployment in that mode is probed."""
        ...

    def iteration_logs(self) -> bool:
        """Whether GEN servers write iteration log lines that gen_only cases are measured on."""
        ...
