"""``disagg run``: one Slurm job for each case, in which every role is a step; wait for them; the worst verdict."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.launch.slurm.campaign import Campaign, Ending, Rules, Task
    from pytest_disagg.launch.slurm.follow import Job
    from pytest_disagg.launch.slurm.submit import Wanted

EXIT_NOTHING_SELECTED = 5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.common import add_case_options
    from pytest_disagg.cli.measurement import add_measurement_options, count
    from pytest_disagg.cli.profiling import add_profiling_options
    from pytest_disagg.cli.run_lists import add_list_options
    from pytest_disagg.cli.run_page import add_page_option
    from pytest_disagg.cli.slurm import add_cluster_options

    parser = subparsers.add_parser(
        "run",
        help="run cases as Slurm jobs: submit, wait, verdict",
        description="Submit one Slurm job for each case, in which every role is a step of the same test, and wait "
        "for it. Ctrl-C cancels the jobs. Exit codes: 0 pass, 1 regression, 2 cancelled, 4 a case that cannot be used, "
        "5 nothing selected, 6 invalid, 7 functional, 8 infrastructure; of several cases the highest.",
    )
    parser.add_argument("target", nargs="*", metavar="CASE", help="case file, its bare name, or a full test id")
    parser.add_argument("--dry-run", action="store_true", help="print plan and script, submit nothing")
    parser.add_argument("--no-wait", action="store_true", help="print the job ids and leave; see disagg wait")
    parser.add_argument(
        "--retries",
        type=count,
        default=0,
        metavar="N",
        help="submit again after infrastructure failures, on other nodes",
    )
    parser.add_argument("--max-jobs", type=_at_least_one, metavar="N", help="at most N jobs at a time (default: all)")
    parser.add_argument("--stop-on-error", action="store_true", help="start nothing more after the first red case")
    parser.add_argument("--xfail-strict", action="store_true", help="an XFAIL case that passes is red")
    parser.add_argument("--junitxml", type=Path, metavar="FILE", help="junit file of all cases")
    parser.add_argument(
        "--test", metavar="FILE[::NAME]", help="test module whose test plays the roles (default: one that is made here)"
    )
    add_list_options(parser)
    parser.add_argument("--stage-name", metavar="NAME", help="name of the CI stage (stageName)")
    add_page_option(parser)
    add_measurement_options(parser)
    add_profiling_options(parser.add_argument_group("profiling"))
    add_case_options(parser)
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Submit, follow, report; the exit code of the worst case.

    Raises:
        ConfigError, UsageError: a list, a target or an option that cannot be used; nothing is submitted.
        RunError: with ``--no-wait`` only: sbatch did not take a job; those it took before are cancelled.
    """
    from pytest_disagg.cli.measurement import history_of
    from pytest_disagg.cli.run_lists import CaseLoader, select_cases, tasks_of
    from pytest_disagg.cli.run_page import write_page
    from pytest_disagg.cli.run_report import selected
    from pytest_disagg.cli.slurm import cluster_of, work_dir_of
    from pytest_disagg.launch.slurm import client
    from pytest_disagg.launch.slurm.campaign import Rules

    environ = os.environ
    cluster = cluster_of(options, environ)
    work_dir = work_dir_of(options, cluster, environ)
    loader = CaseLoader(options, cluster, environ)
    selection = select_cases(options, loader, environ)
    for note in selection.notes:
        print(note)
    tasks = tasks_of(selection, loader, cluster, work_dir, options, environ)
    for line in dict.fromkeys(line for task in tasks if task.wanted is not None for line in task.wanted.left_out):
        print(line)
    if not tasks:
        print(f"nothing selected ({selection.left_out} left out)")
        _report([], options)
        return 0 if options.allow_empty else EXIT_NOTHING_SELECTED
    if options.dry_run:
        if options.test_list:
            print(f"{selected(tasks)}\n")
        return show(tasks)
    client.require("sbatch", "squeue", "scontrol", "scancel")
    if options.no_wait:
        return _submit_only(tasks, options, environ)
    rules = Rules(options.max_jobs, options.retries, options.stop_on_error, options.xfail_strict)
    endings = run_all(tasks, rules, environ)
    _report(endings, options)
    write_page(
        [ending.result for ending in endings if ending.result is not None],
        options.html or environ.get("DISAGG_HTML"),
        history_of(options, cluster, environ),
    )
    return max(ending.code for ending in endings)


