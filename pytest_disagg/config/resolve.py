"""From a target (test id, config name, file) and the settings to cases: the one way that every role and tool takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pytest_disagg.config import build, ids, placeholders, rehearsal, yaml
from pytest_disagg.config.accuracy import from_environment
from pytest_disagg.config.case import Case, CaseId, LoadSpec, Mode, Prefix, ServerSpec, Source
from pytest_disagg.config.digest import digest
from pytest_disagg.config.listing import BROKEN, ids_of
from pytest_disagg.config.lookup import ConfigFiles, search_dirs
from pytest_disagg.config.names import server_names
from pytest_disagg.config.overrides import apply_sets
from pytest_disagg.config.schema import AggrFile, DisaggFile
from pytest_disagg.config.settings import Settings
from pytest_disagg.config.validate import case_file_keys, validate
from pytest_disagg.errors import ConfigError, Problem, UsageError

__all__ = ["Settings", "load_case", "load_cases", "offered_cases"]

DEFAULT_TOTAL_S = 10800.0
"""What a whole run may take where the file says nothing: TensorRT-LLM's ``slurm.timeout``."""

_JOB_MARGIN_S = 60.0
"""What a Slurm job needs besides the run, kept free of a ``slurm.job_time``."""


def load_case(
    case_id: str,
    *,
    path: Path | None = None,
    dirs: Sequence[Path] = (),
    settings: Settings | None = None,
    environ: Mapping[str, str] | None = None,
) -> Case:
    """Resolve one test id. With ``path`` only that file is read; else the id is looked up.

    Looked up in ``dirs``, then where :func:`pytest_disagg.config.lookup.search_dirs` says.

    Raises:
        ConfigError: no such file, or everything that is wrong with it and with this case of it.
        UsageError: an option or an environment variable that cannot be used.
    """
    settings, environ = settings or Settings(), os.environ if environ is None else environ
    if path is not None:
        if case_id.startswith(BROKEN):
            validate(yaml.load(path))
            raise ConfigError([Problem(path, None, "", f"the test id {case_id!r}", "one that the file offers")])
        return _Source.read(path, settings, environ).case(ids.parse(case_id, ConfigFiles.of(path)))
    found = ConfigFiles(search_dirs(dirs, environ, settings.llm_src)).find(case_id)
    if found.id is None:
        raise ConfigError([Problem(found.path, None, "", f"the config name {case_id!r}", "a test id")])
    return _Source.read(found.path, settings, environ).case(found.id)


def load_cases(
    target: str,
    *,
    dirs: Sequence[Path] = (),
    settings: Settings | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Case]:
    """Resolve a test id, or the cases that a file (by path or by name) is looked at by.

    Those are: what a file's ``cases:`` lists; else the e2e case of a disaggregated file, or the gen_only_no_context or
    ctx_only case of one that is of such servers alone (or whose ``benchmark.mode`` says so). Of an aggregated file each
    server is a case of its own. Errors as :func:`load_case`.
    """
    settings, environ = settings or Settings(), os.environ if environ is None else environ
    found = ConfigFiles(search_dirs(dirs, environ, settings.llm_src)).find(target)
    source = _Source.read(found.path, settings, environ)
    if found.id is not None:
        return [source.case(found.id)]
    only = ConfigFiles.of(found.path)
    return [source.case(ids.parse(text, only)) for text in source.shown_ids()]


def offered_cases(
    path: Path, *, settings: Settings | None = None, environ: Mapping[str, str] | None = None
) -> list[Case]:
    """Every case that a file offers in a listing and has the servers for (see :func:`build.declines`).

    Raises:
        ConfigError: all problems of the file; where it has none, those of all its cases, each once.
    """
    source = _Source.read(path, settings or Settings(), os.environ if environ is None else environ)
    only = ConfigFiles.of(path)
    cases: list[Case] = []
    problems: list[Problem] = []
    for listed in ids_of(path):
        try:
            if listed.problem is not None:
                raise ConfigError([listed.problem])
            case_id = ids.parse(listed.id, only)
            if not source.declines(case_id):
                cases.append(source.case(case_id))
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(problems)
    return cases


