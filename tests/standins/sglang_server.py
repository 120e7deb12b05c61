"""Stand-in for SGLang's ``python -m sglang.launch_server``: takes its options, serves like ``sim``.

The options are all that SGLang 0.5.23 has (``sglang_flags.json``: switches, options of one word, options of several).
Any other, one without its words, and what does not go together end it with exit code 2 and a message.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

from pytest_disagg.engines.sim.console import log
from pytest_disagg.engines.sim.serve import serve
from pytest_disagg.engines.sim.settings import Kind, ServerSettings, Timing
from pytest_disagg.engines.sim.worker import Worker

NAME = "stand-in sglang.launch_server"
FLAGS: Mapping[str, Any] = json.loads(Path(__file__).with_name("sglang_flags.json").read_text(encoding="utf-8"))
KINDS: Mapping[str, Kind] = {"prefill": "ctx", "decode": "gen", "null": "server"}


def refuse(message: str) -> NoReturn:
    sys.stderr.write(f"{NAME}: error: {message}\n")
    raise SystemExit(2)


def options(words: Sequence[str]) -> dict[str, list[str]]:
    """Option -> its words, none for a switch."""
    found: dict[str, list[str]] = {}
    last: list[str] | None = None
    for word in words:
        if word.startswith("--"):
            if not any(word in FLAGS[kind] for kind in ("switch", "value", "words")):
                refuse(f"unrecognized arguments: {word}")
            last = found.setdefault(word, [])
        elif last is None:
            refuse(f"unrecognized arguments: {word}")
        else:
            last.append(word)
    for flag, given in found.items():
        if flag in FLAGS["switch"] and given:
            refuse(f"unrecognized arguments: {' '.join(given)}")
        if (flag in FLAGS["value"] and len(given) != 1) or (flag in FLAGS["words"] and not given):
            refuse(f"argument {flag}: expected {'one argument' if flag in FLAGS['value'] else 'arguments'}")
    return found


class _Server(Worker):
    """A simulated server that also tells how long it took to load, and what it was asked for."""

    def info(self) -> Mapping[str, Any]:
        started = {"load_weight": 0.25, "kv_cache_allocation": 0.05, "scheduler_e2e": 0.4}
        return {"launch_command": sys.argv, "version": FLAGS["version"], "startup_time": started}


class _Follower(BaseHTTPRequestHandler):
    """What a node that is not the first one answers."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> int:
    """Serve until SIGTERM; returns 0."""
    given = options(sys.argv[1:])
    for flag in ("--model-path", "--host", "--port"):
        if flag not in given:
            refuse(f"the following arguments are required: {flag}")
    one = {flag: words[0] for flag, words in given.items() if words}
    nodes, rank = int(one.get("--nnodes", "1")), int(one.get("--node-rank", "0"))
    if (nodes > 1) != ("--dist-init-addr" in given) or not 0 <= rank < nodes:
        refuse(f"--nnodes {nodes}, --node-rank {rank}, --dist-init-addr {one.get('--dist-init-addr')}")
    mode = one.get("--disaggregation-mode", "null")
    log(f"{NAME}: no SGLang here, tokens are simulated; mode {mode}, node {rank} of {nodes}")
    host, port = one["--host"], int(one["--port"])
    if rank:
        HTTPServer((host, port), _Follower).serve_forever()
    settings = ServerSettings(
        role=f"{NAME} {mode}",
        model=one.get("--served-model-name", one["--model-path"]),
        max_batch_size=int(one.get("--max-running-requests", "512")),
        bootstrap_port=int(one.get("--disaggregation-bootstrap-port", "8998")) if mode == "prefill" else 0,
        timing=Timing(decode_step_ms=2.0),
    )
    return serve(
        _Server(KINDS[mode], settings, None), host=host, port=port, address_file=None, truth=None, fast_loop=False
    )
