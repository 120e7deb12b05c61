"""``disagg rerun TARGET...``: runs the same again, from the manifests of earlier runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.launch.rerun.again import Again
    from pytest_disagg.launch.rerun.local import LocalRerun
    from pytest_disagg.launch.slurm.campaign import Ending, Task
    from pytest_disagg.launch.slurm.result import JobResult
    from pytest_disagg.rundir.outcome import Outcome
    from pytest_disagg.store.manifests import Kept

NOTHING_PLAYED = 5
BY_PYTEST = {0: NOTHING_PLAYED, 1: 4, 2: 2, 3: 3, 4: 4, 5: 5}
"""pytest's exit code where there is no run: a case that was skipped, or that could not be used."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.run_page import add_page_option
    from pytest_disagg.cli.slurm import add_cluster_options
    from pytest_disagg.cli.stores import add_history

    parser = subparsers.add_parser(
        "rerun",
        help="run again what a manifest, a run directory or a run id stands for",
        description="Run the same again: the same case, options and image, by the same means (pytest on this machine, "
        "or a Slurm job), from the manifest of an earlier run alone. Exit codes as disagg run.",
    )
    parser.add_argument(
        "target",
        nargs="+",
        metavar="TARGET",
        help="manifest.json, run directory, run id or Slurm job id; RUN::CASE where a run has several cases",
    )
    parser.add_argument("--dry-run", action="store_true", help="write the case file, print what would be started")
    parser.add_argument(
        "--strict", action="store_true", help="error where versions or image are not those of the run (exit code 4)"
    )
    parser.add_argument("--local", action="store_true", help="on this machine, also what ran as a job")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="case file to take from what the manifest must not hold (default: where it was)",
    )
    parser.add_argument("--junitxml", type=Path, metavar="FILE", help="junit file of all cases")
    add_page_option(parser)
    add_history(parser)
    add_cluster_options(parser)
    parser.set_defaults(func=run)


@dataclass(frozen=True)
class _Plan:
    """All that will be started: ``jobs`` together, ``here`` one after the other."""

    here: Sequence[tuple[Again, LocalRerun]]
    jobs: Sequence[Task]
    retries: int


def run(options: argparse.Namespace) -> int:
    """Find, compare, start; the highest exit code of all.

    Raises:
        ConfigError, UsageError: a target that cannot be run again; then nothing is started.
    """
    from pytest_disagg.cli.run import show

    environ = os.environ
    if options.local and (options.cluster or options.cluster_name):
        raise UsageError("found --local and --cluster, expected one of them")
    plan = _plan(options, environ)
    if options.dry_run:
        for _, each in plan.here:
            print(each.shown())
        return show(plan.jobs)
    results, parts = _play(plan, environ)
    jobs = _submit(plan, environ)
    _report(options, plan, results, parts, jobs)
    codes = [code for code, _ in results] + [ending.code for ending in jobs]
    return max(codes, default=NOTHING_PLAYED)


def _plan(options: argparse.Namespace, environ: Mapping[str, str]) -> _Plan:
    from pytest_disagg.launch.rerun.again import again
    from pytest_disagg.launch.rerun.find import find_manifest
    from pytest_disagg.rundir.runid import new_run_id
    from pytest_disagg.store.place import history_path

    work_dir, history = _work_dir(options, environ), history_path(options.history, environ)
    here: list[tuple[Again, LocalRerun]] = []
    jobs: list[Task] = []
    retries = 0
    for target in options.target:
        kept = find_manifest(target, work_dir, history)
        made = again(kept, work_dir, environ, options.config)
        # Records go where they went, unless somebody says otherwise.
        own = history if options.history or environ.get("DISAGG_HISTORY") else _history(made, history)
        print(f"{kept.target}: {kept.path}")
        if _as_job(made, options):
            task, times = _task(made, options, environ, work_dir, own)
            jobs.append(task)
            retries = max(retries, times)
        else:
            here.append((made, _local(made, options, new_run_id(), work_dir, own)))
    return _Plan(here, jobs, retries)


