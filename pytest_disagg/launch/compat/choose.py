"""Which test of a list a job is for: by position, or by the group that pytest-split gives the job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_disagg.config.ids import unwrapped
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.launch.compat.commandline import PytestCommandText
from pytest_disagg.launch.compat.leastduration import least_duration, read_durations
from pytest_disagg.launch.compat.shelltext import Word, shown
from pytest_disagg.launch.compat.textfile import TextFile
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.textlist import parse_text
from pytest_disagg.launch.lists.waives import Waives, platform_of

ALGORITHM = "least_duration"
TESTS = Path("tests/integration/defs")
DURATIONS = ".test_durations"
WAIVES = Path("tests/integration/test_lists/waives.txt")


def choose(path: Path, group: int, command: PytestCommandText, llm_src: Path | None) -> Entry:
    """The test of the list that the job's pytest will run.

    With ``--splits`` and ``--group`` in the pytest command that is the one test of its group, else the ``group``-th.

    Raises:
        ConfigError: no such test, a group of another number, of another algorithm, or of not exactly one test.
    """
    tests = parse_text(TextFile.read(path, "a test list").text, path)
    if not tests:
        raise ConfigError([Problem(path, None, "", "no test", "at least one line with a pytest node id")])
    splits, own_group = command.option("--splits"), command.option("--group")
    if splits is None or own_group is None:
        return _nth(tests, group, path)
    count, number = _number(command, "--splits", splits), _number(command, "--group", own_group)
    if number != group:
        raise _wrong(command, "--group", str(number), f"--split-group, which is {group}")
    if not 1 <= number <= count:
        raise _wrong(command, "--group", str(number), f"1 to {count}, the number of --splits")
    algorithm = command.option("--splitting-algorithm")
    if algorithm is None or shown(algorithm) != ALGORITHM:
        found = "nothing" if algorithm is None else shown(algorithm)
        raise _wrong(command, "--splitting-algorithm", found, ALGORITHM)
    by_node = {test.target: test for test in tests}
    if len(by_node) != len(tests):
        raise ConfigError([Problem(path, None, "", "a test listed twice", "each test once, as pytest collects it")])
    durations = _durations(command, llm_src)
    chosen = least_duration(list(by_node), durations, count)[number - 1]
    if len(chosen) != 1:
        found = f"{len(chosen)} tests in group {number} of {count}"
        raise ConfigError([Problem(path, None, "", found, "exactly one: a job of several nodes runs one test")])
    return by_node[chosen[0]]


def waived(test: Entry, llm_src: Path | None, stage_name: str) -> str | None:
    """Why the source tree's waives skip ``test`` on the platform that the stage's name begins with; None: they do not.

    Raises:
        ConfigError: a waives file that cannot be read.
    """
    path = None if llm_src is None else llm_src / WAIVES
    if path is None or not path.is_file():
        return None
    waives = Waives(parse_text(TextFile.read(path, "waives").text, path), platform_of(stage_name))
    return waives.over(unwrapped(test.target), test.markers).skip


def _nth(tests: Sequence[Entry], group: int, path: Path) -> Entry:
    """The test of ``--split-group``, counted from 1; 0 is the first."""
    if group > len(tests):
        raise ConfigError([Problem(path, None, "", f"{len(tests)} tests", f"at least {group}, the --split-group")])
    return tests[max(group, 1) - 1]


def _durations(command: PytestCommandText, llm_src: Path | None) -> dict[str, float]:
    """Of ``--durations-path``, or the file of its name in the source tree; none where no file is named or there."""
    named = command.option("--durations-path")
    default = None if llm_src is None else llm_src / TESTS / DURATIONS
    if named is None:
        return read_durations(default) if default is not None and default.is_file() else {}
    path = Path(shown(named))
    if path.is_file() or llm_src is None:
        return read_durations(path)
    return read_durations(llm_src / TESTS / path.name)


def _number(command: PytestCommandText, option: str, value: Word) -> int:
    text = shown(value)
    if any(atom.expansion for atom in value) or not (text.isascii() and text.isdigit()):
        raise _wrong(command, option, repr(text), "a number, written out")
    return int(text)


def _wrong(command: PytestCommandText, option: str, found: str, expected: str) -> ConfigError:
    return ConfigError([Problem(command.path, command.line, f"pytestCommand: {option}", found, expected)])
