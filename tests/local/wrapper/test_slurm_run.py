"""One task of a step: what it prepares, what it starts, and how it says that it ended."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema

from tests.local.wrapper.conftest import Programs

XSD = Path(__file__).resolve().parents[2] / "data" / "junit.xsd"
CODE = "import json, os, sys; json.dump([sys.argv[2:], dict(os.environ), os.getcwd()], open(sys.argv[1], 'w'))"


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return tmp_path / "dump.json"


@pytest.fixture
def dumping(dump: Path) -> str:
    """A program that writes its arguments, environment and folder."""
    return shlex.join([sys.executable, "-c", CODE, str(dump)])


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a space, in which tensorrt_llm is installed."""
    folder = tmp_path / "site packages"
    (folder / "tensorrt_llm" / "libs").mkdir(parents=True)
    metadata = folder / "tensorrt_llm-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: tensorrt-llm\nVersion: 1.0\n")
    return folder


def with_site(programs: Programs, site: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{programs.env['PYTHONPATH']}:{site}"}


def read(dump: Path) -> tuple[list[str], dict[str, str], str]:
    argv, environ, cwd = json.loads(dump.read_text())
    return argv, environ, cwd


def test_the_command_gets_its_words_and_its_folder(programs: Programs, dump: Path, dumping: str) -> None:
    code, output = programs.slurm_run(f"K='x y' {dumping} 'a b' t[c-d] ${{K2}}", K2="1 2")
    assert code == 0, output
    argv, environ, cwd = read(dump)
    assert (argv, environ["K"], cwd) == (["a b", "t[c-d]", "1", "2"], "x y", str(programs.folder))


@pytest.mark.parametrize(
    ("end", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 5", 5), ("kill -9 $$", 137), ("kill -11 $$", 139)]
)
def test_the_exit_code_is_the_commands(programs: Programs, end: str, code: int) -> None:
    found, output = programs.slurm_run(f"sh -c '{end}'")
    assert found == code, output
    assert f"Rank0 Final Slurm run finished execution with exit code {code}" in output


def test_a_program_that_is_not_there(programs: Programs, tmp_path: Path) -> None:
    code, output = programs.slurm_run(f"no-such-program --junitxml={tmp_path}/r.xml")
    assert code == 127
    assert "no-such-program: No such file or directory" in output
    assert "was not started" in error_of(tmp_path / "r.xml")


def test_shell_syntax_is_refused_before_anything_is_installed(programs: Programs, tmp_path: Path) -> None:
    command = f"touch {tmp_path}/ran --junitxml={tmp_path}/r.xml; touch {tmp_path}/ran"
    code, output = programs.slurm_run(command, DISAGG_INSTALL_COMMAND=f"touch {tmp_path}/ran")
    assert code == 2
    assert "';' is shell syntax" in output
    assert not (tmp_path / "ran").exists()
    assert "';' is shell syntax" in error_of(tmp_path / "r.xml")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "pytestCommand is not set"),
        ({"pytestCommand": "x", "SLURM_PROCID": "z"}, "SLURM_PROCID: found 'z'"),
        ({"pytestCommand": "x", "DISAGG_RANKS": "leader"}, "DISAGG_RUN_DIR is not set"),
        ({"pytestCommand": "x", "DISAGG_STOP_GRACE_S": "-1"}, "DISAGG_STOP_GRACE_S: found '-1'"),
        (
            {
                "pytestCommand": "x",
                "DISAGG_STEP_CWD": "",
                "resourcePathNode": "/no/where",
                "DISAGG_SERVING_TYPE": "GEN_0",
            },
            "the command's folder /no/where/TensorRT-LLM/src/tests/integration/defs is not there",
        ),
    ],
)
def test_what_cannot_be_run_says_why(programs: Programs, env: dict[str, str], message: str) -> None:
    code, output = programs.run("slurm_run", **env)
    assert code != 0
    assert message in output
    assert "Traceback" not in output


