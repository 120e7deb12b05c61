"""After pytest, on the rank that owns the results, with perfMode: the perf check and the report.

The commands are those of TensorRT-LLM's slurm_run.sh (``sanity_perf_check.py``, ``create_perf_comparison_report.py``)
where the source tree has them; DISAGG_PERF_CHECK_COMMAND and DISAGG_PERF_REPORT_COMMAND name others, as command text
that finds ``$perfResults``, ``$perfBaseline`` and ``$perfReport`` in its environment. Where there is no such report
script, ``disagg report`` makes the report if it is installed; nobody asked for that one, so its code does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.wrapper.command import interpret
from pytest_disagg.wrapper.console import say
from pytest_disagg.wrapper.package import python
from pytest_disagg.wrapper.step import Step
from pytest_disagg.wrapper.supervise import NOT_FOUND, Ended

RESULTS = "perf_script_test_results.csv"
CHECK_VARIABLE, REPORT_VARIABLE = "DISAGG_PERF_CHECK_COMMAND", "DISAGG_PERF_REPORT_COMMAND"

if TYPE_CHECKING:
    Run = Callable[[tuple[str, ...], Mapping[str, str]], Ended]
    """Starts a program with an environment and waits for its end."""


@dataclass(frozen=True)
class PerfCodes:
    """Exit codes of the check and of the report; 0 where one was not run."""

    check: int = 0
    report: int = 0


def wanted(step: Step, environ: Mapping[str, str]) -> bool:
    """Whether this task has to check: one per job, the one that owns the results."""
    return step.owns_results and environ.get("perfMode") == "true"


def baseline_name(stage: str) -> str:
    return "base_perf_pytorch.csv" if "PyTorch" in stage else "base_perf.csv"


def check_and_report(environ: Mapping[str, str], llm_src: Path | None, cwd: Path, run: Run) -> PerfCodes:
    """Run both; ``run`` starts a program. The report is made whatever the check says.

    Raises:
        CommandError: a command given in the environment cannot be interpreted.
    """
    stage = environ.get("stageName", "")
    defs = cwd if llm_src is None else llm_src / "tests/integration/defs"
    results = _results(environ, stage, cwd)
    baseline = defs / "perf" / baseline_name(stage)
    report = results.with_name("report.pdf")
    given = {"perfResults": str(results), "perfBaseline": str(baseline), "perfReport": str(report)}
    check = _Program(
        "perf check",
        CHECK_VARIABLE,
        defs / "perf/sanity_perf_check.py",
        (str(results), str(baseline)),
    )
    create = _Program(
        "perf report",
        REPORT_VARIABLE,
        defs / "perf/create_perf_comparison_report.py",
        ("--output_path", str(report), "--files", str(results), str(baseline)),
        _own_report(environ, results, baseline, report),
    )
    env = {**environ, **given}
    return PerfCodes(check=check.run(env, run), report=create.run(env, run))


@dataclass(frozen=True)
class _Program:
    title: str
    variable: str
    script: Path
    arguments: tuple[str, ...]
    own: tuple[str, ...] = ()
    """What does the same where ``script`` is not there; its code is said and no more."""

    def run(self, env: Mapping[str, str], run: Run) -> int:
        if env.get(self.variable):
            command = interpret(env[self.variable], env, self.variable)
            argv, env = command.argv, command.env
        elif self.script.is_file():
            argv = (python(env), str(self.script), *self.arguments)
        elif self.own:
            argv = self.own
        else:
            say(f"{self.title}: {self.script} is not there and {self.variable} is not set: not run")
            return 0
        say(f"{self.title}: {' '.join(argv)}")
        ended = run(argv, env)
        if not ended.started and ended.code == NOT_FOUND:
            say(f"{self.title}: {argv[0]} is not installed: not run")
            return 0
        say(f"{self.title}: {ended}")
        return 0 if argv is self.own else ended.code


def _own_report(environ: Mapping[str, str], results: Path, baseline: Path, report: Path) -> tuple[str, ...]:
    """``disagg report`` of the environment that runs pytest, over what there is to compare; empty where it cannot."""
    disagg = Path(python(environ)).with_name("disagg")
    files = [str(path) for path in (results, baseline) if path.is_file()]
    if not disagg.is_file() or str(results) not in files:
        return ()
    return (str(disagg), "report", "--files", *files, "--output_path", str(report))


def _results(environ: Mapping[str, str], stage: str, cwd: Path) -> Path:
    """Where the results are: below the first of these folders that has them, else where the command ran."""
    folders = [cwd, *(Path(environ[name]) for name in ("DISAGG_WORK_DIR", "jobWorkspace") if environ.get(name))]
    paths = [folder / stage / RESULTS for folder in folders]
    return next((path for path in paths if path.is_file()), paths[0])
