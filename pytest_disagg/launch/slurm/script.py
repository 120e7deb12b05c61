"""The job script: a pure function of the job's data."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.spec import JobSpec
from pytest_disagg.version import __version__

_PLAIN_WORD = re.compile(r"[A-Za-z0-9@%+=:./_-]+")


def render(spec: JobSpec) -> str:
    """The text of ``job.sh``. Every value is quoted: it arrives as data, whatever it holds.

    Raises:
        UsageError: a value that no ``#SBATCH`` line can hold, or Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise UsageError(f"Slurm jobs need the extra 'slurm': pip install 'pytest-disagg[slurm]' ({error})") from error
    environment = Environment(
        loader=PackageLoader("pytest_disagg.launch.slurm", "templates"),
        undefined=StrictUndefined,
        comment_start_string="<#",  # bash has ${#array[@]}
        comment_end_string="#>",
        autoescape=False,  # no HTML: every value goes through one of the filters below
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(q=quoted, qs=all_quoted, directive=directive)
    return environment.get_template("job.sh.j2").render(job=spec, version=__version__)


def quoted(value: object) -> str:
    """One word for bash. Quoted more often than it needs: a comma or a brace in an array makes readers look twice."""
    text = str(value)
    return text if _PLAIN_WORD.fullmatch(text) else "'" + text.replace("'", "'\"'\"'") + "'"


def all_quoted(values: Iterable[object]) -> str:
    """Several words for bash."""
    return " ".join(quoted(value) for value in values)


def directive(option: str) -> str:
    """An option as sbatch reads it from an ``#SBATCH`` line: in double quotes, in which a backslash escapes.

    Raises:
        UsageError: what no such line can hold: a line break, and the words with which sbatch separates components.
    """
    if any(mark in option for mark in "\n\r") or any(word in option.lower() for word in ("packjob", "hetjob")):
        raise UsageError(f"sbatch option {option!r}: found a line break or 'hetjob', expected neither")
    if _PLAIN_WORD.fullmatch(option):
        return option
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'