@dataclass(frozen=True)
class _Source:
    """A file read, overridden, filled in and validated; gives its cases."""

    document: yaml.Document
    data: dict[str, Any]
    changed: Mapping[yaml.Key, str]
    fills: Mapping[str, str]
    filled: Mapping[str, str]
    file: DisaggFile | AggrFile
    settings: Settings
    environ: Mapping[str, str]

    @classmethod
    def read(cls, path: Path, settings: Settings, environ: Mapping[str, str]) -> _Source:
        document = yaml.load(path)
        overridden, changed = apply_sets(document.data, settings.sets, path=path, sections=case_file_keys())
        values = placeholders.values_for(overridden, settings.placeholders, environ)
        data = placeholders.fill(overridden, values)
        # Accounts and partitions differ between sites and say nothing about what is measured.
        measured = {key: value for key, value in overridden.items() if key != "slurm"}
        fills = {name: values[name] for _, name in placeholders.placeholders_in(measured) if name in values}
        file = validate(document, data, changed)
        return cls(document, data, changed, fills, values, file, settings, environ)

    def shown_ids(self) -> list[str]:
        stem = self.document.path.stem
        if isinstance(self.file, DisaggFile):
            return [f"{name}-{stem}" for name in self.file.cases or [self._shown_case(self.file)]]
        names = server_names(self.data)
        prefixes = self.file.cases or ["aggr"]
        return [
            f"{prefix}-{stem}-{name}" if len(names) > 1 else f"{prefix}-{stem}" for prefix in prefixes for name in names
        ]

    def _shown_case(self, file: DisaggFile) -> str:
        modes: list[tuple[Prefix, Mode]] = [("disagg", "e2e"), ("disagg", build.NO_CONTEXT), ("aggr", "ctx_only")]
        if build.NO_CONTEXT in file.benchmark.mode:
            modes = modes[1:]
        stem = self.document.path.stem
        for prefix, mode in modes:
            if not build.declines(file, CaseId("", prefix, mode, None, stem)):
                return f"{prefix}-{mode}"
        return "disagg-e2e"

    def declines(self, case_id: CaseId) -> bool:
        """Whether the file is not meant for that case."""
        return isinstance(self.file, DisaggFile) and build.declines(self.file, case_id)

    def case(self, case_id: CaseId) -> Case:
        file = self.file
        case_id = self._with_mode(case_id)
        self._check(case_id)
        around = build.Surroundings(self._models_root(), self._iteration_factor(), from_environment(self.environ))
        servers: tuple[ServerSpec, ...]
        loads: tuple[LoadSpec, ...] = ()
        if isinstance(file, AggrFile):
            servers = build.aggregated_servers(file, self.data, case_id, around)
            speculates = build.speculates(file.server_configs)
            coordinator_env = ""
        else:
            loads = build.disagg_loads(file, case_id, around)
            speculates = build.speculates((file.worker_config.ctx, file.worker_config.gen))
            coordinator_env = file.environment.server_env_var
            if case_id.mode == "ctx_only":
                servers, loads = (build.ctx_only_server(file, self.data, case_id, loads),), ()
            else:
                servers = build.disagg_servers(file, self.data, case_id)
        engine = self.settings.engine or file.engine
        rehearsed = rehearsal.is_rehearsal(file.engine, self.settings.engine)
        notes: list[str] = []
        if rehearsed:
            servers, loads, notes = self._rehearse(servers, loads)
            left_out = {
                "no precheck": file.precheck,
                "the model is not fetched": file.model,
                "the machine is not looked at": "machine" in self.data,
                "clocks are not locked": file.clocks,
                "nothing runs under nsys": file.profiling.nsys_on,
            }
            notes += [f"rehearsal: {words}" for words, asked in left_out.items() if asked]
        else:
            notes += build.accuracy_notes(file, case_id, around)
        job_time_s: float | None = file.slurm.job_time
        return Case(
            id=case_id,
            path=self.document.path,
            engine=engine,
            model=servers[0].model,
            servers=servers,
            clients=loads,
            gpus_per_node=file.hardware.gpus_per_node,
            share_nodes=file.hardware.share_nodes,
            coordinator_env=build.variables(coordinator_env),
            coordinator_env_text=coordinator_env,
            supported_gpus=file.metadata.supported_gpus,
            timeouts=file.timeouts,
            gate=file.gate,
            machine=file.machine,
            slo=file.slo,
            sim=file.sim,
            document=self.data,
            digest=self._digest(case_id, engine, around.iteration_factor, rehearsed),
            rehearsal=rehearsed,
            notes=tuple(notes),
            precision=file.metadata.precision or "",
            spec_decoding=speculates,
            numa_bind=file.slurm.numa_bind,
            total_s=_total_s(file.slurm.timeout, job_time_s),
            job_time_s=job_time_s,
            precheck=None if rehearsed else file.precheck,
            discovery=file.discovery,
            telemetry=file.telemetry if file.telemetry.enabled else None,
            model_source=None if rehearsed else file.model,
            clocks=None if rehearsed else file.clocks,
            nsys=file.profiling.nsys_on and not rehearsed,
            verdict=file.verdict,
            source=Source(
                self.document.data,
                replace(self.settings, placeholders=self.filled, models_root=around.models_root),
                around.iteration_factor,
            ),
        )

    def _with_mode(self, case_id: CaseId) -> CaseId:
        """The older grammar has no mode: ``benchmark.mode`` names it."""
        if not case_id.legacy or not isinstance(self.file, DisaggFile):
            return case_id
        return replace(case_id, mode="gen_only" if "gen_only" in self.file.benchmark.mode else "e2e")

    def _check(self, case_id: CaseId) -> None:
        if isinstance(self.file, DisaggFile):
            found = build.disagg_problems(self.file, case_id)
        else:
            found = build.aggregated_problems(self.file)
        if found:
            raise ConfigError([self._located(problem) for problem in found])

    def _located(self, problem: Problem) -> Problem:
        key: yaml.Key = tuple(int(part) if part.isdigit() else part for part in problem.key.split("."))
        option = next((text for prefix, text in self.changed.items() if key[: len(prefix)] == prefix), None)
        line = self.document.line(key) if option is None else None
        hint = problem.hint if option is None else f"set by {option}"
        return replace(problem, path=self.document.path, line=line, hint=hint)

    def _rehearse(
        self, servers: tuple[ServerSpec, ...], loads: tuple[LoadSpec, ...]
    ) -> tuple[tuple[ServerSpec, ...], tuple[LoadSpec, ...], list[str]]:
        limits = self.settings.rehearse_limits
        notes = [f"rehearsal: engine {self.file.engine} -> {rehearsal.ENGINE}"]
        if loads:
            servers, changed = rehearsal.cut_servers(servers, limits)
            loads, more = rehearsal.cut_loads(loads, limits)
            return servers, loads, [*notes, *changed, *more]
        cut: list[ServerSpec] = []
        for spec in servers:
            clients, changed = rehearsal.cut_loads(spec.clients, limits)
            cut.append(replace(spec, clients=clients))
            notes += [note for note in changed if note not in notes]
        return tuple(cut), loads, notes

    def _models_root(self) -> Path | None:
        if self.settings.models_root is not None:
            return self.settings.models_root
        root = self.environ.get("LLM_MODELS_ROOT")
        return Path(root) if root else None

    def _iteration_factor(self) -> int:
        """``BOLT_ITER_MULT``: how many times as many iterations of every load (TensorRT-LLM's variable)."""
        text = self.environ.get("BOLT_ITER_MULT", "").strip()
        if not text:
            return 1
        if not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise UsageError(
                f"environment variable BOLT_ITER_MULT: found {text!r}, expected a whole number of at least 1"
            )
        return int(text)

    def _digest(self, case_id: CaseId, engine: str, iteration_factor: int, rehearsed: bool) -> str:
        content = {
            "id": case_id.text,
            "engine": engine,
            "document": self.document.data,
            "sets": self.settings.sets,
            "placeholders": self.fills,
            "iteration_factor": iteration_factor,
            "rehearse_limits": asdict(self.settings.rehearse_limits) if rehearsed else None,
        }
        return digest(content)


def _total_s(timeout_s: float | None, job_time_s: float | None) -> float:
    if timeout_s is not None:
        return timeout_s
    if job_time_s is None:
        return DEFAULT_TOTAL_S
    return min(DEFAULT_TOTAL_S, max(job_time_s - _JOB_MARGIN_S, job_time_s / 2))