def test_arguments_are_an_error_and_help_lists_the_inputs(programs: Programs) -> None:
    module = [sys.executable, "-m", "pytest_disagg.wrapper.slurm_run"]
    assert programs.run("slurm_run", prefix=[*module, "x"])[0] == 2
    code, output = programs.run("slurm_run", prefix=[*module, "--help"])
    assert (code, "DISAGG_RANKS" in output) == (0, True)


def test_library_path_and_transport(programs: Programs, site: Path, dump: Path, dumping: str) -> None:
    env = {**with_site(programs, site), "LD_LIBRARY_PATH": "/x", "UCX_TLS": "tcp", "SLURM_JOB_NUM_NODES": "2"}
    code, output = programs.slurm_run(dumping, DISAGG_SERVING_TYPE="GEN_0", SLURM_JOB_ID="7", **env)
    assert code == 0, output
    environ = read(dump)[1]
    assert environ["LD_LIBRARY_PATH"] == f"{site}/tensorrt_llm/libs:/x"
    assert "UCX_TLS" not in environ
    assert (environ["PMIX_MCA_gds"], environ["DISAGG_RUN_ID"]) == ("hash", "7.0")


def test_another_package_and_another_folder(programs: Programs, site: Path, dump: Path, dumping: str) -> None:
    (site / "pytest" / "so").mkdir(parents=True)
    env = {"DISAGG_PACKAGE": "no_such_package", "DISAGG_PACKAGE_LIBS": "x"}
    assert programs.slurm_run(dumping, **env)[0] == 0
    env = {"DISAGG_PACKAGE": "tensorrt-llm", "DISAGG_PACKAGE_LIBS": "pytest/so", **with_site(programs, site)}
    assert programs.slurm_run(dumping, SLURM_JOB_NUM_NODES="2", **env)[0] == 0
    assert read(dump)[1]["LD_LIBRARY_PATH"] == f"{site}/pytest/so"


def test_a_placeholder_is_filled_with_a_folder_that_has_a_space(
    programs: Programs, site: Path, dump: Path, dumping: str
) -> None:
    command = f"{dumping} --cov=__PLACEHOLDER_TRTLLM_WHL_PATH__/tensorrt_llm __PLACEHOLDER_MINE__"
    env = {**with_site(programs, site), "DISAGG_PLACEHOLDER_MINE": "it's\nmine"}
    code, output = programs.slurm_run(command, **env)
    assert code == 0, output
    assert read(dump)[0] == [f"--cov={site}/tensorrt_llm", "it's\nmine"]


def test_an_absent_package_is_an_error_only_if_a_placeholder_needs_it(programs: Programs) -> None:
    env = {"DISAGG_PACKAGE": "no_such_package"}
    assert programs.slurm_run("true", **env)[0] == 0
    code, output = programs.slurm_run("true __PLACEHOLDER_TRTLLM_WHL_PATH__", **env)
    assert code == 1
    assert "a placeholder needs the folder of the package no_such_package" in output


@pytest.mark.parametrize("role", ["BENCHMARK", "GEN_0"])
def test_slurm_and_mpi_are_cleared_after_the_command_was_read(
    programs: Programs, dump: Path, dumping: str, role: str
) -> None:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "3", "PMI_RANK": "1", "OMPI_X": "1"}
    command = f"SLURM_MINE=1 {dumping} cache_${{SLURM_LOCALID}}"
    assert programs.slurm_run(command, DISAGG_SERVING_TYPE=role, SLURM_JOB_NUM_NODES="2", **slurm)[0] == 0
    argv, environ, _ = read(dump)
    assert argv == ["cache_3"]
    found = {name for name in environ if name.startswith(("SLURM", "PMI", "OMPI"))}
    if role == "BENCHMARK":
        assert found == {"SLURM_PROCID", "SLURM_MINE"}
        assert (environ["DISAGG_RUN_ID"], environ["DISAGG_SLURM_JOB_ID"]) == ("7.0", "7")
    else:
        assert found == {*slurm, "SLURM_MINE", "SLURM_JOB_NUM_NODES", "PMIX_MCA_gds"}


