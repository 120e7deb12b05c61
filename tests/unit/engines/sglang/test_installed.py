"""Which Python would run what, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_disagg.engines.sglang.installed import ANY_PYTHON, ROUTER, SERVER
from tests.unit.engines.sglang.conftest import AGGREGATED, ENGINE, LoadCase, server

SIM = {kind: {"backend": "sim"} for kind in ("gen", "ctx")}


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in (SERVER, ROUTER):
        monkeypatch.delenv(program.variable)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path and "site-packages" not in path])


def venv(folder: Path, *packages: str) -> Path:
    """The interpreter of a virtual environment with these packages."""
    site = folder / "lib" / "python3.11" / "site-packages"
    for package in packages:
        (site / package).mkdir(parents=True)
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "pyvenv.cfg").touch()
    python = folder / "bin" / "python3"
    python.touch()
    python.chmod(0o755)
    return python


def package(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that this interpreter can import."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


def test_nothing_is_installed(load: LoadCase) -> None:
    said = "sglang is not installed: pip install sglang, or name the Python that has it in DISAGG_SGLANG_PYTHON"
    assert ENGINE.unavailable(load()) == said
    assert ENGINE.unavailable(load(AGGREGATED)) == said
    router = ENGINE.unavailable(load(worker_config=SIM)) or ""
    assert router.startswith("sglang-router is not installed: pip install sglang-router, or name the Python that has")
    assert router.endswith("in DISAGG_SGLANG_ROUTER")
    # A plan is made all the same.
    assert server(load(), "gen").argv[0] == ANY_PYTHON


def test_an_aggregated_case_needs_no_router(load: LoadCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "sglang", monkeypatch)
    assert ENGINE.unavailable(load(AGGREGATED)) is None
    assert "sglang-router" in (ENGINE.unavailable(load()) or "")
    assert server(load(), "gen").argv[0] == sys.executable


def test_a_checkout_beside_the_tests_is_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sglang" / "python").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert SERVER.missing({}) is not None


def test_the_variable_names_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = venv(tmp_path / "a", "sglang_router")
    monkeypatch.setenv(ROUTER.variable, str(python))
    assert (ROUTER.python({}), ROUTER.missing({})) == (str(python), None)
    # What the case file says for that process counts before it.
    other = venv(tmp_path / "b", "something")
    env = {ROUTER.variable: str(other)}
    assert ROUTER.python(env) == str(other)
    assert ROUTER.missing(env) == f"{ROUTER.variable}={other} has no sglang_router: pip install sglang-router"
    nowhere = {ROUTER.variable: "/nowhere/python"}
    assert ROUTER.missing(nowhere) == f"{ROUTER.variable}=/nowhere/python: no such program"


def test_an_editable_installation_counts(tmp_path: Path) -> None:
    python = venv(tmp_path, "sglang-0.5.23.dist-info")
    assert SERVER.missing({SERVER.variable: str(python)}) is None


def test_an_interpreter_of_the_system_is_believed(tmp_path: Path) -> None:
    python = venv(tmp_path)
    (tmp_path / "pyvenv.cfg").unlink()
    assert SERVER.missing({SERVER.variable: str(python)}) is None


def test_a_script_on_path_leads_to_its_interpreter(tmp_path: Path) -> None:
    python = venv(tmp_path / "pipx", "sglang_router")
    script = tmp_path / "pipx" / "bin" / "sglang-router"
    script.touch()
    script.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sglang-router").symlink_to(script)
    assert (ROUTER.python({}), ROUTER.missing({})) == (str(python), None)
