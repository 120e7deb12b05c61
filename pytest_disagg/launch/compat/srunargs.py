"""The file of srun arguments as the bash array ``srunArgs`` that launch drafts expand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.launch.compat.shelltext import QuoteError, Word, in_double_quotes, literal, shown, words


def parse(text: str, path: Path) -> list[Word]:
    """The arguments in the file, as a shell would split them, so that one may hold a space in quotes.

    A plain ``$NAME`` or ``${NAME}`` outside of single quotes is filled in when the job runs; all else is data.

    Raises:
        ConfigError: a quote without an end.
    """
    try:
        return [placed.word for placed in words(text)]
    except QuoteError as error:
        line = text.count("\n", 0, error.at) + 1
        expected = "its end (arguments are split as in a shell)"
        raise ConfigError([Problem(path, line, "", str(error), expected)]) from None


def with_container_variables(arguments: Sequence[Word], names: Iterable[str]) -> list[Word]:
    """``arguments`` and one ``--container-env`` for each name, where the arguments are those of a container.

    Outside a container the step has the environment of the script, and srun without pyxis does not know the option.
    """
    if not any(shown(word).startswith("--container-") for word in arguments):
        return list(arguments)
    more = (f"--container-env={name}" for name in names)
    given = {shown(word) for word in arguments}
    return [*arguments, *(literal(option) for option in more if option not in given)]


def array(arguments: Iterable[Word]) -> str:
    """The assignment, one argument a line."""
    return "\n".join(["srunArgs=(", *(f"  {in_double_quotes(word)}" for word in arguments), ")", ""])
