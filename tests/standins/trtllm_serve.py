"""Stand-in for TensorRT-LLM's ``trtllm-serve``: takes the documented command lines and files, serves like ``sim``.

    trtllm-serve MODEL --backend B --config FILE --host H --port 0 --report_addr FILE
    trtllm-serve MODEL --backend B --config FILE --host H --port N         (num_serve_frontends > 1)
    trtllm-serve disaggregated -c FILE -t SECONDS -r SECONDS --report_addr FILE

Anything else, a file that is not there and a key that it does not know end it with exit code 2 and a message.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

if not __package__:  # Started as a file: the checkout that it lies in is the one to import.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import yaml

from pytest_disagg.engines.sim.console import log
from pytest_disagg.engines.sim.coordinator import Coordinator
from pytest_disagg.engines.sim.serve import serve
from pytest_disagg.engines.sim.settings import CoordinatorSettings, ServerSettings, Timing
from pytest_disagg.engines.sim.worker import Worker

NAME = "stand-in trtllm-serve"
KEY = "internal_request_auth_key"
SERVER = ("--backend", "--config", "--host", "--port", "--report_addr")
COORDINATOR = ("-c", "-t", "-r", "--report_addr")
KINDS = {"ctx": "ctx", "gen": "gen", "aggr": "server"}
ENGINE_KEYS = frozenset(
    "tensor_parallel_size moe_expert_parallel_size pipeline_parallel_size context_parallel_size max_num_tokens "
    "max_batch_size max_seq_len max_input_len disable_overlap_scheduler num_postprocess_workers stream_interval "
    "print_iter_log attn_backend enable_chunked_prefill enable_attention_dp trust_remote_code enable_lm_head_tp_in_adp "
    "attention_dp_config moe_config cuda_graph_config kv_cache_config cache_transceiver_config speculative_config "
    f"num_serve_frontends {KEY}".split()
)
SERVER_LIST_KEYS = frozenset(
    f"hostname port backend {KEY} context_servers generation_servers num_workers max_retries perf_metrics_max_requests "
    "schedule_style conditional_disagg_config".split()
)
GATE = "TLLM_BENCHMARK_REQ_QUEUES_SIZE"
NO_CONTEXT = "TRTLLM_DISAGG_BENCHMARK_GEN_ONLY"
NO_OVERLAP = "TRTLLM_DISABLE_KV_CACHE_TRANSFER_OVERLAP"


class _AnyModel(str):
    """The real server has one model, and does not look at the name in a request."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    def __ne__(self, other: object) -> bool:
        return not self == other


def refuse(message: str) -> NoReturn:
    sys.stderr.write(f"{NAME}: error: {message}\n")
    raise SystemExit(2)


def main() -> int:
    """Serve until SIGTERM; returns 0."""
    words = sys.argv[1:]
    if words[:1] == ["disaggregated"]:
        return coordinator(options(words[1:], COORDINATOR))
    if not words or words[0].startswith("-"):
        refuse(f"found {words[:1]}, expected a model or 'disaggregated'")
    return server(words[0], options(words[1:], SERVER))


