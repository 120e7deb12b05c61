"""What a simulated process is told: plain JSON, validated by who wrote it, so that a server starts without pydantic."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["ctx", "gen", "server"]


@dataclass(frozen=True)
class Timing:
    """The timing model; fields as in :class:`pytest_disagg.config.sim.SimSettings`."""

    prefill_tokens_per_s: float = 200_000.0
    decode_step_ms: float = 5.0
    decode_step_per_request_ms: float = 0.05
    kv_transfer_gbps: float = 100.0
    kv_bytes_per_token: int = 70_000
    startup_s: float = 0.0
    speedup: float = 1.0
    jitter: float = 0.0
    step_noise: float = 0.0
    eos_ratio: float = 0.0


@dataclass(frozen=True)
class Fault:
    """A fault of this process; fields as in :class:`pytest_disagg.config.sim.SimFault` without the role."""

    kind: str
    after_requests: int = 0
    exit_code: int = 1
    ratio: float = 1.0
    delay_s: float = 5.0


@dataclass(frozen=True)
class ServerSettings:
    """One CTX, GEN or aggregated server.

    ``prefill_chunk_tokens`` bounds the prompt tokens of one iteration. ``fill_gate`` is the number of requests a GEN
    server waits for before its first iteration, 0 for none. With ``no_context`` a GEN server takes requests that no CTX
    server has seen. A CTX server with a ``bootstrap_port`` meets GEN servers in rooms there, as SGLang's do.
    """

    role: str
    model: str
    max_batch_size: int = 512
    tokens_per_chunk: int = 1
    prefill_chunk_tokens: int = 8192
    fill_gate: int = 0
    no_context: bool = False
    iteration_log: bool = False
    seed: int = 0
    bootstrap_port: int = 0
    timing: Timing = field(default_factory=Timing)
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class CoordinatorSettings:
    """The coordinator in front of ``ctx`` and ``gen`` (``host:port``, in index order)."""

    role: str
    model: str
    ctx: tuple[str, ...] = ()
    gen: tuple[str, ...] = ()
    no_context: bool = False
    seed: int = 0
    startup_s: float = 0.0
    faults: tuple[Fault, ...] = ()


def dump(settings: ServerSettings | CoordinatorSettings) -> str:
    """The file's text: one JSON object."""
    return json.dumps(asdict(settings), indent=2) + "\n"


def load_server(path: Path) -> ServerSettings:
    """Read what :func:`dump` wrote for a server. Raises OSError, ValueError or TypeError on a file that is not that."""
    data = json.loads(path.read_text(encoding="utf-8"))
    timing = Timing(**data.pop("timing"))
    faults = tuple(Fault(**fault) for fault in data.pop("faults"))
    return ServerSettings(**data, timing=timing, faults=faults)


def load_coordinator(path: Path) -> CoordinatorSettings:
    """Read what :func:`dump` wrote for a coordinator. Raises as :func:`load_server`."""
    data = json.loads(path.read_text(encoding="utf-8"))
    ctx, gen = tuple(data.pop("ctx")), tuple(data.pop("gen"))
    faults = tuple(Fault(**fault) for fault in data.pop("faults"))
    return CoordinatorSettings(**data, ctx=ctx, gen=gen, faults=faults)
