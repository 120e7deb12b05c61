"""The coverage file: each step fills a copy of its own, which appears whole, and its other ranks wait for that copy."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_disagg.wrapper.command import Command
from pytest_disagg.wrapper.console import WrapperError
from pytest_disagg.wrapper.files import write_text
from pytest_disagg.wrapper.step import Step
from pytest_disagg.wrapper.stopping import Stopping
from pytest_disagg.wrapper.waiting import wait_until

VARIABLE = "coverageConfigFile"
WAIT_S = 300.0
_WHEEL = re.compile(r"---wheel_path---|@TRTLLM_WHEEL_PATH@")


def own_copy(template: Path, step: Step) -> Path:
    """Where the copy of this step lies: beside the template, under a name that no other step or attempt has."""
    return template.with_name(f"{template.name}.{step.key}{f'.{step.role}' if step.role else ''}")


def prepare(
    template: Path, step: Step, wheel_path: Callable[[], str], environ: Mapping[str, str], stopping: Stopping
) -> Path:
    """The filled copy of ``template``: written by rank 0 of the step, awaited by the others.

    ``wheel_path`` is asked only if the template has a place for it.

    Raises:
        WrapperError: no template, or no copy within 300 s.
    """
    copy = own_copy(template, step)
    if step.rank == 0:
        try:
            text = template.read_text(encoding="utf-8")
        except OSError as error:
            raise WrapperError(f"{VARIABLE}: cannot read {template}: {error.strerror}") from error
        if _WHEEL.search(text):
            found = wheel_path()
            text = _WHEEL.sub(lambda place: found, text)
        for place, name in (("@JOB_WORKSPACE@", "jobWorkspace"), ("@STAGE_NAME@", "stageName")):
            text = text.replace(place, environ[name]) if environ.get(name) else text
        write_text(copy, text)
    elif not wait_until(copy.exists, WAIT_S, stopping):
        raise WrapperError(f"waited {WAIT_S:g} s for rank 0 of this step to write {copy}")
    return copy


def point_to(command: Command, template: Path, copy: Path) -> Command:
    """``command`` with the copy wherever it named the template: as a word, after an option's ``=``, in a variable."""

    def changed(word: str) -> str:
        if word == str(template):
            return str(copy)
        option, equals, value = word.partition("=")
        return f"{option}={copy}" if equals and value == str(template) else word

    env = {name: str(copy) if value == str(template) else value for name, value in command.env.items()}
    return dataclasses.replace(command, argv=tuple(changed(word) for word in command.argv), env=env)
