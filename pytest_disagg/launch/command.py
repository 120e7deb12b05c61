"""The command line and environment of a child pytest that plays one role. Nothing is inherited by accident."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Other pytest sessions must not leak into a role: their options, their workers, their coverage.
DROPPED_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_PLUGINS", "PYTEST_DEBUG", "PYTEST_THEME")
DROPPED_PREFIXES = ("PYTEST_XDIST_", "COV_CORE_", "COVERAGE_PROCESS_")

OFF = ("no:cacheprovider", "no:xdist")
# Of two values for one name pytest takes the last, so these lie over the ini file and over the user's own -o.
RESET_INI = ("addopts=", "strict_config=false")
# What an ini file says to a plugin that is off is no mistake of its author.
KNOWN_ELSEWHERE = "ignore:Unknown config option:pytest.PytestConfigWarning"


@dataclass(frozen=True)
class PytestCommand:
    """How this session's test is started again. ``node`` is ``<absolute file>::<test>[<case id>]``.

    ``options`` are all ``--disagg-*`` values, explicitly; ``plugins`` are further ``-p`` values.
    """

    node: str
    rootdir: Path
    inifile: Path | None
    options: tuple[str, ...]
    import_mode: str = "importlib"
    override_ini: tuple[str, ...] = ()
    confcutdir: Path | None = None
    plugins: tuple[str, ...] = ()

    def argv(self, junit: Path) -> list[str]:
        """The argument list of one role; its junit file is its own."""
        config = ["-c", str(self.inifile)] if self.inifile else []
        overrides = [word for item in (*self.override_ini, *RESET_INI) for word in ("-o", item)]
        plugins = [word for name in (*OFF, "pytest_disagg.plugin", *self.plugins) for word in ("-p", name)]
        cut = [f"--confcutdir={self.confcutdir}"] if self.confcutdir else []
        return [
            sys.executable,
            "-m",
            "pytest",
            *config,
            f"--rootdir={self.rootdir}",
            *cut,
            *plugins,
            *overrides,
            *("-W", KNOWN_ELSEWHERE),
            f"--import-mode={self.import_mode}",
            "--capture=no",
            "--color=no",
            f"--junitxml={junit}",
            *self.options,
            self.node,
        ]


def child_environment(environ: Mapping[str, str], *, role: str, run_id: str) -> dict[str, str]:
    """``environ`` for one role: the role and run named, other pytest sessions' variables gone."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in DROPPED_VARIABLES and not name.startswith(DROPPED_PREFIXES)
    }
    return {**kept, "DISAGG_SERVING_TYPE": role, "DISAGG_RUN_ID": run_id, "PYTHONUNBUFFERED": "1"}


def generated_test(folder: Path, name: str = "up.py") -> tuple[Path, Path]:
    """A three-line test module and an empty ini file, for a launcher that has no user's test to start.

    The module is named on the roles' command line. Its name is none that pytest looks for: run directories often lie
    below the user's project, and a session there must not play what an earlier launcher left.
    """
    test, ini = folder / name, folder / "pytest.ini"
    test.write_text(
        '"""The test of a deployment, made by its launcher."""\n\n\n'
        "def test_e2e(disagg_case):\n    disagg_case.run()\n",
        encoding="utf-8",
    )
    ini.write_text("[pytest]\n", encoding="utf-8")
    return test, ini


def value_in(options: Iterable[str], name: str) -> str | None:
    """What :func:`role_options` made ``name`` into; None where it has no value."""
    start = f"--disagg-{name}="
    return next((word.removeprefix(start) for word in options if word.startswith(start)), None)


def role_options(values: Mapping[str, str | Sequence[str] | None]) -> tuple[str, ...]:
    """``{"engine": "sim", "set": [..]}`` as ``--disagg-engine=sim --disagg-set=..``; None is left out."""
    words: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        several = [value] if isinstance(value, str) else list(value)
        words += [f"--disagg-{name}={item}" for item in several]
    return tuple(words)
