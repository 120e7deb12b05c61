"""``disagg bench FILE --url U``: measure a deployment that already runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.common import add_case_options
    from pytest_disagg.cli.running import add_work_dir

    parser = subparsers.add_parser("bench", help="measure a deployment that already runs, through the same gate")
    parser.add_argument("target", metavar="FILE", help="case file, its bare name, or a full test id")
    parser.add_argument("--url", required=True, metavar="URL", help="http[s]://host:port of the coordinator or server")
    parser.add_argument("--client", metavar="NAME", help="load generator (default: the file's, else native)")
    parser.add_argument("--baseline", type=Path, metavar="CSV", help="baseline CSV to judge against (DISAGG_BASELINE)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="measure each load N times")
    add_work_dir(parser)
    add_case_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print the result and the verdict; 0 pass, 1 regression, 6 invalid, 7 functional, 8 infrastructure."""
    from pytest_disagg.cli.common import search_dirs
    from pytest_disagg.cli.running import one_case, outcome_code, work_dir
    from pytest_disagg.clients import registry as clients
    from pytest_disagg.clients.choice import client_name
    from pytest_disagg.engines import registry as engines
    from pytest_disagg.errors import UsageError
    from pytest_disagg.redact import redact
    from pytest_disagg.roles.bench import run_bench
    from pytest_disagg.roles.options import RunOptions, baseline_dirs
    from pytest_disagg.rundir.outcome import shown
    from pytest_disagg.rundir.runid import new_run_id, run_id_of
    from pytest_disagg.topology.deadlines import deadlines
    from pytest_disagg.verdict.quarantine import found_in

    if not options.url.startswith(("http://", "https://")):
        raise UsageError(f"--url: found {options.url!r}, expected http://host:port or https://host:port")
    if options.repeat < 1:
        raise UsageError(f"--repeat: found {options.repeat}, expected 1 or more")
    case = one_case(options.target, options, os.environ)
    if case.id.runtime == "alone" and len(case.servers) > 1:
        names = ", ".join(spec.name for spec in case.servers)
        raise UsageError(
            f"{case.id.text}: found {len(case.servers)} servers ({names}) for one --url, expected one; give the test "
            f"id of one: {case.id.text}-{case.servers[0].name}"
        )
    name = client_name(case, options.client)
    client = clients.get(name)
    if reason := client.unavailable():
        raise UsageError(f"client {name}: {reason}")
    patience = f"for at most {deadlines(case).probe_s:g} s (timeouts.probe_s)"
    print(f"{case.id.text}: asking {redact(options.url)} for tokens, {patience}", flush=True)
    folders = baseline_dirs(search_dirs(options, os.environ), options.llm_src)
    outcome = run_bench(
        RunOptions(
            case=case,
            run_id=run_id_of(os.environ) or new_run_id(),
            work_dir=work_dir(options, os.environ),
            host="127.0.0.1",
            engine=engines.get(case.engine),
            client=client,
            log=print,
            baseline=options.baseline or _path(os.environ.get("DISAGG_BASELINE")),
            baseline_dirs=folders,
            quarantines=found_in(folders),
            repeat=options.repeat,
        ),
        options.url.rstrip("/"),
    )
    word = shown(outcome.verdict, outcome.quarantine)
    for line in (*outcome.red, *outcome.lines, f"verdict: {word}", f"records: {outcome.records or 'none'}"):
        print(redact(line))
    return outcome_code(outcome)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
