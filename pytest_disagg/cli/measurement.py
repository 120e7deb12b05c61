"""How a job measures and judges: the options of ``disagg run`` and ``disagg submit CASE`` that its roles get."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_disagg.config.cluster import Cluster


def add_measurement_options(parser: argparse.ArgumentParser, title: str = "measurement") -> None:
    """Add them in a group of their own."""
    from pytest_disagg.cli.stores import add_history
    from pytest_disagg.verdict.names import POLICIES

    group = parser.add_argument_group(title)
    group.add_argument("--client", metavar="NAME", help="load generator (DISAGG_CLIENT, default: native)")
    group.add_argument("--baseline", type=Path, metavar="CSV", help="baseline CSV (DISAGG_BASELINE)")
    group.add_argument("--repeat", type=count, metavar="N", help="measure each load N times (DISAGG_REPEAT)")
    add_history(group)
    group.add_argument("--policy", choices=POLICIES, help="how a run is judged (DISAGG_POLICY, default: by the build)")
    group.add_argument(
        "--reference-branch", metavar="NAME", help="branch that changes are compared with (PERF_BASELINE_BRANCH)"
    )
    group.add_argument(
        "--require-upload", action="store_true", help="an upload case fails if its records cannot be uploaded"
    )


def history_of(options: argparse.Namespace, cluster: Cluster, environ: Mapping[str, str]) -> Path:
    """The folder of earlier records: the option, DISAGG_HISTORY, the cluster's, the one below the home directory."""
    from pytest_disagg.store.place import VARIABLE, history_path

    given = options.history or (None if environ.get(VARIABLE) else cluster.history)
    return history_path(given, environ)


def role_values(
    options: argparse.Namespace, cluster: Cluster, environ: Mapping[str, str]
) -> dict[str, str | list[str] | None]:
    """Option of the plugin -> value; what is None is left to its default."""
    baseline = options.baseline or environ.get("DISAGG_BASELINE")
    return {
        "client": options.client or environ.get("DISAGG_CLIENT") or None,
        "baseline": str(Path(baseline).absolute()) if baseline else None,
        "repeat": str(options.repeat or environ.get("DISAGG_REPEAT") or 1),
        "history": str(history_of(options, cluster, environ)),
        "policy": options.policy or environ.get("DISAGG_POLICY") or None,
        "reference-branch": options.reference_branch or environ.get("PERF_BASELINE_BRANCH") or None,
        # Whoever waits for the job writes the page.
        "html": "none",
    }


def count(text: str) -> int:
    """The type of an option that takes a whole number."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number")
    return int(text)
