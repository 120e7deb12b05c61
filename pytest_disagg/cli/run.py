"""``disagg run CASE``: one Slurm job in which every role is a step; wait for it; its verdict."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.cluster import Cluster
    from pytest_disagg.launch.slurm.follow import Job
    from pytest_disagg.launch.slurm.result import JobResult
    from pytest_disagg.launch.slurm.submit import Prepared, Wanted


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.common import add_case_options
    from pytest_disagg.cli.slurm import add_cluster_options

    parser = subparsers.add_parser(
        "run",
        help="run cases as Slurm jobs: submit, wait, verdict",
        description="Submit one Slurm job for each case, in which every role is a step of the same test, and wait "
        "for it. Ctrl-C cancels the jobs. Exit codes: 0 pass, 1 regression, 2 cancelled, 6 invalid, 7 functional, "
        "8 infrastructure; of several cases the highest.",
    )
    parser.add_argument("target", nargs="+", metavar="CASE", help="case file, its bare name, or a full test id")
    parser.add_argument("--dry-run", action="store_true", help="print plan and script, submit nothing")
    parser.add_argument("--no-wait", action="store_true", help="print the job ids and leave; see disagg wait")
    parser.add_argument(
        "--retries",
        type=_count,
        default=0,
        metavar="N",
        help="submit again after infrastructure failures, on other nodes",
    )
    parser.add_argument("--junitxml", type=Path, metavar="FILE", help="junit file of all cases")
    parser.add_argument(
        "--test", metavar="FILE[::NAME]", help="test module whose test plays the roles (default: one that is made here)"
    )
    group = parser.add_argument_group("measurement")
    group.add_argument("--client", metavar="NAME", help="load generator (DISAGG_CLIENT, default: native)")
    group.add_argument("--baseline", type=Path, metavar="CSV", help="baseline CSV (DISAGG_BASELINE)")
    group.add_argument("--stage-name", metavar="NAME", help="name of the CI stage (stageName)")
    group.add_argument("--repeat", type=_count, metavar="N", help="measure each load N times (DISAGG_REPEAT)")
    add_case_options(parser)
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Submit, follow, report; the exit code of the worst case.

    Raises:
        ConfigError, UsageError: before anything is submitted.
        RunError: sbatch did not take a job; those it took before are cancelled.
    """
    from pytest_disagg.cli.slurm import cluster_of, follow, print_results, work_dir_of, write_report
    from pytest_disagg.launch.slurm import client, submit
    from pytest_disagg.launch.slurm.codes import highest

    environ = os.environ
    cluster = cluster_of(options, environ)
    work_dir = work_dir_of(options, cluster, environ)
    wanted = [_wanted(case, cluster, work_dir, options, environ) for case in _cases(options, cluster, environ)]
    if options.dry_run:
        for each in wanted:
            _show(submit.prepare(each), each.case)
        return 0
    client.require("sbatch", "squeue", "scontrol", "scancel")
    jobs = _submit(wanted, environ)
    if options.no_wait:
        return 0
    results = follow(jobs)
    for _ in range(options.retries):
        again = [i for i, result in enumerate(results) if result.kind == "infrastructure" and not result.cancelled]
        if not again:
            break
        for i, result in zip(
            again, follow(_submit([_elsewhere(wanted[i], results[i]) for i in again], environ)), strict=True
        ):
            results[i] = result
    print_results(results)
    if options.junitxml:
        write_report(options.junitxml, results)
    return highest(results)


def _cases(options: argparse.Namespace, cluster: Cluster, environ: Mapping[str, str]) -> list[Case]:
    from dataclasses import replace

    from pytest_disagg.cli.common import search_dirs, settings
    from pytest_disagg.config.resolve import load_cases
    from pytest_disagg.engines import registry

    options.llm_src = options.llm_src or cluster.llm_src
    options.models_root = options.models_root or cluster.models_root
    over = replace(settings(options, environ), placeholders=_placeholders(cluster))
    dirs = search_dirs(options, environ)
    cases = [
        case for target in options.target for case in load_cases(target, dirs=dirs, settings=over, environ=environ)
    ]
    for case in cases:
        registry.get(case.engine)
    return cases


def _placeholders(cluster: Cluster) -> dict[str, str]:
    """What the cluster file says for ``<partition>`` and the like in a case file."""
    values = {"partition": cluster.partition, "account": cluster.account, "container_image": cluster.image}
    return {name: value for name, value in values.items() if value}


def _wanted(
    case: Case, cluster: Cluster, work_dir: Path, options: argparse.Namespace, environ: Mapping[str, str]
) -> Wanted:
    from pytest_disagg.launch.command import role_options
    from pytest_disagg.launch.slurm.submit import Wanted

    baseline = options.baseline or environ.get("DISAGG_BASELINE")
    test, _, name = (options.test or "").partition("::")
    if test and not Path(test).is_file():
        raise UsageError(f"--test: found {test!r}, expected a test module")
    values: dict[str, str | list[str] | None] = {
        "config-dir": [str(case.path.parent.absolute())],
        "llm-src": _absolute(options.llm_src),
        "models-root": _absolute(options.models_root),
        "engine": options.engine or environ.get("DISAGG_ENGINE") or None,
        "client": options.client or environ.get("DISAGG_CLIENT") or None,
        "set": list(options.set),
        "rehearse-limit": options.rehearse_limit or environ.get("DISAGG_REHEARSE_LIMIT") or None,
        "work-dir": str(work_dir),
        "interface": cluster.interface,
        "baseline": _absolute(baseline),
        "stage-name": options.stage_name or environ.get("stageName") or None,
        "repeat": str(options.repeat or environ.get("DISAGG_REPEAT") or 1),
    }
    return Wanted(
        case=case,
        cluster=cluster,
        work_dir=work_dir,
        options=role_options(values),
        test=Path(test).absolute() if test else None,
        test_name=name or "test_e2e",
        rootdir=Path.cwd() if test else None,
    )


def _submit(wanted: list[Wanted], environ: Mapping[str, str]) -> list[Job]:
    """Every case as a job. When one is refused, those before it are cancelled: half a list is no result."""
    from pytest_disagg.errors import RunError
    from pytest_disagg.launch.slurm import client, submit
    from pytest_disagg.launch.slurm.follow import Job

    prepared = [submit.prepare(each) for each in wanted]
    jobs: list[Job] = []
    for each in prepared:
        submit.write(each)
        try:
            job_id = submit.submit(each, environ)
        except RunError:
            if jobs:
                client.cancel([job.job_id for job in jobs])
            raise
        print(f"{each.submission.case}: job {job_id}, {each.folder.path}", flush=True)
        jobs.append(Job(job_id, each.folder, each.submission))
    return jobs


def _elsewhere(wanted: Wanted, result: JobResult) -> Wanted:
    from dataclasses import replace

    exclude = tuple(dict.fromkeys((*wanted.exclude, *result.bad_nodes)))
    print(
        f"\n{result.case}: {result.headline}\nsubmitting again" + (f", without {', '.join(exclude)}" if exclude else "")
    )
    return replace(wanted, exclude=exclude)


def _show(prepared: Prepared, case: Case) -> None:
    from pytest_disagg.cli.plan import plans_of
    from pytest_disagg.cli.plan_text import render
    from pytest_disagg.redact import redact

    for plan in plans_of(case, with_commands=False):
        print(render(plan))
    print(f"\n# {prepared.folder.script}\n{redact(prepared.text)}", end="")


def _absolute(path: Path | str | None) -> str | None:
    return str(Path(path).absolute()) if path else None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number")
    return int(text)
