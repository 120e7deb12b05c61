from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pytest_disagg.cli import main as cli
from pytest_disagg.errors import ConfigError, Problem, RunError, UsageError
from pytest_disagg.version import __version__

Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Put a function behind ``disagg try``."""

    def install(run: Run) -> None:
        module = ModuleType("pytest_disagg.cli.try")

        def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
            parser = subparsers.add_parser("try")
            parser.add_argument("--size", type=int, default=0)
            parser.set_defaults(func=run)

        module.__dict__["add_parser"] = add_parser
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "try", "a command of this test")

    return install


def raising(error: BaseException) -> Run:
    def run(options: argparse.Namespace) -> int:
        raise error

    return run


def test_the_commands_own_code_is_returned(command: Callable[[Run], None]) -> None:
    command(lambda options: options.size)

    assert cli.main(["try"]) == 0
    assert cli.main(["try", "--size", "6"]) == 6


def test_an_option_that_nothing_takes_is_named_with_the_near_one(
    command: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda options: 0)

    assert cli.main(["try", "--sise=a/long/path", "more"]) == 4
    error = capsys.readouterr().err
    assert error.startswith("usage: disagg try ")
    assert error.endswith("disagg try: found --sise=a/long/path more, which nothing takes (did you mean '--size'?)\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no such case"), 4, "disagg: no such case\n"),
        (RunError("port taken", kind="infrastructure", stage="launch"), 8, "disagg: infrastructure: port taken\n"),
        (RunError("GEN_0 died", kind="functional", stage="measure", evidence=["boom"]), 7, "GEN_0 died\nboom\n"),
        (RunError("no tokens", kind="invalid", stage="gate"), 6, "disagg: invalid: no tokens\n"),
        (RunError("slower", kind="regression", stage="judge"), 1, "disagg: regression: slower\n"),
        (KeyboardInterrupt(), 2, "disagg: cancelled\n"),
        (SystemExit(5), 5, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("gave up"), 4, "gave up\n"),
    ],
)
def test_every_ending_has_its_code(
    command: Callable[[Run], None], capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    command(raising(error))

    assert cli.main(["try"]) == code
    assert capsys.readouterr().err.endswith(said)


def test_config_problems_are_printed_one_a_line(
    command: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(
        raising(
            ConfigError([Problem(Path("f"), 3, "a.b", "0", "at least 1"), Problem(None, None, "c", "x", "y", "hint")])
        )
    )

    assert cli.main(["try"]) == 4
    assert capsys.readouterr().err.splitlines() == [
        "f:3: a.b: found 0, expected at least 1",
        "c: found x, expected y (hint)",
    ]


def test_a_bug_shows_its_traceback(command: Callable[[Run], None], capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(ZeroDivisionError("oh")))

    assert cli.main(["try"]) == 3
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "ZeroDivisionError: oh" in said
    assert said.endswith(f"disagg {__version__}: this is a bug in pytest-disagg\n")


def test_what_is_said_on_stderr_is_redacted(command: Callable[[Run], None], capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(UsageError("cannot reach https://me:hunter22@host/x")))

    assert cli.main(["try"]) == 4
    assert "hunter22" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--no-such-option"], ["try", "--size", "big"], ["try", "--no-such"]])
def test_a_command_line_that_cannot_be_used_is_usage(
    command: Callable[[Run], None], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    command(lambda options: 0)

    assert cli.main(arguments) == 4
    assert capsys.readouterr().err.startswith("usage: disagg")


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plam"]) == 4
    assert "unknown command 'plam', expected one of plan, " in (said := capsys.readouterr().err)
    assert "did you mean 'plan'?" in said


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"disagg {__version__}\n"

    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    for name, summary in cli.COMMANDS.items():
        assert name in said
        assert summary.split()[0] in said


def test_help_of_a_command_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--help"]) == 0
    assert "--commands" in capsys.readouterr().out


def test_a_start_without_a_command_loads_nothing_heavy() -> None:
    check = (
        "import sys\n"
        "from pytest_disagg.cli import main\n"
        "main.main(['--version'])\n"
        "heavy = {'pydantic', 'yaml', 'requests', 'asyncio', 'importlib.metadata'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_whose_module_is_broken_breaks_no_other(
    monkeypatch: pytest.MonkeyPatch, command: Callable[[Run], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda options: 0)
    monkeypatch.setitem(cli.COMMANDS, "absent", "its module does not exist")

    assert cli.main(["try"]) == 0
    assert cli.main(["--help"]) == 0
    capsys.readouterr()
    assert cli.main(["absent"]) == 3
    assert "pytest_disagg.cli.absent" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    script = (
        "import sys\n"
        "from pytest_disagg.cli import main\n"
        "def dispatch(arguments):\n"
        "    sys.stdin.read()\n"
        "    print('left in the buffer')\n"
        "    return 0\n"
        "main._dispatch = dispatch\n"
        "sys.exit(main.main([]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (cli.EXIT_PIPE, b"")
