"""``disagg up FILE``: bring a deployment up and leave it up until Ctrl-C."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.rundir.outcome import Outcome


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.common import add_case_options
    from pytest_disagg.cli.running import add_work_dir

    parser = subparsers.add_parser("up", help="bring a deployment up and leave it up until interrupted")
    parser.add_argument("target", metavar="FILE", help="case file, its bare name, or a full test id")
    add_work_dir(parser)
    add_case_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Bring it up, print its URL, wait for Ctrl-C; 0 when it was let go, 7 or 8 when it broke before that."""
    from pytest_disagg.cli.running import one_case, outcome_code, work_dir
    from pytest_disagg.launch.up import up_disagg

    case = one_case(options.target, options, os.environ)
    _check(case)
    if case.id.runtime == "alone":
        outcome = _alone(case, options)
    else:
        outcome = up_disagg(case, work_dir(options, os.environ), _role_options(case, options), _say)
    if outcome.cause is not None:
        _say(outcome.cause.text())
    return outcome_code(outcome)


def _check(case: Case) -> None:
    """Refuse what would end soon after its start, or start in part only.

    Raises:
        ConfigError: a placeholder that nobody filled, what its engine cannot serve.
        UsageError: the case needs more than this machine.
    """
    from pytest_disagg.engines import registry as engines
    from pytest_disagg.errors import UsageError
    from pytest_disagg.roles.nodes import machines_of
    from pytest_disagg.topology.filled import check_filled

    check_filled(case)
    engine = engines.get(case.engine)
    engine.check(case)
    if (nodes := machines_of(case, engine)) > 1:
        raise UsageError(
            f"{case.id.text}: needs {nodes} nodes, this is one machine; --engine sim rehearses it here, "
            "disagg run takes it to Slurm"
        )


def _say(text: str) -> None:
    """A line for a person who waits, or for a program that reads the URL through a pipe."""
    from pytest_disagg.redact import redact

    print(redact(text), flush=True)


def _role_options(case: Case, options: argparse.Namespace) -> dict[str, str | list[str] | None]:
    from pytest_disagg.cli.running import work_dir

    # Absolute: roles start in the run directory.
    return {
        "config-dir": [str(case.path.parent.absolute())],
        "llm-src": str(options.llm_src.absolute()) if options.llm_src else None,
        "engine": options.engine,
        "set": list(options.set),
        "rehearse-limit": options.rehearse_limit,
        "models-root": str(options.models_root.absolute()) if options.models_root else None,
        "work-dir": str(work_dir(options, os.environ)),
        "interface": "127.0.0.1",
    }


def _alone(case: Case, options: argparse.Namespace) -> Outcome:
    from pytest_disagg.cli.running import work_dir
    from pytest_disagg.clients import registry as clients
    from pytest_disagg.engines import registry as engines
    from pytest_disagg.roles.options import RunOptions
    from pytest_disagg.roles.up import up_alone
    from pytest_disagg.rundir.runid import new_run_id, run_id_of

    return up_alone(
        RunOptions(
            case=case,
            run_id=run_id_of(os.environ) or new_run_id(),
            work_dir=work_dir(options, os.environ),
            host="127.0.0.1",
            engine=engines.get(case.engine),
            client=clients.get("native"),
            log=_say,
            models_root=options.models_root,
            llm_src=options.llm_src,
        )
    )
