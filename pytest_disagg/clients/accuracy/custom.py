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


def named(task: AccuracyTask) -> str:
    """The definition that a task names; empty where it names none, or a folder of definitions instead."""
    return "" if task.extra_kwargs.get(INCLUDE) else str(task.extra_kwargs.get(CUSTOM) or "")


def find(task: AccuracyTask, *, case_file: Path, llm_src: Path | None) -> Path | None:
    """The file that a task is defined in; None where it names none.

    A relative one lies below the TensorRT-LLM checkout, as there, else beside the case file.

    Raises:
        ConfigError: it is nowhere.
    """
    if not (name := named(task)):
        return None
    folders = [*([llm_src] if llm_src else []), case_file.parent]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = " or ".join(str(folder / name) for folder in folders)
    raise ConfigError([Problem(case_file, None, f"accuracy: {task.name}: {CUSTOM}", repr(name), f"a file: {looked}")])


def copy(path: Path, folder: Path, models_root: Path | None) -> None:
    """Write the definition, and the helpers beside it, into ``folder``.

    Raises:
        ConfigError: one of them cannot be read, the definition needs the models' folder and none is known, or
            ``folder`` has another definition or other helpers of that name.
    """
    text = _filled(path, models_root)
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / path.name, text, path)
    if (helpers := path.with_name(HELPERS)).is_file():
        _put(folder / HELPERS, _read(helpers, "the helpers of a task of lm_eval"), helpers)


def _filled(path: Path, models_root: Path | None) -> str:
    """A definition's text with the models' folder in it."""
    text = _read(path, "a task of lm_eval")
    if MODELS_ROOT not in text:
        return text
    if models_root is None:
        expected = f"--disagg-models-root (or {MODELS_ROOT} in the environment), which this task needs"
        raise ConfigError([Problem(path, None, "", f"the word {MODELS_ROOT}", expected)])
    return text.replace(MODELS_ROOT, str(models_root))


def _read(path: Path, expected: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(path, None, "", str(error), expected)]) from error


def _put(target: Path, text: str, source: Path) -> None:
    if target.exists() and target.read_text(encoding="utf-8") != text:
        found = f"a second {target.name}, another than the one of a task before it"
        raise ConfigError([Problem(source, None, "", found, "files of different names for different tasks")])
    target.write_text(text, encoding="utf-8")
    shutil.copymode(source, target)
