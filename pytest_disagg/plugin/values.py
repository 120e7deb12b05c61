"""The values in force: command line, then ini file, then environment, then default; the first that says something wins.

Only a session with a case of ours needs them, so this is not imported before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_disagg.config.lookup import case_dirs, search_dirs
from pytest_disagg.config.settings import RehearseLimits, Settings
from pytest_disagg.errors import UsageError
from pytest_disagg.plugin.options import OPTIONS, Option
from pytest_disagg.store.place import default_path
from pytest_disagg.verdict.names import POLICIES, REFERENCE_BRANCH

if TYPE_CHECKING:
    from collections.abc import Mapping


NO_PAGE = Path("none")


@dataclass(frozen=True)
class Resolved:
    """The values in force. Paths are absolute.

    ``config_dir`` are the directories whose files become cases, ``search`` those and all that a name is looked up in.
    ``html`` is the page's path; the bare name ``none``: no page; None where nobody said.
    """

    config_dir: tuple[Path, ...]
    search: tuple[Path, ...]
    llm_src: Path | None
    models_root: Path | None
    engine: str | None
    client: str | None
    set: tuple[str, ...]
    rehearse_limit: str | None
    work_dir: Path
    interface: str | None
    baseline: Path | None
    stage_name: str
    repeat: int
    history: Path
    policy: str | None
    reference_branch: str
    require_upload: bool
    html: Path | None
    keep: bool

    @property
    def settings(self) -> Settings:
        """What lies over every case file of this session."""
        return Settings(
            engine=self.engine,
            sets=self.set,
            llm_src=self.llm_src,
            models_root=self.models_root,
            rehearse_limits=RehearseLimits.parse(self.rehearse_limit or ""),
        )

    def for_roles(self, host: str) -> dict[str, str | list[str] | None]:
        """All values for a child pytest, so that it resolves nothing from its own surroundings."""
        return {
            "config-dir": [str(path) for path in self.config_dir],
            "llm-src": _text(self.llm_src),
            "models-root": _text(self.models_root),
            "engine": self.engine,
            "client": self.client,
            "set": list(self.set),
            "rehearse-limit": self.rehearse_limit,
            "work-dir": str(self.work_dir),
            "interface": self.interface or host,
            "baseline": _text(self.baseline),
            "stage-name": self.stage_name or None,
            "repeat": str(self.repeat),
            "history": str(self.history),
            "policy": self.policy,
            "reference-branch": self.reference_branch,
            # The session that starts roles writes the page of them all.
            "html": str(NO_PAGE),
        }


RESOLVED: pytest.StashKey[Resolved] = pytest.StashKey()


def resolved(config: pytest.Config) -> Resolved:
    """The values in force for this session, computed once.

    Raises:
        pytest.UsageError: a value of the wrong form, naming its source.
    """
    if RESOLVED not in config.stash:
        config.stash[RESOLVED] = resolve(config, os.environ)
    return config.stash[RESOLVED]


def resolve(config: pytest.Config, environ: Mapping[str, str]) -> Resolved:
    """See :func:`resolved`; ``environ`` is passed for tests."""
    values = {option.dest.removeprefix("disagg_"): _given(config, option, environ) for option in OPTIONS}
    llm_src = values["llm_src"].path()
    own = _config_dirs(config, values["config_dir"])
    return Resolved(
        config_dir=case_dirs(own, environ, llm_src),
        search=search_dirs(own, environ, llm_src),
        llm_src=llm_src,
        models_root=values["models_root"].path(),
        engine=values["engine"].text(),
        client=values["client"].text(),
        set=_sets(values["set"]),
        rehearse_limit=_limits(values["rehearse_limit"]),
        work_dir=values["work_dir"].path() or _home(config) / "disagg-runs",
        interface=values["interface"].text(),
        baseline=values["baseline"].path(),
        stage_name=values["stage_name"].text() or "",
        repeat=_positive(values["repeat"]),
        history=values["history"].path() or default_path(),
        policy=_policy(values["policy"]),
        reference_branch=values["reference_branch"].text() or REFERENCE_BRANCH,
        require_upload=_flag(values["require_upload"]),
        html=_page(values["html"]),
        keep=_flag(values["keep"]),
    )


@dataclass(frozen=True)
class _Given:
    """A value, the name of what gave it, and the directory that its relative paths start at."""

    source: str
    value: object
    base: Path

    def text(self) -> str | None:
        return str(self.value) if self.value else None

    def texts(self, separator: str) -> list[str]:
        if isinstance(self.value, (list, tuple)):
            return [str(item) for item in self.value]
        return [item for item in str(self.value or "").split(separator) if item]

    def path(self) -> Path | None:
        return self.base / str(self.value) if self.value else None


def _given(config: pytest.Config, option: Option, environ: Mapping[str, str]) -> _Given:
    here = config.invocation_params.dir
    if (given := config.getoption(option.dest)) is not None:
        return _Given(option.flag, given, here)
    try:
        ini = config.getini(option.dest)
    except (ValueError, pytest.UsageError) as error:  # ValueError before pytest 9
        raise pytest.UsageError(f"ini {option.dest}: {error}") from error
    # False is a value: it says that the environment's is not wanted.
    if ini is not None and ini not in ("", []):
        return _Given(f"ini {option.dest}", ini, config.inipath.parent if config.inipath else here)
    if option.env and environ.get(option.env):
        return _Given(option.env, environ[option.env], here)
    return _Given("default", None, here)


def _home(config: pytest.Config) -> Path:
    """The root directory; where pytest took it from an option's value (see :func:`misread`), the current one."""
    here = config.invocation_params.dir
    return config.rootpath if here == config.rootpath or config.rootpath in here.parents else here