def run_all(tasks: Sequence[Task], rules: Rules, environ: Mapping[str, str]) -> list[Ending]:
    """Every task's ending. Ctrl-C and SIGTERM cancel and wait until all jobs are gone; Ctrl-C again leaves."""
    from pytest_disagg.cli.slurm import Screen, sigterm_as_interrupt
    from pytest_disagg.launch.slurm.campaign import Campaign
    from pytest_disagg.launch.slurm.follow import Follower

    screen = Screen()
    follower = Follower((), screen)
    campaign = Campaign(tasks, lambda wanted: _start(wanted, environ), follower, screen, rules)
    with sigterm_as_interrupt():
        try:
            return _until_over(campaign)
        except Exception:
            campaign.abandon()
            raise


def _until_over(campaign: Campaign) -> list[Ending]:
    try:
        return campaign.run()
    except KeyboardInterrupt:
        print(flush=True)
        campaign.cancel()
    try:
        return campaign.run()
    except KeyboardInterrupt:
        return campaign.endings()


def _start(wanted: Wanted, environ: Mapping[str, str]) -> Job:
    """Write and submit one job."""
    from pytest_disagg.launch.slurm import submit
    from pytest_disagg.launch.slurm.campaign import interruptible_sleep
    from pytest_disagg.launch.slurm.follow import Job

    prepared = submit.prepare(wanted)
    submit.write(prepared)
    job_id = submit.submit(prepared, {**environ, **wanted.environ}, pause=interruptible_sleep)
    print(f"{prepared.submission.case}: job {job_id}, {prepared.folder.path}", flush=True)
    return Job(job_id, prepared.folder, prepared.submission)


def _submit_only(tasks: Sequence[Task], options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Submit everything and leave. When one job is refused, those before it are cancelled: half a list is no result."""
    from pytest_disagg.errors import RunError
    from pytest_disagg.launch.slurm import client
    from pytest_disagg.launch.slurm.campaign import CONFIG_CODE

    waits = {
        "--max-jobs": options.max_jobs is not None,
        "--stop-on-error": options.stop_on_error,
        "ISOLATION": any(task.markers.isolated for task in tasks),
    }
    if needed := [name for name, given in waits.items() if given]:
        raise UsageError(f"--no-wait: found {', '.join(needed)}, expected nothing that needs somebody who waits")
    job_ids: list[str] = []
    for task in tasks:
        if task.wanted is None:
            print(f"{task.name}: not submitted: {task.refusal or task.markers}")
            continue
        try:
            job_ids.append(_start(task.wanted, environ).job_id)
        except RunError:
            if job_ids:
                client.cancel(job_ids)
            raise
    return CONFIG_CODE if any(task.refusal for task in tasks) else 0


def _report(endings: Sequence[Ending], options: argparse.Namespace) -> None:
    from pytest_disagg.cli.run_report import all_attempts, summary, without_a_job
    from pytest_disagg.cli.slurm import print_results
    from pytest_disagg.launch.slurm.campaign_junit import write_endings

    print_results([ending.result for ending in endings if ending.result is not None and ending.result.job_id])
    print(without_a_job(endings), end="")
    if endings and (options.test_list or len(endings) > 1):
        print(f"\n{summary(endings)}")
    else:
        print(all_attempts(endings), end="")
    if options.junitxml:
        write_endings(options.junitxml, endings)


def show(tasks: Sequence[Task]) -> int:
    """Plan and script of every task that would be started; the exit code."""
    from pytest_disagg.cli.plan import plans_of
    from pytest_disagg.cli.plan_text import render
    from pytest_disagg.launch.slurm import submit
    from pytest_disagg.launch.slurm.campaign import CONFIG_CODE
    from pytest_disagg.redact import redact

    for task in tasks:
        if task.wanted is None:
            continue
        for plan in plans_of(task.wanted.case):
            print(render(plan))
        prepared = submit.prepare(task.wanted)
        print(f"\n# {prepared.folder.script}\n{redact(prepared.text)}", end="")
    return CONFIG_CODE if any(task.refusal for task in tasks) else 0


def _at_least_one(text: str) -> int:
    from pytest_disagg.cli.measurement import count

    number = count(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected at least 1")
    return number