def test_nothing_secret_is_printed(programs: Programs) -> None:
    env = {"HF_TOKEN": "s3cr3t-1", "ADDRESS": "https://u:s3cr3t-2@h/x", "Z_LAST": "1", "A_FIRST": "1"}
    code, output = programs.slurm_run("API_KEY=s3cr3t-3 echo '--password=s3cr3t-4' $HF_TOKEN", **env)
    assert code == 0
    printed = output[: output.index("\n", output.index("full command"))]
    assert "s3cr3t" not in printed
    lines = printed.splitlines()
    assert lines.index("A_FIRST=1") < lines.index("HF_TOKEN=***") < lines.index("Z_LAST=1")
    assert "ADDRESS=https://***@h/x" in lines


def test_git_trusts_checkouts_without_touching_the_shared_home(programs: Programs, tmp_path: Path) -> None:
    home = Path(programs.env["HOME"])
    (home / ".gitconfig").write_text("[user]\n\tname = Ann\n")
    output = tmp_path / "git.txt"
    script = f"git config --global --get-all safe.directory >{output}; git config user.name >>{output}"
    code, said = programs.slurm_run(shlex.join(["sh", "-c", script]))
    assert code == 0, said
    assert output.read_text() == "*\nAnn\n"
    assert (home / ".gitconfig").read_text() == "[user]\n\tname = Ann\n"
    assert not list(Path(programs.env["TMPDIR"]).glob("slurm_run.*"))


def test_the_coverage_file_is_a_copy_of_this_step(
    programs: Programs, site: Path, tmp_path: Path, dump: Path, dumping: str
) -> None:
    template = tmp_path / ".coveragerc"
    text = (
        "[run]\nsource = ---wheel_path---/tensorrt_llm\nomit = @TRTLLM_WHEEL_PATH@/x\ndata_file = @JOB_WORKSPACE@/c\n"
    )
    template.write_text(text)
    env = {**with_site(programs, site), "coverageConfigFile": str(template), "jobWorkspace": "/ws"}
    env.update({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "3", "SLURM_JOB_NUM_NODES": "2"})
    code, output = programs.slurm_run(f"COVERAGE_RCFILE={template} {dumping} --cov-config={template} {template}", **env)
    assert code == 0, output
    argv, environ, _ = read(dump)
    copy = tmp_path / ".coveragerc.job_7_restart_0_step_3"
    assert argv == [f"--cov-config={copy}", str(copy)]
    assert (environ["COVERAGE_RCFILE"], environ["coverageConfigFile"]) == (str(copy), str(copy))
    assert copy.read_text() == f"[run]\nsource = {site}/tensorrt_llm\nomit = {site}/x\ndata_file = /ws/c\n"
    assert template.read_text() == text


def test_source_tree_launcher_and_gpu_mapping(programs: Programs, tmp_path: Path) -> None:
    source = tmp_path / "exported"
    launcher = source / "tensorrt_llm/llmapi/trtllm-llmapi-launch"
    launcher.parent.mkdir(parents=True)
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o644)
    (source / "tests/integration/defs").mkdir(parents=True)
    env = {
        "llmSrcNode": str(source),
        "resourcePathNode": "/no/where",
        "stageName": "GB200-Disagg-1",
        "DISAGG_STEP_CWD": "",
    }
    code, output = programs.slurm_run(f"{launcher} sh -c 'pwd > {tmp_path}/where'", DISAGG_SERVING_TYPE="CTX_0", **env)
    assert code == 0, output
    assert (tmp_path / "where").read_text().strip() == str(source / "tests/integration/defs")
    assert stat.S_IMODE(launcher.stat().st_mode) == 0o755
    assert "coherent GPU mapping: " in output


