"""Stand-in for ``vllm serve``: takes the options of vLLM 0.33.0 as they are documented, serves like ``sim``.

    vllm serve MODEL --served-model-name NAME --host H --port P [option ...]
    vllm serve MODEL --served-model-name NAME --headless ... [option ...]      (nodes of a server after the first)

``--kv-transfer-config`` decides what is simulated: a producer and a consumer with the NIXL connector's side channel and
``kv_transfer_params``, else an aggregated server. An option that vLLM does not have, a word in the wrong place and a
variable that is missing end it with exit code 2 and a message.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

if not __package__:  # Started as a file: the checkout that it lies in is the one to import.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from pytest_disagg.engines.sim import web
from pytest_disagg.engines.sim.console import log
from pytest_disagg.engines.sim.openai import DisaggParams, Refusal
from pytest_disagg.engines.sim.serve import serve
from pytest_disagg.engines.sim.service import Job
from pytest_disagg.engines.sim.settings import Kind, ServerSettings, Timing
from pytest_disagg.engines.sim.worker import Worker

NAME = "stand-in vllm serve"
VERSION = "0.33.0"
OPTIONS = Path(__file__).with_name("vllm_serve_options.txt")
PARAM = "kv_transfer_params"
HOST, PORT = "VLLM_NIXL_SIDE_CHANNEL_HOST", "VLLM_NIXL_SIDE_CHANNEL_PORT"
TWINS = {"enable": "disable", "disable": "enable"}
KINDS: Mapping[str, Kind] = {"kv_producer": "ctx", "kv_consumer": "gen"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        refuse(message)


def refuse(message: str) -> NoReturn:
    sys.stderr.write(f"{NAME}: error: {message}\n")
    raise SystemExit(2)


def options() -> dict[str, str]:
    """Option without dashes -> kind, as the file beside this one lists them."""
    lines = [line for line in OPTIONS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: kind for kind, _, name in (line.partition(" ") for line in lines)}


def parser() -> argparse.ArgumentParser:
    """vLLM's, as far as the kinds of its options go."""
    made = _Parser(prog="vllm serve", allow_abbrev=False)
    made.add_argument("model_tag")
    known = options()
    for name, kind in known.items():
        how: dict[str, dict[str, Any]] = {
            "switch": {"action": argparse.BooleanOptionalAction},
            "oneway": {"action": "store_true"},
            "many": {"nargs": "+"},
            "repeated": {"action": "append"},
            "json": {"type": json.loads},
        }
        made.add_argument(f"--{name}", **how.get(kind, {}))
        prefix, _, rest = name.partition("-")
        twin = f"{TWINS.get(prefix)}-{rest}"
        if kind == "switch" and prefix in TWINS and twin not in known:
            made.add_argument(f"--{twin}", action="store_true")
    return made


def main() -> int:
    """Serve until SIGTERM; returns 0."""
    if sys.argv[1:2] != ["serve"]:
        refuse(f"found {sys.argv[1:2]}, expected 'serve'")
    given = parser().parse_args(sys.argv[2:])
    kind = simulated(json.loads(given.kv_transfer_config or "{}"))
    log(f"{NAME} {VERSION}: no vLLM here, tokens are simulated")
    if given.headless:
        return wait(given)
    if given.host is None or given.port is None or len(given.served_model_name or ()) != 1:
        refuse("expected --host, --port and one --served-model-name")
    settings = ServerSettings(
        role=f"{NAME} {kind} on {given.host}",
        model=given.served_model_name[0],
        max_batch_size=int(given.max_num_seqs or 256),
        timing=Timing(decode_step_ms=2.0),
    )
    channel = None if kind == "server" else side_channel()
    server = _Server(kind, settings, channel)
    return serve(server, host=given.host, port=int(given.port), address_file=None, truth=None, fast_loop=False)


def simulated(config: Mapping[str, Any]) -> Kind:
    """The kind of server."""
    connector, role = config.get("kv_connector"), config.get("kv_role")
    if connector is None:
        return "server"
    if connector != "NixlConnector" or role not in KINDS:
        refuse(f"{connector} as {role}: nothing here stands in for that")
    return KINDS[str(role)]


