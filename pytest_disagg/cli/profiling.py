"""Options that put nsys around servers: the same for ``disagg run`` and both forms of ``disagg submit``."""

from __future__ import annotations

import argparse

from pytest_disagg.errors import UsageError

CAPTURE = "--capture-nsys"
_WHOSE = {"server": "an aggregated server", "ctx": "CTX servers", "gen": "GEN servers"}
_OPTIONS = {"server": "--nsys-start-stop", "ctx": "--ctx-nsys-start-stop", "gen": "--gen-nsys-start-stop"}


def add_profiling_options(group: argparse._ArgumentGroup) -> None:
    """Add ``--capture-nsys`` and the ranges of each kind of server."""
    group.add_argument(CAPTURE, action="store_true", help="profile every server with nsys; such a run is not judged")
    for kind, option in _OPTIONS.items():
        group.add_argument(option, metavar="A-B", help=f"iterations of {_WHOSE[kind]} to profile (default: 1-100)")


def ranges_of(options: argparse.Namespace) -> dict[str, str]:
    """``server``, ``ctx`` and ``gen`` to the iterations to profile; empty where nothing is profiled.

    Raises:
        UsageError: no range, or a range without ``--capture-nsys``.
    """
    from pytest_disagg.launch.nsys import DEFAULT_RANGE, profile_range

    given = {kind: getattr(options, option[2:].replace("-", "_")) for kind, option in _OPTIONS.items()}
    if not options.capture_nsys:
        if found := [_OPTIONS[kind] for kind, text in given.items() if text]:
            raise UsageError(f"found {', '.join(found)}, expected {CAPTURE} beside it")
        return {}
    return {kind: profile_range(text or DEFAULT_RANGE, _OPTIONS[kind]) for kind, text in given.items()}
