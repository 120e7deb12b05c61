"""Which cases a pytest session has: the listing, and what the command line names besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_disagg.config import ids
from pytest_disagg.config.listing import Listed, list_cases
from pytest_disagg.config.lookup import ConfigFiles
from pytest_disagg.errors import ConfigError, Problem

NO_CASE = "no-case"
"""The id of the one case of a session whose config directories hold none."""


def named_cases(names: Sequence[str], search: Sequence[Path]) -> list[Listed]:
    """The cases of full ids, each from its one file; no other file is opened.

    Raises:
        ConfigError: an id that means no case, with every directory searched.
    """
    files = ConfigFiles(search)
    return [Listed(name, files.find(name).path) for name in names]


def session_cases(
    dirs: Sequence[Path], search: Sequence[Path], *, named: Sequence[str], words: Sequence[str]
) -> list[Listed]:
    """Every listed case of ``dirs``, the ``named`` ids, and what a word of ``-k`` means.

    Ids in the older grammar and ids with a modifier are listed only where somebody asks for them: a word that is such
    an id adds it, a word that holds a modifier's name adds that modifier to every case of a disaggregated file. Where
    there is no case at all, one says so by failing: a session that ran nothing must not pass.

    Raises:
        ConfigError: a named id that means no case.
    """
    cases = {case.id: case for case in list_cases(dirs)}
    for case in named_cases([name for name in named if name not in cases], search):
        cases[case.id] = case
    files = ConfigFiles(search)
    for word in words:
        if ids.has_prefix(word) and word not in cases:
            try:
                cases[word] = Listed(word, files.find(word).path)
            except ConfigError:
                continue  # a part of some id, as -k words mostly are
    for modifier in ids.MODIFIERS:
        if any(modifier in word for word in words):
            for case in list(cases.values()):
                for offered in ids.DISAGG_FILE_CASES:
                    if case.id == f"{offered}-{case.path.stem}":
                        text = f"{offered}-{modifier}-{case.path.stem}"
                        cases.setdefault(text, Listed(text, case.path))
    return list(cases.values()) or [_no_case(dirs)]


def _no_case(dirs: Sequence[Path]) -> Listed:
    expected = "at least one; give --disagg-config-dir or the ini value disagg_config_dir"
    searched = f"searched: {', '.join(map(str, dirs))}" if dirs else "no config directory is known"
    return Listed(NO_CASE, Path(), Problem(dirs[0] if dirs else None, None, "", "no case file", expected, searched))
