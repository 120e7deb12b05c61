"""This repository's own cases, as somebody finds them who has just cloned it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytester.conftest import run_pytest

ROOT = Path(__file__).parents[2]
WORD = "smo" + "ke"  # -k finds words in the names of tests and files, and this file is one


def ids(*args: str) -> list[str]:
    session = run_pytest(ROOT, "-p", "no:cacheprovider", "--collect-only", "-q", "-k", WORD, *args)
    return [line for line in session.out.splitlines() if "::" in line]


def test_the_word_selects_the_cases_of_that_name_and_nothing_else() -> None:
    found = ids()
    stems = sorted(path.stem for path in (ROOT / "test_configs").glob(f"{WORD}*.yaml"))
    assert len(stems) >= 3
    assert sorted(each.rpartition("-" + WORD)[2][:-1] for each in found) == [stem.removeprefix(WORD) for stem in stems]
    assert {each.partition("[")[0] for each in found} == {"tests/perf/test_perf_sanity.py::test_e2e"}


def test_no_other_test_has_the_word_in_its_name() -> None:
    assert ids("tests") == ids()


def test_no_case_of_the_repository_is_broken() -> None:
    session = run_pytest(ROOT, "-p", "no:cacheprovider", "--collect-only", "-q")
    assert session.code == 0, session.out
    assert "broken-" not in session.out
    assert "no-case" not in session.out


def test_a_checkout_that_is_not_installed_loads_the_plugin_itself(tmp_path: Path) -> None:
    """The conftest in the root, without the entry point."""
    session = run_pytest(
        ROOT,
        *("-p", "no:cacheprovider", "--collect-only", "-q", "-k", WORD),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        PYTHONPATH=str(tmp_path),
    )
    assert [line for line in session.out.splitlines() if "::" in line] == ids()


pytestmark = pytest.mark.skipif(not (ROOT / "test_configs").is_dir(), reason="not in the repository")