def side_channel() -> socket.socket:
    """Where other servers shake hands; the host must be told, else nobody on another node would find it."""
    if HOST not in os.environ or PORT not in os.environ:
        refuse(f"{HOST} and {PORT}: not in the environment")
    listener = socket.create_server((os.environ[HOST], int(os.environ[PORT])))
    log(f"{NAME}: side channel on {os.environ[HOST]}:{os.environ[PORT]}")
    return listener


def wait(given: argparse.Namespace) -> int:
    """What a node after the first does as far as HTTP goes: nothing."""
    if given.port is not None or given.host is not None:
        refuse("--headless starts no API server")
    ranks = (given.node_rank, given.master_addr), (given.data_parallel_start_rank, given.data_parallel_address)
    if not any(None not in pair and pair[0] != "0" for pair in ranks):
        refuse("--headless without a rank, or without the address of the first node")
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    log(f"{NAME}: headless node, rank {given.node_rank or given.data_parallel_start_rank}")
    signal.sigwait(stops)
    return 0


class _Server(Worker):
    """A simulated server that speaks the NIXL connector's ``kv_transfer_params`` and has vLLM's metrics."""

    def __init__(self, kind: Kind, settings: ServerSettings, channel: socket.socket | None) -> None:
        super().__init__(kind, settings, None)
        self._channel = channel
        self._decodes = kind == "gen"

    def app(self) -> web.App:
        app = super().app()
        app.add_get("/version", self._version)
        return app

    async def _version(self, _http: web.Request) -> web.Response:
        return web.json_response({"version": VERSION})

    async def _metrics(self, _http: web.Request) -> web.Response:
        counters = self.counters()
        lines = ['vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="1024"} 1.0']
        for name in ("prompt", "generation"):
            labels = f'{{engine="0",model_name="{self.model}"}}'
            lines.append(f"vllm:{name}_tokens_total{labels} {float(counters[f'sim_{name}_tokens_total'])}")
        return web.Response("\n".join([*lines, ""]).encode())

    async def handle(self, job: Job) -> web.Answer:
        params = job.body.get(PARAM)
        if not isinstance(params, dict):
            return await super().handle(job)
        if self._decodes:
            return await super().handle(_with(job, await _pulled(params)))
        if params.get("do_remote_decode") is not True or job.request.stream or job.request.max_tokens != 1:
            raise Refusal(f"{PARAM}: a prefill is one token, not streamed, with do_remote_decode", param=PARAM)
        answer = await super().handle(_with(job, DisaggParams("context_only")))
        return self._handed_over(answer)

    def _handed_over(self, answer: web.Answer) -> web.Response:
        if not isinstance(answer, web.Response) or self._channel is None:
            raise Refusal("a prefill has no answer", status=500)
        body = json.loads(answer.body)
        made = body["choices"][0].pop("disaggregated_params")
        host, port = self._channel.getsockname()[:2]
        params = {
            "do_remote_prefill": True,
            "do_remote_decode": False,
            "remote_engine_id": made["opaque_state"],
            "remote_block_ids": [made["ctx_request_id"]],
            "remote_host": host,
            "remote_port": port,
        }
        return web.json_response({**body, PARAM: params})


def _with(job: Job, params: DisaggParams) -> Job:
    return dataclasses.replace(job, request=dataclasses.replace(job.request, disagg=params))


async def _pulled(params: Mapping[str, Any]) -> DisaggParams:
    """What the prefill left, once its server's side channel has answered."""
    if params.get("do_remote_prefill") is not True:
        raise Refusal(f"{PARAM}.do_remote_prefill: not what a prefill answers", param=PARAM)
    try:
        _, writer = await asyncio.open_connection(params["remote_host"], params["remote_port"])
        writer.close()
    except OSError as error:
        raise Refusal(f"no handshake at {params['remote_host']}:{params['remote_port']}: {error}", status=500) from None
    (request_id,) = params["remote_block_ids"]
    return DisaggParams("generation_only", request_id, params["remote_engine_id"])


if __name__ == "__main__":
    sys.exit(main())
