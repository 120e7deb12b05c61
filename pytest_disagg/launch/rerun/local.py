"""A run once more on this machine: a pytest of its own that plays the one case, and what its run directory says."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.launch.command import DROPPED_PREFIXES, DROPPED_VARIABLES, PytestCommand, generated_test
from pytest_disagg.launch.rerun.again import Again
from pytest_disagg.redact import redact
from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome

TEST = "perf_sanity.py"
NO_OTHER_FILES = "disagg_llm_src="
"""An ini file that names a checkout would bring the original case file back, under the same name."""
_DROPPED = ("DISAGG_SERVING_TYPE", "DISAGG_DEADLINE", "DISAGG_JOB_DIR")


@dataclass(frozen=True)
class LocalRerun:
    """What is started, where, and what lies over the environment. ``notes`` says what could not be as it was."""

    argv: tuple[str, ...]
    cwd: Path
    environ: Mapping[str, str]
    rundir: RunDir
    junit: Path
    notes: tuple[str, ...] = ()

    def shown(self) -> str:
        """The same as a line for a shell, without secrets."""
        words = [f"{name}={value}" for name, value in self.environ.items() if value]
        return redact(f"cd {shlex.quote(str(self.cwd))} && {shlex.join(['env', *words, *self.argv])}")

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """All of it, over ``environ``."""
        kept = {
            name: value
            for name, value in environ.items()
            if name not in (*DROPPED_VARIABLES, *_DROPPED) and not name.startswith(DROPPED_PREFIXES)
        }
        return {**kept, **self.environ}

    def play(self, environ: Mapping[str, str]) -> tuple[int, bool]:
        """Run it to its end: pytest's exit code, and whether it was interrupted. The first interrupt lets it conclude
        its run, the second one ends it.
        """
        process = subprocess.Popen(
            self.argv, cwd=self.cwd, env=self.environment(environ), stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            return process.wait(), False
        except KeyboardInterrupt:
            process.terminate()  # not SIGINT, which the children of a background job ignore
        try:
            return process.wait(), True
        except KeyboardInterrupt:
            process.kill()
        return process.wait(), True

    def outcome(self) -> Outcome | None:
        """How the run ended; None where it never became one."""
        found = read_json(self.rundir.outcome)
        return Outcome.from_dict(found) if found is not None else None


def local_rerun(made: Again, run_id: str, work_dir: Path, history: Path, junit: Path | None = None) -> LocalRerun:
    """The pytest that plays the case as ``run_id``. ``junit`` is its junit file."""
    started = made.recipe.started
    kept: Mapping[str, Any] = started["test"]
    file, notes = Path(kept["file"]), []
    generated = bool(made.recipe.launch) and not made.recipe.launch.get("test")
    if not generated and not file.is_file():
        notes.append(f"{file} is gone: a test module that is made here plays the case")
        generated = True
    # The interface of a cluster's nodes means nothing here.
    interface = None if made.recipe.launch else started["options"].get("interface")
    options = made.options(work_dir, history, interface)
    node = f"{kept['name']}[{made.recipe.case}]"
    if generated:
        test, ini = generated_test(made.folder, TEST)
        command = PytestCommand(f"{test}::test_e2e[{made.recipe.case}]", made.folder, ini, options)
    else:
        ini_file = Path(kept["inifile"]) if kept["inifile"] else None
        command = PytestCommand(
            node=f"{file}::{node}",
            rootdir=Path(kept["rootdir"]),
            inifile=ini_file if ini_file is not None and ini_file.is_file() else None,
            options=options,
            import_mode=kept["import_mode"],
            override_ini=(*kept["override_ini"], NO_OTHER_FILES),
            confcutdir=Path(kept["confcutdir"]) if kept["confcutdir"] else None,
            plugins=tuple(kept["plugins"]),
        )
    cwd = Path(started["cwd"])
    own = junit.absolute() if junit else made.folder / f"{run_id}.xml"
    return LocalRerun(
        argv=tuple(command.argv(own)),
        cwd=cwd if cwd.is_dir() and not generated else command.rootdir,
        environ={**made.environ, "DISAGG_RUN_ID": run_id},
        rundir=RunDir.of(work_dir, run_id, made.recipe.case),
        junit=own,
        notes=tuple(notes),
    )
