"""Which test a job is for: by position and by pytest-split's rule."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.launch.compat.choose import DURATIONS, TESTS, WAIVES, choose, waived
from pytest_disagg.launch.compat.commandline import PytestCommandText, find
from pytest_disagg.launch.compat.leastduration import least_duration, read_durations
from pytest_disagg.launch.lists.entry import Entry

SPLIT = "--splits 2 --group 2 --splitting-algorithm=least_duration"


def command(options: str) -> PytestCommandText:
    return find(f'export pytestCommand="pytest {options}"\n', Path("prefix.sh"))


def write_list(folder: Path, *lines: str) -> Path:
    path = folder / "list.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


class Item(NamedTuple):
    """What pytest-split reads of a pytest item."""

    nodeid: str

    def __str__(self) -> str:
        return f"<Function {self.nodeid}>"


def test_groups_are_those_of_pytest_split() -> None:
    algorithms = pytest.importorskip("pytest_split.algorithms", reason="pytest-split is not installed")
    chance = random.Random(7)
    for _ in range(300):
        tests = [f"t.py::test[{chance.randrange(10**6):06d}]" for _ in range(chance.randrange(1, 12))]
        tests = list(dict.fromkeys(tests))
        durations = {test: float(chance.choice([1, 1, 2, 3, 50])) for test in tests if chance.random() < 0.7}
        groups = chance.randrange(1, 6)
        theirs = algorithms.LeastDurationAlgorithm()(groups, [Item(test) for test in tests], durations)
        expected = [[item.nodeid for item in group.selected] for group in theirs]
        assert least_duration(tests, durations, groups) == expected


def test_the_longest_tests_are_apart() -> None:
    durations = {"a": 1.0, "b": 9.0, "c": 5.0, "d": 3.0}
    assert least_duration(["a", "b", "c", "d"], durations, 2) == [["b"], ["a", "c", "d"]]
    assert least_duration(["b", "a"], {}, 2) == [["a"], ["b"]]


def test_the_nth_test_of_a_list(tmp_path: Path) -> None:
    path = write_list(tmp_path, "# stage", "", "t.py::x[a-b] TIMEOUT (60)", "t.py::x[c]")
    assert choose(path, 0, command(""), None).target == "t.py::x[a-b]"
    assert choose(path, 2, command("--splits 3"), None).line == 4
    with pytest.raises(ConfigError, match=r"list.txt: found 2 tests, expected at least 3, the --split-group"):
        choose(path, 3, command(""), None)
    with pytest.raises(ConfigError, match="found no test"):
        choose(write_list(tmp_path, "# nothing"), 0, command(""), None)


def test_the_test_that_pytest_split_selects(tmp_path: Path) -> None:
    path = write_list(tmp_path, "t.py::x[a]", "t.py::x[b]", "t.py::x[c]")
    source = tmp_path / "src"
    (source / TESTS).mkdir(parents=True)
    (source / TESTS / DURATIONS).write_text(json.dumps({"t.py::x[a]": 1, "t.py::x[b]": 1, "t.py::x[c]": 9}))
    with pytest.raises(ConfigError, match="found 2 tests in group 2 of 2, expected exactly one"):
        choose(path, 2, command(SPLIT), source)
    assert choose(path, 1, command(SPLIT.replace("--group 2", "--group 1")), source).target == "t.py::x[c]"
    (source / TESTS / "other").write_text('[["t.py::x[a]", 9]]')
    more = "--durations-path /elsewhere/other"
    two = write_list(tmp_path, "t.py::x[b]", "t.py::x[a]")
    assert choose(two, 2, command(f"{SPLIT} {more}"), source).target == "t.py::x[b]"


@pytest.mark.parametrize(
    ("options", "group", "message"),
    [
        (SPLIT, 1, "pytestCommand: --group: found 2, expected --split-group, which is 1"),
        ("--splits 1 --group 2 --splitting-algorithm least_duration", 2, "--group: found 2, expected 1 to 1"),
        ("--splits 2 --group 2", 2, "--splitting-algorithm: found nothing, expected least_duration"),
        ("--splits $N --group 2", 2, "--splits: found '$N', expected a number, written out"),
        (f"{SPLIT} --durations-path=/no/such", 2, "/no/such: found No such file or directory"),
    ],
)
def test_a_split_that_cannot_be_followed(tmp_path: Path, options: str, group: int, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        choose(write_list(tmp_path, "t.py::x[a]", "t.py::x[b]"), group, command(options), None)
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["[", "[1]", '{"a": "x"}', "3"])
def test_a_file_that_holds_no_durations(tmp_path: Path, text: str) -> None:
    path = tmp_path / "d"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected a JSON object of test -> seconds"):
        read_durations(path)


@pytest.mark.parametrize(
    ("line", "stage", "reason"),
    [
        ("t.py::x[a] SKIP (bug 1)", "", "bug 1"),
        ("full:GB200/t.py::x[a] SKIP (bug 2)", "GB200-8_GPUs", "bug 2"),
        ("full:GB200/t.py::x[a] SKIP (bug 2)", "B300-8_GPUs", None),
        ("full:sm100/t.py::x[a] SKIP (bug 3)", "sm100-1", None),
        ("t.py::x[b] SKIP (bug 4)", "", None),
    ],
)
def test_waived(tmp_path: Path, line: str, stage: str, reason: str | None) -> None:
    (tmp_path / WAIVES).parent.mkdir(parents=True)
    (tmp_path / WAIVES).write_text(line + "\n")
    said = waived(Entry("t.py::x[a]"), tmp_path, stage)
    assert (said is None) == (reason is None)
    assert (reason or "") in (said or "")
    assert waived(Entry("t.py::x[a]"), tmp_path / "nowhere", stage) is None