def misread(config: pytest.Config) -> str | None:
    """What to say where ``--disagg-work-dir DIR`` in two words kept pytest from its ini file, None where it did not.

    pytest looks for the ini file before it knows the options of plugins, and takes an existing path among its arguments
    for a test.
    """
    if config.inipath is not None or _home(config) == config.rootpath:
        return None
    flags = {option.flag for option in OPTIONS}
    words = [str(word) for word in config.invocation_params.args]
    for flag, value in pairwise(words):
        if flag in flags and Path(value).exists():
            return f"no ini file was read, because pytest took {value} for a test path: write {flag}={value}"
    return None


def _config_dirs(config: pytest.Config, given: _Given) -> tuple[Path, ...]:
    folders = tuple(given.base / item for item in given.texts(os.pathsep))
    for folder in folders:
        if not folder.is_dir():
            raise pytest.UsageError(f"{given.source}: found {str(folder)!r}, expected a directory of case files")
    default = _home(config) / "test_configs"
    return folders or ((default,) if default.is_dir() else ())


def _sets(given: _Given) -> tuple[str, ...]:
    for item in given.texts("\n"):
        key, equals, _ = item.partition("=")
        if not equals or not key.strip():
            raise pytest.UsageError(
                f"{given.source}: found {item!r}, expected key=value, for example benchmark.concurrency_list=1,2"
            )
    return tuple(given.texts("\n"))


def _limits(given: _Given) -> str | None:
    try:
        RehearseLimits.parse(given.text() or "")
    except UsageError as error:
        raise pytest.UsageError(f"{given.source}: {error}") from error
    return given.text()


def _positive(given: _Given) -> int:
    if given.value is None:
        return 1
    text = str(given.value).strip()
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise pytest.UsageError(f"{given.source}: found {given.value!r}, expected a whole number of at least 1")
    return int(text)


def _flag(given: _Given) -> bool:
    if isinstance(given.value, bool) or given.value is None:
        return bool(given.value)
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if str(given.value).lower() not in words:
        raise pytest.UsageError(f"{given.source}: found {given.value!r}, expected 1 or 0")
    return words[str(given.value).lower()]


def _policy(given: _Given) -> str | None:
    name = given.text()
    if name is not None and name not in POLICIES:
        raise pytest.UsageError(f"{given.source}: found {name!r}, expected one of {', '.join(POLICIES)}")
    return name


def _page(given: _Given) -> Path | None:
    return NO_PAGE if given.text() == str(NO_PAGE) else given.path()


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
