"""A disaggregated deployment without a BENCHMARK: the launcher itself says when it is over."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_disagg.config.case import Case
from pytest_disagg.launch.command import PytestCommand, generated_test, role_options
from pytest_disagg.launch.local import Event, LocalRun
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.runid import new_run_id, run_id_of
from pytest_disagg.rundir.watch import Watch
from pytest_disagg.topology.deadlines import deadlines

RELEASED = "released"


def up_disagg(
    case: Case,
    work_dir: Path,
    options: Mapping[str, str | Sequence[str] | None],
    say: Callable[[str], None] = print,
) -> Outcome:
    """Bring ``case`` up on this machine and keep it until Ctrl-C or the case's own limit (``slurm.timeout``).

    ``options`` are the ``--disagg-*`` values of every role. The outcome's verdict is ``released`` where the deployment
    was let go, ``failed`` with a cause where it broke.
    """
    limits = deadlines(case)
    run_id = run_id_of(os.environ) or new_run_id()
    rundir = RunDir.of(work_dir, run_id, case.id.text)
    rundir.make()
    test, ini = generated_test(rundir.path)
    run = LocalRun(
        rundir=rundir,
        run_id=run_id,
        case_id=case.id.text,
        roles=tuple(role for role in case.roles if role != "BENCHMARK"),
        command=PytestCommand(
            node=f"{test}::test_e2e[{case.id.text}]", rootdir=rundir.path, inifile=ini, options=role_options(options)
        ),
        limit_s=limits.total_s,
        stop_s=limits.stop_s,
        grace_s=limits.grace_s,
        heartbeat_timeout_s=limits.heartbeat_timeout_s,
    )
    say(f"{case.id.text}: run {run_id}, {len(run.roles)} roles, logs in {rundir.logs}; Ctrl-C ends it")
    released = Outcome(run_id, case.id.text, RELEASED)
    with run.started() as children:
        watch = Watch(rundir, run.roles, heartbeat_timeout_s=limits.heartbeat_timeout_s)
        told = False

        def hear(event: Event) -> None:
            nonlocal told
            say(event.text)
            coordinator = watch.states.get("DISAGG_SERVER")
            if not told and coordinator is not None and coordinator.state == "ready":
                told = True
                url = f"http://{coordinator.address}"
                say(f"the deployment is up at {url}; `disagg bench {case.path} --url {url}` measures it")

        try:
            overdue = run.follow(children, watch, hear)
        except KeyboardInterrupt:
            released.write(rundir)
            say("released: stopping the deployment")
            overdue = run.follow(children, watch, hear)
    return run.outcome(watch, overdue)