def error_of(path: Path) -> str:
    """The one error of a junit file, which must be valid."""
    xmlschema.XMLSchema(str(XSD)).validate(str(path))
    errors = ElementTree.parse(path).findall(".//error")
    assert len(errors) == 1
    return errors[0].get("message") or ""


PYTEST = f"{shlex.quote(sys.executable)} -m pytest -p no:cacheprovider -q"


def test_a_pytest_that_wrote_its_report_keeps_it(programs: Programs, tmp_path: Path) -> None:
    (programs.folder / "test_x.py").write_text("def test_x():\n    assert 0\n")
    code, output = programs.slurm_run(f"{PYTEST} --junitxml={tmp_path}/r.xml")
    assert code == 1, output
    assert len(ElementTree.parse(tmp_path / "r.xml").findall(".//failure")) == 1
    assert [path.name for path in tmp_path.glob("*.xml")] == ["r.xml"]


@pytest.mark.parametrize(("role", "name"), [("", "r.xml"), ("BENCHMARK", "r.xml"), ("GEN_1", "r.GEN_1.xml")])
def test_a_pytest_that_was_killed_gets_a_report(programs: Programs, tmp_path: Path, role: str, name: str) -> None:
    (programs.folder / "test_x.py").write_text("import os\n\ndef test_x():\n    os.kill(os.getpid(), 9)\n")
    code, _ = programs.slurm_run(f"{PYTEST} test_x.py::test_x --junitxml={tmp_path}/r.xml", DISAGG_SERVING_TYPE=role)
    assert code == 137
    assert "killed by SIGKILL" in error_of(tmp_path / name)
    assert ElementTree.parse(tmp_path / name).find(".//testcase[@name='test_x']") is not None


def test_a_usage_error_is_looked_into(programs: Programs) -> None:
    size = (programs.folder / "conftest.py").write_text("raise RuntimeError('half unpacked')\n")
    code, output = programs.slurm_run(f"{PYTEST} --no-such-option")
    assert code == 4
    assert f"conftest.py: {size} bytes, sha256 " in output
    assert "pytest.ini: is not there" in output
    assert "import of conftest: exit code 1" in output


SCRIPT = "import pathlib, sys; pathlib.Path({out!r}).write_text(repr(sys.argv[1:])); sys.exit({code})"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    defs = tmp_path / "src/tests/integration/defs"
    (defs / "perf").mkdir(parents=True)
    return defs


def perf_scripts(defs: Path, check: int, report: int) -> None:
    for name, code in (("sanity_perf_check", check), ("create_perf_comparison_report", report)):
        (defs / "perf" / f"{name}.py").write_text(SCRIPT.format(out=str(defs / f"{name}.txt"), code=code))


@pytest.mark.parametrize(
    ("pytest_code", "check", "report", "expected"),
    [(0, 0, 0, 0), (5, 2, 3, 5), (0, 2, 3, 2), (0, 0, 3, 3), (0, 2, 0, 2), (1, 0, 0, 1)],
)
def test_performance_is_checked_by_the_owner_of_the_results(
    programs: Programs, tree: Path, pytest_code: int, check: int, report: int, expected: int
) -> None:
    perf_scripts(tree, check, report)
    env = {"llmSrcNode": str(tree.parents[2]), "stageName": "A-PyTorch-Perf", "perfMode": "true", "DISAGG_STEP_CWD": ""}
    code, output = programs.slurm_run(f"sh -c 'exit {pytest_code}'", **env)
    assert code == expected, output
    csv, base = f"{tree}/A-PyTorch-Perf/perf_script_test_results.csv", f"{tree}/perf/base_perf_pytorch.csv"
    assert (tree / "sanity_perf_check.txt").read_text() == repr([csv, base])
    pdf = f"{tree}/A-PyTorch-Perf/report.pdf"
    assert (tree / "create_perf_comparison_report.txt").read_text() == repr(
        ["--output_path", pdf, "--files", csv, base]
    )


