"""What a manifest keeps so that its run can be started again, and how that is read back.

A secret is never part of it: the keys of what was left out are listed, and whoever starts the run again supplies them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.config.overrides import unshared
from pytest_disagg.config.settings import RehearseLimits, Settings
from pytest_disagg.errors import UsageError
from pytest_disagg.redact import redact_data

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case

PART = "rerun"
"""The part's key in a manifest."""
JOB_DIR_VARIABLE = "DISAGG_JOB_DIR"
"""In a job of ``disagg run``: the folder of its submission."""
LAUNCH_FILE = "launch.json"
"""In that folder: how the job was made, see :mod:`pytest_disagg.launch.slurm.launched`."""
OF_VARIABLE = "DISAGG_RERUN_OF"
"""The id of the run that this one repeats."""
_VALUE_VARIABLE = "DISAGG_RERUN_"

_OTHERS = ("version", "git", "container")
_STARTED = ("options", "require_upload", "config_dirs", "llm_src", "cwd", "test")

Key = tuple[str, ...]


def recipe_of(case: Case, started: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The part of a manifest, redacted. ``started`` is what the process that plays BENCHMARK knows of its own start."""
    settings = case.source.settings
    source = {
        "document": case.source.document,
        "sets": list(settings.sets),
        "placeholders": dict(settings.placeholders),
    }
    shown = redact_data(source)
    return {
        "source": shown,
        "masked": [list(key) for key in masked_keys(source, shown)],
        "engine": settings.engine,
        "iteration_factor": case.source.iteration_factor,
        "rehearse_limits": asdict(settings.rehearse_limits),
        "models_root": str(settings.models_root) if settings.models_root else None,
        "started": redact_data(started),
        "launch": launch_of(environ),
    }


def launch_of(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """What was written beside the job script of this run; None outside of a job of ours."""
    folder = environ.get(JOB_DIR_VARIABLE)
    if not folder:
        return None
    path = Path(folder) / LAUNCH_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        return {"error": f"{path}: {error}"}
    return found


def masked_keys(value: object, shown: object, key: Key = ()) -> Iterator[Key]:
    """The keys of ``value`` whose content is not whole in ``shown``, its redacted copy: secrets, what JSON lacks."""
    if isinstance(value, Mapping) and isinstance(shown, Mapping):
        for name, item in value.items():
            if isinstance(name, str):
                yield from masked_keys(item, shown.get(name), (*key, name))
            else:
                yield (*key, str(name))
    elif isinstance(value, (list, tuple)) and isinstance(shown, list):
        for index, (item, other) in enumerate(zip(value, shown, strict=True)):
            yield from masked_keys(item, other, (*key, str(index)))
    elif type(value) is not type(shown) or value != shown:
        yield key


@dataclass(frozen=True)
class Recipe:
    """A run as its manifest describes it. ``path`` is where its case file was, ``effective`` that file's content with
    everything over it, redacted. ``started`` and ``launch`` are as :func:`recipe_of` and its caller wrote them.
    """

    run_id: str
    case: str
    path: Path
    digest: str
    engine: str
    rehearsal: bool
    effective: Mapping[str, Any]
    document: Mapping[str, Any]
    settings: Settings
    masked: tuple[Key, ...] = ()
    iteration_factor: int = 1
    started: Mapping[str, Any] = field(default_factory=dict)
    launch: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any], where: object) -> Recipe:
        """Read it from a manifest.

        Raises:
            UsageError: a part is missing, as in manifests of earlier versions; says which.
        """
        part = manifest.get(PART)
        if not isinstance(part, Mapping):
            version = manifest.get("version") or "an unknown version"
            raise UsageError(
                f"{where}: found no {PART!r} part, expected one: pytest-disagg {version} wrote a manifest without the "
                "case file's content and the way the run was started, so it cannot be run again"
            )
        try:
            config, source, started = manifest["config"], part["source"], part["started"]
            _require(manifest, _OTHERS)
            _require(started, _STARTED if started else ())
            _require(part["launch"] or {}, ("masked",) if "cluster" in (part["launch"] or {}) else ())
            settings = Settings(
                engine=part["engine"],
                sets=tuple(source["sets"]),
                models_root=Path(part["models_root"]) if part["models_root"] else None,
                rehearse_limits=RehearseLimits(**part["rehearse_limits"]),
                placeholders=dict(source["placeholders"]),
            )
            return cls(
                run_id=str(manifest["run_id"]),
                case=str(manifest["case"]),
                path=Path(config["path"]),
                digest=str(config["digest"]),
                engine=str(config["engine"]),
                rehearsal=config["rehearsal"] is True,
                effective=dict(config["effective"]),
                document=dict(source["document"]),
                settings=settings,
                masked=tuple(tuple(key) for key in part["masked"]),
                iteration_factor=int(part["iteration_factor"]),
                started=dict(started),
                launch=dict(part["launch"] or {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{where}: found no usable {error}, expected a manifest that pytest-disagg wrote"
            ) from error

    def restored(self, own: Mapping[str, Any], environ: Mapping[str, str]) -> Recipe:
        """With everything that was masked: from the environment, else from ``own``, the case file's content where it is
        still there.

        Raises:
            UsageError: nobody supplies a key; says which keys and by which variables.
        """
        document = unshared(self.document)
        sets, filled = list(self.settings.sets), dict(self.settings.placeholders)
        missing: list[str] = []
        for part, *rest in self.masked:
            name = variable((part, *rest))
            found = environ.get(name)
            if found is None and part == "document":
                found = value_at(own, rest)
            if found is None:
                missing.append(f"{'.'.join(rest) or part} ({_called(part, sets, rest)}set {name})")
            elif part == "document":
                put(document, rest, found)
            elif part == "sets":
                sets[int(rest[0])] = str(found)
            else:
                filled[rest[0]] = str(found)
        if missing:
            raise UsageError(
                f"{self.run_id}::{self.case}: the manifest does not hold what is secret, and {self.path} does not say "
                f"it: {'; '.join(missing)}"
            )
        settings = replace(self.settings, sets=tuple(sets), placeholders=filled)
        return replace(self, document=document, settings=settings, masked=())


def variable(key: Key) -> str:
    """The environment variable that supplies what was masked; of a placeholder the one that fills it anyway."""
    part, *rest = key
    if part == "placeholders":
        return rest[0].upper()
    words = ("set", *rest) if part == "sets" else tuple(rest)
    return _VALUE_VARIABLE + re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).upper()


def value_at(document: object, key: Sequence[str]) -> Any:
    """The value at a key of nested mappings and lists; None where there is none."""
    for name in key:
        if isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def put(document: Any, key: Sequence[str], value: object) -> None:
    """Set the value at a key whose parents exist."""
    for name in key[:-1]:
        document = document[int(name)] if isinstance(document, list) else document[name]
    if isinstance(document, list):
        document[int(key[-1])] = value
    else:
        document[key[-1]] = value


def _require(mapping: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if name not in mapping:
            raise KeyError(name)


def _called(part: str, sets: Sequence[str], rest: Sequence[str]) -> str:
    return f"--disagg-set {sets[int(rest[0])].partition('=')[0]}=...: " if part == "sets" else ""
