"""The case of an earlier run, made again: a file of its own, the same digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.yaml import load
from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.launch.command import role_options
from pytest_disagg.launch.rerun.differ import config_differences
from pytest_disagg.records.recipe import OF_VARIABLE, Recipe
from pytest_disagg.redact import redact_data
from pytest_disagg.rundir.files import write_text
from pytest_disagg.store.manifests import Kept, name_of

FOLDER = "reruns"
BASELINES = "baselines"
BLANK = (
    "AGG_CONFIG_FOLDER",
    "DISAGG_CONFIG_FOLDER",
    "DISAGG_CONFIG_DIR",
    "DISAGG_LLM_SRC",
    "DISAGG_ENGINE",
    "DISAGG_CLIENT",
    "DISAGG_REHEARSE_LIMIT",
    "DISAGG_BASELINE",
    "DISAGG_REPEAT",
    "DISAGG_POLICY",
    "DISAGG_REQUIRE_UPLOAD",
    "DISAGG_KEEP",
    "LLM_MODELS_ROOT",
    "PERF_BASELINE_BRANCH",
    "stageName",
    "BOLT_ITER_MULT",
)
"""Variables that would shape the new run where the old one had none of them."""


@dataclass(frozen=True)
class Again:
    """A run that can be started again. ``folder`` holds its case file, ``environ`` lies over the environment of its
    processes. ``baselines`` is the folder that judges it, None where there is none any more.
    """

    kept: Kept
    recipe: Recipe
    case: Case
    folder: Path
    environ: Mapping[str, str]
    baselines: Path | None = None

    def options(self, work_dir: Path, history: Path, interface: str | None) -> tuple[str, ...]:
        """The ``--disagg-*`` words of the run."""
        settings, started = self.recipe.settings, self.recipe.started
        limits = ",".join(f"{name}={value}" for name, value in asdict(settings.rehearse_limits).items())
        values: dict[str, str | Sequence[str] | None] = {
            **started["options"],
            "config-dir": [str(self.folder)],
            "engine": settings.engine,
            "set": list(settings.sets),
            "models-root": str(settings.models_root) if settings.models_root else None,
            "rehearse-limit": limits if self.recipe.rehearsal else None,
            "work-dir": str(work_dir),
            "history": str(history),
            "interface": interface,
            "html": "none",
        }
        return (*role_options(values), *(("--disagg-require-upload",) if started["require_upload"] else ()))


def name_again(run_id: str, case: str) -> str:
    """The name of the folder, below ``FOLDER``, of that case of that run."""
    return name_of(run_id, case).removesuffix(".json")


def again(kept: Kept, work_dir: Path, environ: Mapping[str, str], config: Path | None = None) -> Again:
    """Write the case file of the run below ``work_dir`` and resolve it as it was. ``config`` is where the case file is
    now, for what the manifest must not hold; default: where it was.

    Raises:
        UsageError: the manifest lacks what it takes, a secret is nowhere, or the config digest is another one.
        ConfigError: the case cannot be resolved any more.
    """
    recipe = Recipe.of(kept.content, kept.path)
    if not recipe.started:
        raise UsageError(
            f"{kept.target}: measured what somebody else had deployed (disagg bench): nothing to start again"
        )
    masked = bool(recipe.masked)
    recipe = recipe.restored(_content(config or recipe.path, required=config is not None), environ)
    folder = work_dir / FOLDER / name_again(recipe.run_id, recipe.case)
    path = folder / f"{recipe.path.stem}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(dict(recipe.document), sort_keys=False, allow_unicode=True)
        write_text(path, text, mode=0o600 if masked else 0o644)
        baselines = _link_baselines(folder, recipe.started)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or path}: {error.strerror or error} (--work-dir)") from error
    over = dict.fromkeys(BLANK, "")
    over |= {name.upper(): text for name, text in recipe.settings.placeholders.items()}
    if recipe.iteration_factor != 1:
        over["BOLT_ITER_MULT"] = str(recipe.iteration_factor)
    case = load_case(recipe.case, path=path, settings=recipe.settings, environ={**environ, **over})
    _check_digest(recipe, case)
    return Again(kept, recipe, case, folder, {**over, OF_VARIABLE: recipe.run_id}, baselines)


def _content(path: Path, *, required: bool) -> Mapping[str, Any]:
    """The content of a case file; empty where it is gone or broken, and nobody named it."""
    try:
        return load(path).data
    except ConfigError:
        if required:
            raise
        return {}


def _link_baselines(folder: Path, started: Mapping[str, Any]) -> Path | None:
    """Baselines and what was accepted are looked for beside case files: the same ones judge the run again."""
    config_dirs = [Path(each) for each in started["config_dirs"]]
    checkout = [Path(started["llm_src"]) / "tests/integration/defs/perf"] if started["llm_src"] else []
    places = [*(each / BASELINES for each in config_dirs), *checkout, *config_dirs]
    link = folder / BASELINES
    link.unlink(missing_ok=True)
    found = next((place for place in places if place.is_dir() and place != link), None)
    if found is not None:
        link.symlink_to(found.resolve())
    return found


def _check_digest(recipe: Recipe, case: Case) -> None:
    if case.digest == recipe.digest:
        return
    found = list(config_differences(recipe.effective, redact_data(case.document)))
    why = "; ".join(found) or "the effective configs are equal as far as they may be shown"
    raise UsageError(
        f"{recipe.run_id}::{recipe.case}: found config digest {case.digest[:12]}, expected the run's, "
        f"{recipe.digest[:12]}: {why}"
    )
