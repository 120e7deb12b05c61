"""The ``sim:`` block of a case file: the timing model of the simulated engine and the faults it plays."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pytest_disagg.config.blocks import OurBlock, Ratio

FaultKind = Literal["slow_start", "never_ready", "exit", "hang", "fail_requests", "empty_streams"]

Count = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NotNegative = Annotated[float, Field(ge=0, strict=True)]


class SimFault(OurBlock):
    """One thing that goes wrong on purpose.

    ``after_requests`` is M, counted in completion requests that this server received. ``exit`` ends the process with
    ``exit_code`` when request M arrives, or as soon as it is up where M is 0. ``hang``, ``fail_requests`` and
    ``empty_streams`` leave the first M requests alone.
    """

    role: Annotated[str, Field(pattern=r"^(?:(?:GEN|CTX|SERVER)_(?:\*|[0-9]+)|DISAGG_SERVER)$")] = Field(
        description="GEN_<i>, CTX_<i>, SERVER_<i> (aggregated), each also with * for all of them, or DISAGG_SERVER"
    )
    kind: FaultKind
    after_requests: Count = Field(default=0, description="requests this server receives before the fault acts")
    exit_code: Annotated[int, Field(ge=0, le=255, strict=True)] = Field(
        default=1, description="exit: the process's exit status"
    )
    ratio: Ratio = Field(
        default=1.0, description="fail_requests, empty_streams: the share of requests, drawn with the seed"
    )
    delay_s: NotNegative = Field(default=5.0, description="slow_start: seconds added to startup_s")


class SimSettings(OurBlock):
    """The stated model. All times are of the simulated engine and are divided by ``speedup``.

    A prompt of n tokens takes n / ``prefill_tokens_per_s``, first come first served on each CTX server. Its KV cache
    crosses to the GEN server in n x ``kv_bytes_per_token`` x 8 / ``kv_transfer_gbps``, one transfer at a time per GEN
    server. A decode step of b running requests takes ``decode_step_ms`` + b x ``decode_step_per_request_ms`` and gives
    each of them one token.
    """

    prefill_tokens_per_s: Positive = Field(default=200_000, description="prompt tokens per second of one server")
    decode_step_ms: Positive = Field(default=5.0, description="one decode step without its per-request share")
    decode_step_per_request_ms: NotNegative = Field(default=0.05, description="growth of a step per running request")
    kv_transfer_gbps: Positive = Field(default=100.0, description="gigabits per second into one GEN server")
    kv_bytes_per_token: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=70_000, description="size of the KV cache"
    )
    max_batch_size: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None, description="running requests of one server; default: what the engine's block says, else 512"
    )
    tokens_per_chunk: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None, description="tokens per streamed chunk; default: the engine block's stream_interval, else 1"
    )
    startup_s: NotNegative = Field(default=0.0, description="seconds from the published address to healthy")
    speedup: Positive = Field(default=1.0, description="divides prefill, transfer, step and start-up times")
    jitter: Annotated[float, Field(ge=0, lt=1, strict=True)] = Field(
        default=0.0, description="prefill and transfer times vary uniformly by this share of themselves"
    )
    step_noise: Annotated[float, Field(ge=0, lt=1, strict=True)] = Field(
        default=0.0, description="standard deviation of a decode step as a share of it"
    )
    eos_ratio: Annotated[float, Field(ge=0, lt=1, strict=True)] = Field(
        default=0.0, description="chance of each token to end a request that does not ignore EOS"
    )
    seed: Annotated[int, Field(strict=True)] = Field(
        default=0, description="of everything that is drawn; each server derives its own from it"
    )
    truth_log: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="each server logs when it wrote each chunk"
    )
    faults: tuple[SimFault, ...] = Field(default=(), description="what goes wrong, and where")
