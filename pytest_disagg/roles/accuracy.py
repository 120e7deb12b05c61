"""Stage ``accuracy``: lm_eval against a deployment whose loads are done, one task after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.clients.accuracy import custom, results
from pytest_disagg.clients.accuracy.command import LM_EVAL, PROGRAM, command, environment, unavailable
from pytest_disagg.config.accuracy_tasks import AccuracyTask, all_tasks, tasks_of
from pytest_disagg.config.case import Case, LoadSpec, ServerSpec
from pytest_disagg.config.placeholders import placeholders_in
from pytest_disagg.engines.models import model_path
from pytest_disagg.engines.protocol import Site
from pytest_disagg.errors import ConfigError, DisaggError, Problem, RunError
from pytest_disagg.process.child import Child, Exit
from pytest_disagg.records.scores import Score
from pytest_disagg.redact import redact, redact_data, register_environ
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import tail_lines, to_json, write_text
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.verdict.accuracy import SAID
from pytest_disagg.verdict.gate import Finding

FILE = "accuracy.json"
STAGE = "accuracy"
LAST_LINES = 20
LINE_CHARS = 300
ANY_NAME = ("trtllm",)
"""Engines whose servers answer whatever model a request names: there the model's folder is the name, as in
TensorRT-LLM's own test. To others requests carry the case's name, as those of its loads do."""


@dataclass(frozen=True)
class Evaluation:
    """One task that was run on one deployment, for the loads at ``loads`` of server ``server_index``.

    Without scores ``problem`` says why, with the last lines of the log as ``evidence``.
    """

    server_index: int
    loads: tuple[int, ...]
    spec: ServerSpec | None
    task: AccuracyTask
    argv: tuple[str, ...]
    ended: str
    duration_s: float
    scores: tuple[Score, ...] = ()
    version: str = ""
    cut: int | None = None
    problem: Finding | None = None
    evidence: tuple[str, ...] = ()

    def of(self, key: tuple[int, int]) -> bool:
        """Whether the load at (server index, load index) asked for it."""
        server_index, load_index = key
        return self.server_index == server_index and load_index in self.loads


def check(session: RoleSession) -> None:
    """Find out before anything is deployed what would keep a task of the case from running; copy its definitions.

    Raises:
        ConfigError: an unfilled placeholder, a task definition that is missing or cannot be used.
        RunError: lm_eval is not installed (``infrastructure``).
    """
    case, options = session.case, session.options
    problems: list[Problem] = []
    for task in all_tasks(case):
        register_environ(task.env)
        texts = {"model_args_extra": task.model_args_extra, "extra_kwargs": task.extra_kwargs, "env_var": task.env}
        for key, name in placeholders_in(texts):
            where = ".".join(map(str, ("accuracy", task.name, *key)))
            problems.append(Problem(case.path, None, where, f"<{name}>, which nothing fills", "a value"))
        definition = custom.find(task, case_file=case.path, llm_src=options.llm_src)
        if definition is not None:
            custom.copy(definition, session.rundir.path / custom.FOLDER, options.models_root)
        if reason := unavailable({**os.environ, **task.env}):
            raise RunError(reason, kind="infrastructure", stage=session.stage_name)
    if problems:
        raise ConfigError(problems)


def evaluate(
    session: RoleSession, url: str, server_index: int, spec: ServerSpec | None, loads: Sequence[LoadSpec]
) -> Iterator[Evaluation]:
    """Run the tasks of ``loads`` on ``url``; each is given as soon as it has ended.

    A task that fails is said in its evaluation, and the next one is run.

    Raises:
        RunError: a task had no end within ``timeouts.accuracy_s``, or see :meth:`RoleSession.check`.
    """
    for task, positions, name in planned(server_index, loads):
        with session.stage(STAGE):
            found = _Run(session, url, task, spec, session.rundir.path / name).evaluation(server_index, positions)
        yield found


def planned(server_index: int, loads: Sequence[LoadSpec]) -> Iterator[tuple[AccuracyTask, tuple[int, ...], str]]:
    """The tasks of a deployment, each with the positions of the loads that ask for it and the name of its folder."""
    names: set[str] = set()
    for task, positions in tasks_of([load.accuracy for load in loads]):
        name = f"accuracy_eval_{safe_name(task.name)}.{server_index}"
        if name in names:
            # Two loads of a server that want the same task in different ways.
            name = f"{name}.{positions[0]}"
        names.add(name)
        yield task, positions, name


def command_of(
    case: Case,
    spec: ServerSpec | None,
    task: AccuracyTask,
    *,
    program: Sequence[str],
    url: str,
    output: Path,
    site: Site,
    include: Path | None,
) -> tuple[str, ...]:
    """lm_eval's command for a task on the deployment of ``spec`` (None: of the whole case) at ``url``."""
    folder = model_path(case, (spec or case.servers[0]).model, site)
    model = folder if case.engine in ANY_NAME else case.model
    return command(task, program=program, model=model, tokenizer=folder, url=url, output=output, include=include)