@pytest.mark.parametrize(
    "env",
    [
        {"perfMode": "false"},
        {},
        {"perfMode": "true", "DISAGG_SERVING_TYPE": "GEN_0"},
        {"perfMode": "true", "SLURM_PROCID": "1"},
    ],
)
def test_performance_is_not_checked_elsewhere(programs: Programs, tree: Path, env: dict[str, str]) -> None:
    perf_scripts(tree, 2, 2)
    env = {"llmSrcNode": str(tree.parents[2]), "stageName": "A-Disagg", "DISAGG_STEP_CWD": "", **env}
    assert programs.slurm_run("true", **env)[0] == 0
    assert not (tree / "sanity_perf_check.txt").exists()


def test_perf_commands_that_are_not_there_yet_are_a_notice(programs: Programs) -> None:
    env = {"perfMode": "true", "DISAGG_PERF_REPORT_COMMAND": "no-such-disagg report $perfResults"}
    code, output = programs.slurm_run("true", **env)
    assert code == 0
    assert "perf check: " in output
    assert "is not there and DISAGG_PERF_CHECK_COMMAND is not set: not run" in output
    assert "perf report: no-such-disagg is not installed: not run" in output


def test_perf_commands_of_our_own_find_the_files(programs: Programs, tmp_path: Path) -> None:
    results = tmp_path / "ws" / "S" / "perf_script_test_results.csv"
    results.parent.mkdir(parents=True)
    results.touch()
    check = f'sh -c \'echo "$0" > {tmp_path}/out; exit 6\' "$perfResults"'
    env = {
        "perfMode": "true",
        "stageName": "S",
        "jobWorkspace": str(tmp_path / "ws"),
        "DISAGG_PERF_CHECK_COMMAND": check,
    }
    assert programs.slurm_run("true", **env)[0] == 6
    assert (tmp_path / "out").read_text().strip() == str(results)


def test_an_aggregated_step_installs_first(programs: Programs, tmp_path: Path) -> None:
    env = {"DISAGG_INSTALL_COMMAND": f"touch {tmp_path}/installed", "stageName": "X-Disagg-PerfSanity"}
    code, output = programs.slurm_run(f"test -e {tmp_path}/installed", **env)
    assert code == 0, output
    assert "stage X-Disagg-PerfSanity: its name says otherwise, but DISAGG_SERVING_TYPE is not set" in output
    (tmp_path / "installed").unlink()
    code, output = programs.slurm_run(f"test -e {tmp_path}/installed", DISAGG_SERVING_TYPE="GEN_0", **env)
    assert code == 1, output


def test_an_installation_that_fails_ends_the_step_with_its_code(programs: Programs, tmp_path: Path) -> None:
    env = {"DISAGG_INSTALL_COMMAND": "sh -c 'echo no wheel here; exit 23'"}
    code, output = programs.slurm_run(f"touch {tmp_path}/ran --junitxml={tmp_path}/r.xml", **env)
    assert code == 23, output
    assert "exit code 23" in error_of(tmp_path / "r.xml")
    assert not (tmp_path / "ran").exists()


def test_the_pipelines_own_install_script_is_used(programs: Programs, tmp_path: Path) -> None:
    script = tmp_path / "install it.sh"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/installed\nexit $WITH\n")
    script.chmod(0o755)
    assert programs.slurm_run(f"test -e {tmp_path}/installed", installScript=str(script), WITH="0")[0] == 0
    code, output = programs.slurm_run("true", installScript=str(script), WITH="9")
    assert (code, f"installScript {script}: exit code 9" in output) == (9, True)


def test_the_console_script_of_this_environment_is_the_same_program(programs: Programs) -> None:
    script = Path(sys.executable).with_name("slurm_run")
    if not script.exists():
        pytest.skip("this environment was installed without the slurm_run script")
    result = subprocess.run([script, "--help"], env=programs.env, capture_output=True, text=True, check=False)
    assert (result.returncode, "pytestCommand" in result.stdout) == (0, True)
