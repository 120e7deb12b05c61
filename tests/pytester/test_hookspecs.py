"""Every hook's docstring has an example; pasted into a conftest, it does what the hook is for."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg import hookspecs
from tests.pytester.conftest import AGGR, Finished, make_project, properties, run_pytest

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("pytest_disagg_"))


def example(hook: str) -> str:
    """The code below ``Example::`` in the hook's docstring."""
    text = textwrap.dedent("    " + (getattr(hookspecs, hook).__doc__ or ""))
    _, found, code = text.partition("Example::\n")
    assert found, f"{hook} has no example"
    return textwrap.dedent(code)


def only_test(session: Finished) -> dict[str, str]:
    ((_, test),) = session.tests().items()
    return properties(test)


def record_of(session: Finished) -> dict[str, object]:
    (line,) = Path(only_test(session)["disagg_records"]).read_text().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def engine_is_known(session: Finished) -> None:
    assert only_test(session)["disagg_engine"] == "other"


def client_is_known(session: Finished) -> None:
    assert only_test(session)["disagg_verdict"] != "failed"


def is_skipped(session: Finished) -> None:
    assert "no licence for sim-model on this machine" in session.out
    assert "1 skipped" in session.out


def stages_are_told(session: Finished) -> None:
    told = [line.split()[2:] for line in session.out.splitlines() if line.startswith("STAGE BENCHMARK ")]
    for stage in ("plan", "measure", "judge", "stop"):
        assert told.index([stage, "start"]) < told.index([stage, "end"])
    assert told.index(["measure", "end"]) < told.index(["judge", "start"])


def record_is_changed(session: Finished) -> None:
    assert record_of(session)["s_rack"] == "r7"


def outcome_is_told(session: Finished) -> None:
    assert f"OUTCOME aggr-one {only_test(session)['disagg_verdict']}" in session.out


# For each hook: what its user writes besides the conftest, and the effect.
EFFECTS: dict[str, tuple[str, list[str], Callable[[Finished], None]]] = {
    "pytest_disagg_engines": (AGGR.replace("engine: sim", "engine: other"), [], engine_is_known),
    "pytest_disagg_clients": (AGGR, ["--disagg-client=other"], client_is_known),
    "pytest_disagg_skip": (AGGR, ["-rs"], is_skipped),
    "pytest_disagg_stage": (AGGR, ["-s"], stages_are_told),
    "pytest_disagg_record": (AGGR, [], record_is_changed),
    "pytest_disagg_outcome": (AGGR, ["-s"], outcome_is_told),
}


def test_every_hook_has_an_example_that_is_run() -> None:
    assert sorted(EFFECTS) == HOOKS
    for hook in HOOKS:
        assert f"def {hook}(" in example(hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_an_example_works_as_a_conftest(tmp_path: Path, hook: str) -> None:
    text, args, effect = EFFECTS[hook]
    folder = make_project(tmp_path / "project", one=text)
    (folder / "conftest.py").write_text(example(hook))
    session = run_pytest(folder, "--junitxml=r.xml", *args)
    assert session.code == 0, session.out
    effect(session)


def test_without_the_examples_there_is_no_effect(tmp_path: Path) -> None:
    """What the examples show is their own doing: the same project without a conftest."""
    folder = make_project(tmp_path / "project", one=AGGR)
    session = run_pytest(folder, "--junitxml=r.xml", "-s")
    assert session.code == 0, session.out
    assert "s_rack" not in record_of(session)
    assert only_test(session)["disagg_engine"] == "sim"
    assert "STAGE " not in session.out
    assert "OUTCOME " not in session.out


def test_a_misspelt_hook_is_refused_by_pytest(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project", one=AGGR)
    (folder / "conftest.py").write_text("import pytest\n@pytest.hookimpl\ndef pytest_disagg_recrod(case): pass\n")
    session = run_pytest(folder, "--collect-only")
    assert session.code != 0
    assert "unknown hook 'pytest_disagg_recrod'" in session.out
