"""``pytestCommand`` of a role: text that ``slurm_run`` reads, without a shell, inside the step."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.config.cluster_env import EnvironmentChange
from pytest_disagg.launch.command import PytestCommand
from pytest_disagg.launch.nsys import OUTPUT_OF_ROLE, RANGE_VARIABLE, nsys_prefix

_JUNIT = Path("junit-of-the-role")
_JUNIT_WORD = '"--junitxml=$DISAGG_RUN_DIR/junit/$DISAGG_SERVING_TYPE.xml"'
"""Run directory and role are known only in the step, so these stay references."""


def pytest_text(command: PytestCommand, python: str) -> str:
    """The command that plays any role, every word quoted."""
    _, *arguments = command.argv(_JUNIT)
    words = [_JUNIT_WORD if word == f"--junitxml={_JUNIT}" else shlex.quote(word) for word in arguments]
    return " ".join([shlex.quote(python), *words])


def environment_text(change: EnvironmentChange, more: Mapping[str, str] | None = None) -> str:
    """``unset A B && C=d``, to stand before a command; ``more`` lies over ``change``. Empty where nothing changes."""
    unset = [f"unset {' '.join(change.unset)} &&"] if change.unset else []
    return " ".join(
        [*unset, *(f"{name}={shlex.quote(value)}" for name, value in {**change.set, **(more or {})}.items())]
    )


def references_text(values: Mapping[str, str]) -> str:
    """``C="x_${NAME}"``: an engine's own variables, in which each task fills in the references."""
    quoted = {name: re.sub(r'(["\\\\`]|\$(?!\{))', r"\\\1", value) for name, value in values.items()}
    return " ".join(f'{name}="{value}"' for name, value in quoted.items())


def profiler_text(iterations: str) -> str:
    """nsys around a server's pytest, over these iterations (``A-B``): one report a rank in the run directory."""
    *words, _ = nsys_prefix(OUTPUT_OF_ROLE)
    assigned = f"{RANGE_VARIABLE}={shlex.quote(iterations)}"
    return " ".join([assigned, *map(shlex.quote, words), f'"$DISAGG_RUN_DIR/{OUTPUT_OF_ROLE}"'])
