"""``python -m pytest_disagg.engines.sim server|coordinator``: one simulated process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_disagg.engines.sim.coordinator import Coordinator
from pytest_disagg.engines.sim.serve import serve
from pytest_disagg.engines.sim.service import Service
from pytest_disagg.engines.sim.settings import load_coordinator, load_server
from pytest_disagg.engines.sim.truth import TruthLog
from pytest_disagg.engines.sim.worker import Worker


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns 0. A settings file or address that cannot be used ends in a traceback and 1."""
    args = _parser().parse_args(argv)
    truth = TruthLog(args.truth_log) if args.truth_log else None
    service: Service
    if args.command == "server":
        service = Worker(args.kind, load_server(args.settings), truth)
    else:
        service = Coordinator(load_coordinator(args.settings), truth)
    # What writes chunks on a schedule needs each write to leave at once; what only forwards gains from uvloop.
    fast_loop = args.command == "coordinator" and truth is None
    return serve(
        service, host=args.host, port=args.port, address_file=args.address_file, truth=truth, fast_loop=fast_loop
    )


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--settings", type=Path, required=True, help="JSON file, see settings.py")
    common.add_argument("--host", required=True, help="address to bind")
    common.add_argument("--port", type=int, default=0, help="port to bind; 0: any free one")
    common.add_argument("--address-file", type=Path, required=True, help="where to publish host:port")
    common.add_argument("--truth-log", type=Path, help="where to log when each chunk was written")
    parser = argparse.ArgumentParser(prog="python -m pytest_disagg.engines.sim", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("server", parents=[common], help="a CTX, GEN or aggregated server")
    server.add_argument("--kind", choices=["ctx", "gen", "server"], required=True)
    commands.add_parser("coordinator", parents=[common], help="the coordinator in front of CTX and GEN servers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