def options(words: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Flag -> value. Each known flag at most once, each with a value."""
    found: dict[str, str] = {}
    for flag, value in zip(words[::2], [*words[1::2], ""], strict=False):
        if flag not in known:
            refuse(f"no such option: {flag}")
        if flag in found or not value:
            refuse(f"option {flag}: given twice, or without a value")
        found[flag] = value
    missing = [flag for flag in known if flag not in found and flag != "--report_addr"]
    if missing:
        refuse(f"missing option {missing[0]}")
    return found


def content(path: Path, known: frozenset[str]) -> dict[str, Any]:
    """The mapping in a file, all of its keys known."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        refuse(f"{path}: {error}")
    if not isinstance(found, dict):
        refuse(f"{path}: not a mapping")
    for key in found:
        if key not in known:
            refuse(f"{path}: unknown key {key!r}")
    return found


def digest(config: Mapping[str, Any]) -> str:
    """What may be shown of a key."""
    return hashlib.sha256(str(config.get(KEY, "")).encode()).hexdigest()


def server(model: str, given: Mapping[str, str]) -> int:
    path = Path(given["--config"])
    config = content(path, ENGINE_KEYS)
    port = int(given["--port"])
    frontends = int(config.get("num_serve_frontends") or 1)
    if (port == 0) == (frontends > 1):
        refuse(f"--port {port} with num_serve_frontends {frontends}")
    if (port == 0) != ("--report_addr" in given):
        refuse("--report_addr goes with --port 0")
    # The real server takes any request; the simulated one has a kind, which only the name of the file tells.
    kind = KINDS.get(path.name.split(".")[1]) if path.name.startswith("extra-llm-api-config.") else None
    if kind is None:
        refuse(f"{path.name}: expected extra-llm-api-config.ctx|gen|aggr.NAME.yml")
    if (kind == "server") == (KEY in config):
        refuse(f"{path}: {KEY} belongs to CTX and GEN servers")
    for name in (GATE, NO_OVERLAP, NO_CONTEXT):
        if kind != "gen" and name in os.environ:
            refuse(f"{name} on a {kind} server: seen to hang")
    settings = ServerSettings(
        role=f"{NAME} {kind} on {given['--host']}",
        model=_AnyModel(model),
        max_batch_size=int(config.get("max_batch_size") or 512),
        tokens_per_chunk=int(config.get("stream_interval") or 1),
        fill_gate=int(os.environ.get(GATE, "0")),
        iteration_log=bool(config.get("print_iter_log")),
        timing=Timing(decode_step_ms=2.0),
    )
    return _serve(_Server(kind, settings, digest(config)), given, port)


class _Server(Worker):
    """A simulated server that also tells what its key is not, and how long it took to load."""

    def __init__(self, kind: Any, settings: ServerSettings, key_digest: str) -> None:
        super().__init__(kind, settings, None)
        self._key_digest = key_digest

    def info(self) -> Mapping[str, Any]:
        return {**super().info(), "key_digest": self._key_digest, "startup_metrics": {"model_load_s": 0.25}}


def coordinator(given: Mapping[str, str]) -> int:
    path = Path(given["-c"])
    config = content(path, SERVER_LIST_KEYS)
    for flag in ("-t", "-r"):
        if not given[flag].isdigit():
            refuse(f"option {flag}: found {given[flag]!r}, expected seconds")
    urls = {key: _urls(path, key, config.get(key)) for key in ("context_servers", "generation_servers")}
    for url in [url for found in urls.values() for url in found]:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{url}/server_info") as answer:
            if json.load(answer)["key_digest"] != digest(config):
                refuse(f"{path}: {KEY} is not that of {url}")
    ctx, gen = urls["context_servers"], urls["generation_servers"]
    if not ctx and os.environ.get(NO_CONTEXT) != "1":
        refuse(f"{path}: no context servers, and {NO_CONTEXT} is not set")
    settings = CoordinatorSettings(f"{NAME} disaggregated", _AnyModel(), tuple(ctx), tuple(gen))
    return _serve(Coordinator(settings, None), {**given, "--host": config["hostname"]}, int(config["port"]))


def _urls(path: Path, key: str, block: object) -> list[str]:
    if not isinstance(block, dict) or not block.keys() <= {"num_instances", "urls", "router"}:
        refuse(f"{path}: {key}: found {block!r}, expected num_instances, urls and router")
    if block["num_instances"] != len(block["urls"]):
        refuse(f"{path}: {key}: {block['num_instances']} instances, {len(block['urls'])} urls")
    return [str(url) for url in block["urls"]]


def _serve(service: Worker | Coordinator, given: Mapping[str, str], port: int) -> int:
    log(f"{NAME}: no TensorRT-LLM here, tokens are simulated")
    address_file = Path(given["--report_addr"]) if "--report_addr" in given else None
    host = given["--host"]
    return serve(
        service, host=host, port=port, address_file=address_file, truth=None, fast_loop=False, reuse_port=port != 0
    )


if __name__ == "__main__":
    sys.exit(main())
