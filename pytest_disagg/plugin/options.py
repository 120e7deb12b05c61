"""Options ``--disagg-*`` with their ini twins and environment twins; plugin/values.py resolves them.

Read at every pytest start, so this declares and does no more.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pytest_disagg.plugin.page import Page
from pytest_disagg.plugin.terminal import Terminal


class Option(NamedTuple):
    """One value. ``kind``: str, path, paths (repeatable), list (repeatable), int, flag."""

    name: str
    kind: str
    metavar: str
    env: str
    help: str

    @property
    def flag(self) -> str:
        return f"--disagg-{self.name}"

    @property
    def dest(self) -> str:
        return f"disagg_{self.name.replace('-', '_')}"


OPTIONS = (
    Option("config-dir", "paths", "DIR", "DISAGG_CONFIG_DIR", "directory of case files (repeatable)"),
    Option("llm-src", "path", "DIR", "DISAGG_LLM_SRC", "TensorRT-LLM checkout whose case files are found by name"),
    Option("models-root", "path", "DIR", "LLM_MODELS_ROOT", "folder under which models and datasets are looked up"),
    Option("engine", "str", "NAME", "DISAGG_ENGINE", "engine instead of the file's own; 'sim' rehearses any case here"),
    Option("client", "str", "NAME", "DISAGG_CLIENT", "load generator (default: native)"),
    Option("set", "list", "KEY=VALUE", "", "value over the file's, e.g. benchmark.concurrency_list=1,2 (repeatable)"),
    Option(
        "rehearse-limit", "str", "NAME=N,...", "DISAGG_REHEARSE_LIMIT", "caps of a rehearsal: concurrency=8,requests=16"
    ),
    Option("work-dir", "path", "DIR", "DISAGG_WORK_DIR", "where run directories go (default: <rootdir>/disagg-runs)"),
    Option("interface", "str", "NAME", "DISAGG_INTERFACE", "interface, host name or address that servers bind"),
    Option(
        "baseline", "path", "CSV", "DISAGG_BASELINE", "baseline CSV (default: by stage name, else baselines/<gpu>.csv)"
    ),
    Option("stage-name", "str", "NAME", "stageName", "name of the CI stage, for baselines and reports"),
    Option(
        "repeat", "int", "N", "DISAGG_REPEAT", "measure each load N times on the same deployment; the median is judged"
    ),
    Option(
        "history", "path", "DIR", "DISAGG_HISTORY", "records of earlier runs (default: ~/.local/share/pytest-disagg)"
    ),
    Option(
        "policy", "str", "NAME", "DISAGG_POLICY", "judge by: post, pre, compatible or baseline (default: by the build)"
    ),
    Option(
        "reference-branch",
        "str",
        "NAME",
        "PERF_BASELINE_BRANCH",
        "branch that changes are compared with (default: main)",
    ),
    Option(
        "require-upload", "flag", "", "DISAGG_REQUIRE_UPLOAD", "an upload case fails if its records cannot be uploaded"
    ),
    Option(
        "html",
        "path",
        "FILE",
        "DISAGG_HTML",
        "page of the session (default: report.html beside its run; none: no page)",
    ),
    Option("keep", "flag", "", "DISAGG_KEEP", "leave the deployment up after the measurement until Ctrl-C"),
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from pytest_disagg import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("disagg", "disaggregated LLM serving")
    for option in OPTIONS:
        more = f" [{option.env}]" if option.env else ""
        if option.kind == "flag":
            group.addoption(option.flag, action="store_true", default=None, help=option.help + more)
            parser.addini(option.dest, option.help, type="bool", default=None)
            continue
        repeatable = option.kind in ("paths", "list")
        group.addoption(
            option.flag,
            action="append" if repeatable else "store",
            default=None,
            metavar=option.metavar,
            dest=option.dest,
            help=option.help + more,
        )
        ini = {"paths": "paths", "list": "linelist"}.get(option.kind, "string")
        parser.addini(option.dest, option.help, type=ini, default=None)  # type: ignore[arg-type]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Terminal(config), "disagg-terminal")
    config.pluginmanager.register(Page(config), "disagg-page")