def write(session: RoleSession, evaluations: Sequence[Evaluation]) -> None:
    """``results/accuracy.json``: every task with its command and its scores."""
    found = [
        {
            "task": each.task.name,
            "server": each.spec.name if each.spec else "",
            "command": list(each.argv),
            "ended": each.ended,
            "duration_s": round(each.duration_s, 3),
            "lm_eval_version": each.version,
            "scores": [
                {
                    "task": score.task,
                    "score": score.key,
                    "value": score.value,
                    "stderr": score.stderr,
                    "samples": score.samples,
                    "metric": score.name,
                }
                for score in each.scores
            ],
            "problem": each.problem.text if each.problem else "",
        }
        for each in evaluations
    ]
    write_text(session.rundir.results / FILE, to_json(redact_data(found)))


@dataclass(frozen=True)
class _Run:
    """One lm_eval; it writes to ``output`` and, beside it, ``<output>.log``."""

    session: RoleSession
    url: str
    task: AccuracyTask
    spec: ServerSpec | None
    output: Path

    @property
    def log(self) -> Path:
        return self.output.with_name(f"{self.output.name}.log")

    def evaluation(self, server_index: int, loads: tuple[int, ...]) -> Evaluation:
        began = time.monotonic()
        argv = self._argv()
        ended = self._play(argv)
        found, problem = self._read(ended)
        evaluation = Evaluation(
            server_index=server_index,
            loads=loads,
            spec=self.spec,
            task=self.task,
            argv=argv,
            ended=str(ended),
            duration_s=time.monotonic() - began,
            scores=found.scores if found else (),
            version=found.version if found else "",
            cut=found.cut if found else None,
            problem=problem,
            evidence=tuple(self._tail()) if problem else (),
        )
        shown = "; ".join(map(str, evaluation.scores)) if found else problem.text if problem else ""
        self.session.say(f"{SAID}{shown.removeprefix(SAID)}, in {evaluation.duration_s:.0f} s")
        return evaluation

    def _argv(self) -> tuple[str, ...]:
        session, options = self.session, self.session.options
        return command_of(
            session.case,
            self.spec,
            self.task,
            program=LM_EVAL.argv({**os.environ, **self.task.env}),
            url=self.url,
            output=self.output,
            site=Site(models_root=options.models_root, llm_src=options.llm_src),
            include=session.rundir.path / custom.FOLDER if custom.named(self.task) else None,
        )

    def _play(self, argv: tuple[str, ...]) -> Exit:
        session, began = self.session, time.monotonic()
        try:
            child = Child.start(
                argv,
                name=f"{PROGRAM} {self.task.name}",
                env=environment(self.task, self.url, os.environ),
                log=self.log,
                grace_s=session.limits.grace_s,
            )
        except DisaggError as error:
            raise RunError(str(error), kind="infrastructure", stage=STAGE) from error

        def look() -> tuple[Exit | None, str]:
            session.progress = f"{SAID}{self.task.name}: {PROGRAM} runs for {time.monotonic() - began:.0f} s"
            last = self._tail()[-1:] or ["no output yet"]
            return child.poll(), last[0]

        try:
            return session.wait(
                look,
                what=f"{PROGRAM} {self.task.name} to end",
                limit_s=session.limits.accuracy_s,
                key="timeouts.accuracy_s",
                dump_stacks=True,
            )
        except RunError as error:
            if error.because_of is None:
                error.evidence += tuple(self._tail())
            raise
        finally:
            child.stop()
            session.progress = ""

    def _read(self, ended: Exit) -> tuple[results.Results | None, Finding | None]:
        """The scores; or why there are none."""
        name = self.task.name
        if ended.exit_code != 0:
            # A deployment that dies fails lm_eval before its role can say so.
            self.session.settle()
            how = f"was killed by {ended.signal}" if ended.signal else f"ended with exit code {ended.exit_code}"
            last = "".join(f": {line}" for line in self._tail()[-1:])
            return None, Finding("functional", f"{SAID}{name}: {PROGRAM} {how}{last}")
        try:
            return results.read(self.output, name), None
        except results.NoScoresError as error:
            return None, Finding("invalid", f"{SAID}{name}: {PROGRAM} ended with exit code 0, but {error}")

    def _tail(self) -> list[str]:
        lines = (redact(line.strip())[:LINE_CHARS] for line in tail_lines(self.log, LAST_LINES))
        return [line for line in lines if line]