def _work_dir(options: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    from pytest_disagg.cli.slurm import cluster_of, work_dir_of
    from pytest_disagg.config.cluster import Cluster

    named = options.work_dir or environ.get("DISAGG_WORK_DIR")
    return work_dir_of(options, Cluster() if named else cluster_of(options, environ), environ)


def _history(made: Again, default: Path) -> Path:
    recorded = made.recipe.started["options"].get("history")
    return Path(recorded) if recorded else default


def _as_job(made: Again, options: argparse.Namespace) -> bool:
    """Whether it becomes a job.

    Raises:
        UsageError: it was one, and nothing is known of how it was made.
    """
    from pytest_disagg.launch.rerun.job import was_a_job

    if options.local:
        return False
    if options.cluster or options.cluster_name or was_a_job(made.recipe):
        return True
    if made.kept.job_id:
        raise UsageError(
            f"{made.kept.target}: ran in job {made.kept.job_id}, whose script disagg run did not make: say --cluster "
            "FILE for a job like those of disagg run, or --local"
        )
    return False


def _local(made: Again, options: argparse.Namespace, run_id: str, work_dir: Path, history: Path) -> LocalRerun:
    """The pytest that plays it here.

    Raises:
        UsageError: the engine cannot run here; with --strict: something differs.
    """
    from pytest_disagg.engines import registry
    from pytest_disagg.launch.rerun.differ import (
        client_difference,
        image_difference,
        package_differences,
        version_differences,
    )
    from pytest_disagg.launch.rerun.local import local_rerun

    alone = len(options.target) == 1
    each = local_rerun(made, run_id, work_dir, history, options.junitxml if alone else None)
    # The engine of a conftest is known to its pytest alone.
    if made.case.engine in registry.names() and (reason := registry.get(made.case.engine).unavailable(made.case)):
        raise UsageError(f"{made.kept.target}: engine {made.case.engine}: {reason}")
    then = made.kept.content
    container = image_difference(then, None) if made.recipe.launch else []
    differences = [*package_differences(then), *version_differences(then), *client_difference(then), *container]
    _say(made.kept, differences, each.notes, options)
    return each


def _task(
    made: Again, options: argparse.Namespace, environ: Mapping[str, str], work_dir: Path, history: Path
) -> tuple[Task, int]:
    """The job, and how often it may be submitted again.

    Raises:
        ConfigError, UsageError: it cannot be a job of that cluster; with --strict: something differs.
    """
    from pytest_disagg.cli.slurm import cluster_of
    from pytest_disagg.config.cluster import find_file
    from pytest_disagg.engines import registry
    from pytest_disagg.launch.rerun.differ import image_difference, package_differences, version_differences
    from pytest_disagg.launch.rerun.job import cluster_again, wanted_again, with_image
    from pytest_disagg.launch.slurm import submit
    from pytest_disagg.launch.slurm.campaign import Task
    from pytest_disagg.launch.slurm.launched import file_of

    registry.get(made.case.engine)
    notes: list[str] = []
    if options.cluster or options.cluster_name:
        cluster = with_image(cluster_of(options, environ), made.recipe)
        file = find_file(options.cluster, environ)
    else:
        cluster, notes = cluster_again(made.recipe)
        file = file_of(made.recipe.launch)
    wanted, more = wanted_again(made, cluster, file, work_dir, history)
    # What a node installs, or has in its own Python, is not what runs here.
    own = cluster.python is None and not cluster.install.needed
    differences = package_differences(made.kept.content) if own else []
    if own and cluster.container == "none":
        differences += version_differences(made.kept.content)
    differences += image_difference(made.kept.content, cluster.image if cluster.container != "none" else None)
    _say(made.kept, differences, [*notes, *more], options)
    test = submit.prepare(wanted).submission.test
    return Task(made.case.id.text, test, wanted), wanted.retries


def _say(kept: Kept, differences: Sequence[str], notes: Sequence[str], options: argparse.Namespace) -> None:
    from pytest_disagg.redact import redact

    if differences and options.strict:
        raise UsageError(redact("; ".join((f"{kept.target}: not as it was (--strict)", *differences))))
    for line in (*(f"warning: {each}" for each in differences), *(f"note: {each}" for each in notes)):
        print(f"  {redact(line)}")


def _play(plan: _Plan, environ: Mapping[str, str]) -> tuple[list[tuple[int, JobResult]], list[Path]]:
    """Play what is played here: exit code and result of each, and their junit files. An interrupt ends them all."""
    from pytest_disagg.cli.slurm import sigterm_as_interrupt

    results: list[tuple[int, JobResult]] = []
    for made, each in plan.here:
        print(f"\n{made.kept.target}: again as run {each.environ['DISAGG_RUN_ID']}", flush=True)
        with sigterm_as_interrupt():
            code, interrupted = each.play(environ)
        results.append(_ended(made, each, code, interrupted))
        if interrupted:
            raise KeyboardInterrupt
    return results, [each.junit for _, each in plan.here]


def _ended(made: Again, each: LocalRerun, code: int, interrupted: bool) -> tuple[int, JobResult]:
    from pytest_disagg.cli.running import outcome_code
    from pytest_disagg.launch.slurm.result import JobResult

    outcome: Outcome | None = each.outcome()
    result = JobResult(made.recipe.case, "", each.environ["DISAGG_RUN_ID"], "failed", red=("no run was played",))
    if outcome is None:
        return (2 if interrupted else BY_PYTEST.get(code, 8)), result
    verdict = f"{outcome.verdict} (run {outcome.run_id} of {made.kept.target} again)"
    print(f"{outcome.case}: {verdict}\n  run directory: {each.rundir.path}")
    return outcome_code(outcome), JobResult(
        outcome.case, "", outcome.run_id, outcome.verdict, red=outcome.red, run_dir=str(each.rundir.path)
    )


def _submit(plan: _Plan, environ: Mapping[str, str]) -> list[Ending]:
    from pytest_disagg.cli.run import run_all
    from pytest_disagg.launch.slurm import client
    from pytest_disagg.launch.slurm.campaign import Rules

    if not plan.jobs:
        return []
    client.require("sbatch", "squeue", "scontrol", "scancel")
    return run_all(plan.jobs, Rules(retries=plan.retries), environ)


def _report(
    options: argparse.Namespace,
    plan: _Plan,
    results: Sequence[tuple[int, JobResult]],
    parts: Sequence[Path],
    endings: Sequence[Ending],
) -> None:
    from pytest_disagg.cli.run_page import write_page
    from pytest_disagg.cli.run_report import summary, without_a_job
    from pytest_disagg.cli.slurm import print_results
    from pytest_disagg.launch.slurm.campaign_junit import suites_of
    from pytest_disagg.launch.slurm.junit import merge
    from pytest_disagg.store.place import history_path

    jobs = [ending.result for ending in endings if ending.result is not None]
    print_results([result for result in jobs if result.job_id])
    print(without_a_job(endings), end="")
    if len(endings) > 1:
        print(f"\n{summary(endings)}")
    if options.junitxml and list(parts) != [options.junitxml.absolute()]:
        options.junitxml.parent.mkdir(parents=True, exist_ok=True)
        merge(options.junitxml, [*parts, *(suites_of(ending) for ending in endings)])
    shown = [*(result for _, result in results), *jobs]
    write_page(shown, options.html or os.environ.get("DISAGG_HTML"), history_path(options.history, os.environ))
