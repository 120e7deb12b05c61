"""A disaggregated case with ``DISAGG_SERVING_TYPE`` unset: every role on this machine, one child pytest each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_disagg.engines import registry as engines
from pytest_disagg.launch.command import PytestCommand, role_options
from pytest_disagg.launch.local import Event, LocalRun
from pytest_disagg.plugin.live import Live
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.runid import new_run_id, run_id_of
from pytest_disagg.topology.deadlines import deadlines

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.plugin.values import Resolved
    from pytest_disagg.rundir.outcome import Outcome

LOOPBACK = "127.0.0.1"
HOOK_PREFIX = "pytest_disagg_"


def run_here(request: pytest.FixtureRequest, case: Case, values: Resolved) -> Outcome:
    """Start the roles of ``case``, follow them, and return how the run ended."""
    limits = deadlines(case, repeats=engines.get(case.engine).probe_policy(case.id.mode).repeats(values.repeat))
    run_id = run_id_of(os.environ) or new_run_id()
    live = Live(request.config)
    run = LocalRun(
        rundir=RunDir.of(values.work_dir, run_id, case.id.text),
        run_id=run_id,
        case_id=case.id.text,
        roles=case.roles,
        command=command(request, values),
        limit_s=limits.total_s + limits.stop_s,
        stop_s=limits.stop_s,
        grace_s=limits.grace_s,
        heartbeat_timeout_s=limits.heartbeat_timeout_s,
        keep=values.keep,
    )
    live.line(f"{case.id.text}: run {run_id}, {len(case.roles)} roles, logs in {run.rundir.logs}")

    def show(event: Event) -> None:
        live.progress(event.text) if event.transient else live.line(event.text)

    return run.run(show)


def command(request: pytest.FixtureRequest, values: Resolved) -> PytestCommand:
    """How this very test is started again by a role."""
    config = request.config
    option: Any = config.option
    _, _, test = request.node.nodeid.partition("::")
    options = [*role_options(values.for_roles(LOOPBACK))]
    options += [
        f"--disagg-{name}" for name, on in (("keep", values.keep), ("require-upload", values.require_upload)) if on
    ]
    return PytestCommand(
        node=f"{Path(str(request.node.path))}::{test}",
        rootdir=config.rootpath,
        inifile=config.inipath,
        options=tuple(options),
        import_mode=str(option.importmode),
        override_ini=tuple(option.override_ini or ()),
        confcutdir=Path(option.confcutdir) if option.confcutdir else None,
        plugins=plugins_for_roles(config),
    )


def plugins_for_roles(config: pytest.Config) -> tuple[str, ...]:
    """The ``-p`` plugins that implement a hook of ours: a role that lacks their engine could not play its part."""
    option: Any = config.option
    given = dict.fromkeys(name for name in option.plugins or () if not name.startswith("no:"))
    loaded = {name: config.pluginmanager.get_plugin(name) for name in given}
    return tuple(
        name for name, plugin in loaded.items() if any(attribute.startswith(HOOK_PREFIX) for attribute in dir(plugin))
    )
