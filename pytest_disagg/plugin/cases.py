"""Tests that ask for ``disagg_case``: their parameters, their skips, their call. Nothing else is touched."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_disagg.plugin.junit import CaseFailed

if TYPE_CHECKING:
    from pytest_disagg.config.listing import Listed
    from pytest_disagg.plugin.play import Played

FIXTURE = "disagg_case"
ROLE_VARIABLE = "DISAGG_SERVING_TYPE"

Asked = tuple[tuple[str, ...], bool]

_LISTED: pytest.StashKey[dict[Asked, list[Listed]]] = pytest.StashKey()


class DisaggCase:
    """What a test gets: ``disagg_case.run()`` plays this process's part of the case.

    ``id`` is the test id in brackets. A case that cannot be loaded fails in ``run``, with file and line.
    """

    def __init__(self, request: pytest.FixtureRequest, listed: Listed) -> None:
        self.id = listed.id
        self.path = listed.path
        self._request = request
        self._played: Played | None = None
        self._listed = listed

    def prepare(self) -> None:
        """Load the case and skip where it cannot run; in a process that was given a role a skip is a failure."""
        from pytest_disagg.plugin.play import prepare

        self._played = prepare(self._request, self._listed)

    def run(self) -> None:
        """Play the role that ``DISAGG_SERVING_TYPE`` names; unset, the whole run on this machine.

        A red run fails the test; the first line of the failure is its cause. One of a case in quarantine is an expected
        failure.
        """
        __tracebackhide__ = True
        if self._played is None:
            self.prepare()
        text = self._played.play() if self._played is not None else None
        if self._played is not None and text:
            raise CaseFailed(text, self._played.excuse)


@pytest.fixture
def disagg_case(request: pytest.FixtureRequest) -> DisaggCase:
    """One case of disaggregated serving; every test that asks for it runs once per case."""
    case = DisaggCase(request, request.param)
    case.prepare()
    return case


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if FIXTURE not in metafunc.fixturenames:
        return
    config = metafunc.config
    if _LISTED not in config.stash:
        config.stash[_LISTED] = {}
        _begin_session(config)
    asked = _asked(metafunc)
    if asked not in config.stash[_LISTED]:
        config.stash[_LISTED][asked] = _list(config, *asked)
    listed = config.stash[_LISTED][asked]
    metafunc.parametrize(FIXTURE, listed, ids=[case.id for case in listed], indirect=True)


def _asked(metafunc: pytest.Metafunc) -> Asked:
    """The ids that the command line names for this test (``<file>::<test>[<id>]``), and whether for it that is all."""
    from pytest_disagg.config.ids import has_prefix

    test = metafunc.definition
    if next(test.iter_markers("parametrize"), None) is not None:
        return (), False  # what stands in brackets is more than an id
    named: list[str] = []
    others = False
    for arg in metafunc.config.args:
        base, _, rest = arg.partition("[")
        file, *names = base.split("::")
        path = Path(os.path.normpath(metafunc.config.invocation_params.dir / file))
        elsewhere = path.exists() and not test.path.is_relative_to(path)
        if elsewhere or test.nodeid.split("::")[1 : 1 + len(names)] != names:
            continue
        if rest.endswith("]") and has_prefix(rest):
            named.append(_unescaped(rest[:-1]))
        else:
            others = True
    return tuple(named), bool(named) and not others


def _unescaped(named: str) -> str:
    """An id as its file is called: pytest escapes in a test's name what is not ASCII."""
    if not (named.isascii() and "\\" in named):
        return named
    try:
        return named.encode("ascii").decode("unicode_escape")
    except UnicodeDecodeError:
        return named


def _list(config: pytest.Config, named: tuple[str, ...], nothing_else: bool) -> list[Listed]:
    """The named cases, each read from its one file; all cases as well where anything else is asked for."""
    from pytest_disagg.config.selection import named_cases, session_cases
    from pytest_disagg.errors import DisaggError
    from pytest_disagg.plugin.values import resolved

    try:
        values = resolved(config)
        if nothing_else:
            return named_cases(named, values.search)
        words = _words(config.getoption("keyword"))
        return session_cases(values.config_dir, values.search, named=named, words=words)
    except (DisaggError, pytest.UsageError) as error:
        from pytest_disagg.redact import redact

        text = redact(str(error))
        config.pluginmanager.register(_Refused(text))
        raise pytest.Collector.CollectError(text) from error


class _Refused:
    """Makes a usage error of what cannot be listed: pytest takes one when it is done collecting, not while it does."""

    def __init__(self, text: str) -> None:
        self._text = text

    @pytest.hookimpl(trylast=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """The session's own report comes last where the command line names tests, first where it names files."""
        if not report.nodeid:
            raise pytest.UsageError(self._text)

    def pytest_collection_modifyitems(self) -> None:
        raise pytest.UsageError(self._text)


def _words(keyword: str) -> list[str]:
    """Words of ``-k`` that may be ids which the listing leaves out (older grammar, modifiers)."""
    return [word for word in re.findall(r"[^\s()]+", keyword or "") if word not in ("and", "or", "not")]


def _begin_session(config: pytest.Config) -> None:
    """Once a test of ours exists. The junit file asked for belongs to rank 0 of BENCHMARK, or of whoever plays all."""
    role = os.environ.get(ROLE_VARIABLE, "")
    rank = os.environ.get("SLURM_PROCID", "") if os.environ.get("SLURM_NTASKS", "1") != "1" else ""
    if role not in ("", "BENCHMARK") or rank not in ("", "0"):
        from pytest_disagg.plugin.junit import own_file

        own_file(config, role, rank)
