"""A task's own definition (``custom_config``): copied beside the run's logs, with the models' folder filled in."""

from __future__ import annotations

import shutil
from pathlib import Path

from pytest_disagg.clients.accuracy.command import CUSTOM, INCLUDE
from pytest_disagg.config.accuracy_tasks import AccuracyTask
from pytest_disagg.errors import ConfigError, Problem

FOLDER = "lm_eval_configs"
MODELS_ROOT = "LLM_MODELS_ROOT"
"""What a definition writes for the folder of models and data sets."""
HELPERS = "utils.py"
"""What a definition may import from beside it."""


def find(task: AccuracyTask, *, case_file: Path, llm_src: Path | None) -> Path | None:
    """The definition that a task names; None where it names none, or a folder of definitions instead.

    A relative one lies below the TensorRT-LLM checkout, as there, else beside the case file.

    Raises:
        ConfigError: it is nowhere.
    """
    named = task.extra_kwargs.get(CUSTOM)
    if not named or task.extra_kwargs.get(INCLUDE):
        return None
    folders = [*([llm_src] if llm_src else []), case_file.parent]
    for folder in folders:
        if (folder / str(named)).is_file():
            return folder / str(named)
    looked = " or ".join(str(folder / str(named)) for folder in folders)
    raise ConfigError([Problem(case_file, None, f"accuracy: {task.name}: {CUSTOM}", repr(named), f"a file: {looked}")])


def text_of(path: Path, models_root: Path | None) -> str:
    """A definition's text with the models' folder in it.

    Raises:
        ConfigError: it cannot be read, or it needs that folder and none is known.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(path, None, "", str(error), "a task of lm_eval")]) from error
    if MODELS_ROOT not in text:
        return text
    if models_root is None:
        expected = f"--disagg-models-root (or {MODELS_ROOT} in the environment), which this task needs"
        raise ConfigError([Problem(path, None, "", f"the word {MODELS_ROOT}", expected)])
    return text.replace(MODELS_ROOT, str(models_root))


def copy(path: Path, folder: Path, models_root: Path | None) -> Path:
    """Write the definition, and the helpers beside it, into ``folder``; returns that.

    Raises:
        ConfigError: see :func:`text_of`; or the folder has another definition or other helpers of that name.
    """
    text = text_of(path, models_root)
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / path.name, text, path)
    if (helpers := path.with_name(HELPERS)).is_file():
        _put(folder / HELPERS, helpers.read_text(encoding="utf-8"), helpers)
    return folder


def _put(target: Path, text: str, source: Path) -> None:
    if target.exists() and target.read_text(encoding="utf-8") != text:
        found = f"a second {target.name}, another than the one of a task before it"
        raise ConfigError([Problem(source, None, "", found, "files of different names for different tasks")])
    target.write_text(text, encoding="utf-8")
    shutil.copymode(source, target)
