"""``disagg``: finds the sub-command, loads only its module, turns what it raises into an exit code and one message."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import NoReturn

from pytest_disagg.config.text import did_you_mean
from pytest_disagg.errors import ConfigError, Kind, RunError, UsageError
from pytest_disagg.version import __version__

EXIT_OK = 0
EXIT_CANCELLED = 2
EXIT_INTERNAL = 3
EXIT_USAGE = 4
EXIT_PIPE = 141
"""What a shell reports for a process that SIGPIPE ended: the reader of our output went away."""
EXIT_BY_KIND: dict[Kind, int] = {"regression": 1, "invalid": 6, "functional": 7, "infrastructure": 8}

COMMANDS = {
    "plan": "print nodes, GPUs, ranks, roles and deadlines of a case; starts nothing",
    "config": "check case files, or print their JSON Schema",
    "bench": "measure a deployment that already runs, through the same gate",
    "run": "run cases as Slurm jobs: submit, wait, verdict",
    "rerun": "run again what a manifest, a run directory or a run id stands for",
    "submit": "write the launch script of a Slurm job; submits nothing",
    "wait": "follow Slurm jobs that were submitted before, to their verdict",
    "status": "show where submitted Slurm jobs stand",
    "logs": "show or follow the logs of a Slurm job",
    "cancel": "cancel Slurm jobs",
    "doctor": "check the cluster file against the cluster, and say what to mend",
    "up": "bring a deployment up and leave it up until interrupted",
    "baseline": "check records against a baseline CSV, or update it",
    "report": "show runs as an HTML page or a PDF, or compare results",
    "history": "list, show, plot, import, export the records of earlier runs, or rebuild their index",
    "list": "list the newest measured points, or the highest concurrency within an SLO",
    "upload": "send to the stores what they do not have yet",
    "verdict": "change points of a series; judge records again, explain, accept a change",
    "quarantine": "list the cases and nodes in quarantine, or add a line",
    "clean": "remove old run directories",
}
"""Sub-command -> summary. The module is ``pytest_disagg.cli.<name>``, with a function ``add_parser(subparsers)``."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors have our exit code (argparse's own, 2, means cancelled here)."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End over words that nothing takes; argparse alone would show the usage of all commands, and no near one."""
        flags = set(self._flags())
        hints = [did_you_mean(word.partition("=")[0], flags) for word in words if word.startswith("-")]
        hint = " ".join(filter(None, hints))
        self.error(f"found {' '.join(words)}, which nothing takes" + (f" ({hint})" if hint else ""))

    def _flags(self) -> Iterator[str]:
        for action in self._actions:
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                for inner in action.choices.values():
                    yield from inner._flags()


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``disagg`` with ``argv`` (default: the process's) and return the exit code.

    0 ok, 1 regression, 2 cancelled, 3 internal error, 4 usage or config, 6 invalid, 7 functional, 8 infrastructure.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except SystemExit as stop:
        return _say(stop.code, EXIT_USAGE) if isinstance(stop.code, str) else int(stop.code or EXIT_OK)
    except KeyboardInterrupt:
        return _say("disagg: cancelled", EXIT_CANCELLED)
    except ConfigError as error:
        return _say("\n".join(str(problem) for problem in error.problems), EXIT_USAGE)
    except UsageError as error:
        return _say(f"disagg: {error}", EXIT_USAGE)
    except RunError as error:
        return _say("\n".join((f"disagg: {error.kind}: {error.message}", *error.evidence)), EXIT_BY_KIND[error.kind])
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit; it must find an open file there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except Exception:  # noqa: BLE001 - the last line of defence: nothing is swallowed, all of it is printed
        return _say(f"{traceback.format_exc()}disagg {__version__}: this is a bug in pytest-disagg", EXIT_INTERNAL)
    return code


def _dispatch(arguments: list[str]) -> int:
    parser = Parser(prog="disagg", description="Performance tests of disaggregated LLM serving.")
    parser.add_argument("--version", action="version", version=f"disagg {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands", required=True)
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    if named is not None and named not in COMMANDS:
        hint = did_you_mean(named, COMMANDS)
        parser.error(
            f"unknown command {named!r}, expected one of {', '.join(COMMANDS)}" + (f" ({hint})" if hint else "")
        )
    for name, summary in COMMANDS.items():
        if name == named:
            import_module(f"pytest_disagg.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        (subparsers.choices[named] if named else parser).refuse(unknown)
    run: Callable[[argparse.Namespace], int] = options.func
    return run(options)


def _say(text: str, code: int) -> int:
    # Imported late: nothing to redact in a run that says nothing.
    from pytest_disagg.redact import redact

    print(redact(text), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
