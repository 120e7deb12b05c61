"""``__PLACEHOLDER_<KEY>__`` in a command: filled in finished words, so that a value is data whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pytest_disagg.wrapper.command import Command
from pytest_disagg.wrapper.shellwords import CommandError

VALUE_PREFIX = "DISAGG_PLACEHOLDER_"
"""``DISAGG_PLACEHOLDER_<KEY>`` in the environment gives a value; the command must then have that placeholder."""

_PLACEHOLDER = re.compile(r"__PLACEHOLDER_([A-Za-z0-9_]+?)__")


def given_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Key -> value of every ``DISAGG_PLACEHOLDER_<KEY>``."""
    return {name[len(VALUE_PREFIX) :]: value for name, value in environ.items() if name.startswith(VALUE_PREFIX)}


def fill(
    command: Command, values: Mapping[str, Callable[[], str]], given: Mapping[str, str], *, all_must_occur: bool = True
) -> Command:
    """``command`` with its placeholders filled, in its words and in what it assigns.

    ``values`` say how to find a value, and are asked only where a placeholder needs it. ``given`` are values given on
    purpose: with ``all_must_occur`` one whose placeholder does not occur is an error, as a misspelt key is. (Of a
    job's roles only the one that owns the results keeps all options, so only its command must have them.)

    Raises:
        CommandError: a placeholder without a value, or a given one that does not occur.
    """
    used: set[str] = set()
    known: dict[str, str] = dict(given)

    def value(found: re.Match[str]) -> str:
        key = found.group(1)
        used.add(key)
        if key not in known:
            if key not in values:
                raise CommandError(
                    f"pytestCommand: found {found.group()} and no value for it, expected one of "
                    f"{', '.join(sorted([*values, *given])) or 'none'}, or {VALUE_PREFIX}{key} in the environment"
                )
            known[key] = values[key]()
        return known[key]

    argv = tuple(_PLACEHOLDER.sub(value, word) for word in command.argv)
    env = dict(command.env)
    for name in command.assigned:
        env[name] = _PLACEHOLDER.sub(value, env[name])
    for key in given:
        if all_must_occur and key not in used:
            raise CommandError(f"pytestCommand: {VALUE_PREFIX}{key} is set, and __PLACEHOLDER_{key}__ does not occur")
    return Command(argv, env, command.assigned)
