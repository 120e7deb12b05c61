"""The same two programs as modules, as files, and as single files for a node where nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local.wrapper.conftest import REPOSITORY, Programs

SOURCES = REPOSITORY / "pytest_disagg" / "wrapper"


def old_python() -> str | None:
    """A Python 3.8 that runs (a pyenv shim may be there without one), None where there is none."""
    places = [shutil.which("python3.8"), *map(str, Path("~/.pyenv/versions").expanduser().glob("3.8.*/bin/python"))]
    for place in places:
        if place is None:
            continue
        result = subprocess.run(
            [place, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, check=False
        )
        if result.stdout.strip() == b"(3, 8)":
            return place
    return None


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bin") / "new folder"
    command = [sys.executable, "-m", "pytest_disagg.wrapper.export", str(folder)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [str(folder / "slurm_run"), str(folder / "slurm_install")]
    return folder


@pytest.fixture(params=["this", "3.8"])
def interpreter(request: pytest.FixtureRequest) -> str:
    if request.param == "this":
        return sys.executable
    found = old_python()
    if found is None:
        pytest.skip("there is no Python 3.8 here")
    return found


@pytest.fixture
def bare(programs: Programs) -> Programs:
    """Nothing of ours can be imported."""
    del programs.env["PYTHONPATH"]
    return programs


def plays(programs: Programs, prefix_of: dict[str, list[str]], tmp_path: Path) -> None:
    """Both programs do their work, with a role and with an installation in the run step."""
    mark = tmp_path / "marks"
    mark.mkdir()
    env = {"DISAGG_INSTALL_COMMAND": f"touch {mark}/installed", "DISAGG_CLAIM_DIR": str(tmp_path / "claims")}
    code, output = programs.run("slurm_install", prefix=prefix_of["slurm_install"], SLURM_JOB_ID="1", **env)
    assert (code, (mark / "installed").exists()) == (0, True), output
    env.update({"pytestCommand": f"A=1 sh -c 'echo $A; exit 6' t[a-b] --junitxml={mark}/r.xml", "SLURM_JOB_ID": "2"})
    env["DISAGG_RUN_DIR"] = str(tmp_path / "run")
    code, output = programs.run("slurm_run", prefix=prefix_of["slurm_run"], **env)
    assert code == 6, output
    assert "Traceback" not in output
    assert (mark / "r.xml").exists()
    assert (tmp_path / "run" / "roles" / "BENCHMARK.exit.json").exists()


def test_single_files_need_nothing_but_a_python(
    bare: Programs, exported: Path, interpreter: str, tmp_path: Path
) -> None:
    prefixes = {name: [interpreter, "-S", "-I", str(exported / name)] for name in ("slurm_run", "slurm_install")}
    plays(bare, prefixes, tmp_path)


def test_single_files_are_executable(bare: Programs, exported: Path, tmp_path: Path) -> None:
    plays(bare, {name: [str(exported / name)] for name in ("slurm_run", "slurm_install")}, tmp_path)


def test_module_files_can_be_started_as_they_lie_in_the_tree(bare: Programs, interpreter: str, tmp_path: Path) -> None:
    prefixes = {name: [interpreter, "-S", "-I", str(SOURCES / f"{name}.py")] for name in ("slurm_run", "slurm_install")}
    plays(bare, prefixes, tmp_path)


def test_module_files_are_executable(bare: Programs, tmp_path: Path) -> None:
    plays(bare, {name: [str(SOURCES / f"{name}.py")] for name in ("slurm_run", "slurm_install")}, tmp_path)


def test_modules_can_be_started_by_name(programs: Programs, interpreter: str, tmp_path: Path) -> None:
    prefixes = {name: [interpreter, "-m", f"pytest_disagg.wrapper.{name}"] for name in ("slurm_run", "slurm_install")}
    plays(programs, prefixes, tmp_path)


def test_an_installed_package_of_ours_does_not_get_in_the_way(
    programs: Programs, exported: Path, tmp_path: Path
) -> None:
    other = tmp_path / "site" / "pytest_disagg"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise RuntimeError('the installed one was imported')\n")
    programs.env["PYTHONPATH"] = str(other.parent)
    plays(programs, {name: [sys.executable, str(exported / name)] for name in ("slurm_run", "slurm_install")}, tmp_path)


def test_the_same_sources_give_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest_disagg.wrapper.export", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    assert (tmp_path / "slurm_run").read_bytes() == (exported / "slurm_run").read_bytes()


def test_exporting_to_nowhere_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "pytest_disagg.wrapper.export"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (result.returncode, "usage: " in result.stderr) == (2, True)
