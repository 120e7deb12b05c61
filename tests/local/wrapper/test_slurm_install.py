"""Installing once per node: who does it, who waits, and what a failure looks like to each."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.local.wrapper.conftest import Programs, ended
from tests.waiting import gone, pids_in, until


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """The environment of tasks of one node of one job."""
    (tmp_path / "ws").mkdir()
    return {
        "jobWorkspace": str(tmp_path / "ws"),
        "resourcePathNode": str(tmp_path / "node"),
        "DISAGG_CLAIM_DIR": str(tmp_path / "claims"),
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURMD_NODENAME": "n1",
        "PIP_NO_INDEX": "1",
    }


def log_of(tmp_path: Path, node_id: int = 0) -> str:
    return (tmp_path / "ws" / f"install_job_7_restart_0_node_{node_id}.log").read_text()


def recorder(tmp_path: Path) -> Path:
    """A folder for PATH whose ``python3`` writes down what it is asked to do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "python3"
    script.write_text(f'#!/bin/sh\necho "$SLURM_NODEID $*" >> {tmp_path}/calls\nexit ${{WITH:-0}}\n')
    script.chmod(0o755)
    return folder


def test_one_task_of_a_node_installs_and_all_are_done(programs: Programs, node: dict[str, str], tmp_path: Path) -> None:
    node["DISAGG_INSTALL_COMMAND"] = f"sh -c 'echo installing; echo x >> {tmp_path}/count'"
    tasks = [programs.start("slurm_install", task=f"{rank}/5", **node) for rank in range(5)]
    outputs = []
    for task in tasks:
        code, output = ended(task)
        assert code == 0, output
        outputs.append(output)
    assert (tmp_path / "count").read_text() == "x\n"
    assert sum("done on node n1 by another process" in output for output in outputs) == 4
    assert "installing" in log_of(tmp_path)


@pytest.mark.parametrize("other", [{"SLURM_NODEID": "1"}, {"SLURM_RESTART_COUNT": "1"}, {"SLURM_JOB_ID": "8"}])
def test_another_node_or_attempt_installs_for_itself(
    programs: Programs, node: dict[str, str], tmp_path: Path, other: dict[str, str]
) -> None:
    node["DISAGG_INSTALL_COMMAND"] = f"sh -c 'echo x >> {tmp_path}/count'"
    for env in (node, node, {**node, **other}):
        assert programs.run("slurm_install", **env)[0] == 0
    assert (tmp_path / "count").read_text() == "x\nx\n"


def test_a_failure_is_seen_by_all_at_once_with_its_code(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    node["DISAGG_INSTALL_COMMAND"] = (
        f"sh -c 'echo x >> {tmp_path}/count; while ! test -e {go}; do sleep 0.02; done; echo no space left; exit 28'"
    )
    tasks = [programs.start("slurm_install", task=f"{rank}/3", **node) for rank in range(3)]
    until((tmp_path / "count").exists, "the command to run")
    go.touch()
    for task in tasks:
        code, output = ended(task)
        assert code == 28, output
        assert "no space left" in output
    assert (tmp_path / "count").read_text() == "x\n"


def test_a_later_step_of_the_job_may_try_again_after_a_failure(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    node["DISAGG_INSTALL_COMMAND"] = f"sh -c 'echo x >> {tmp_path}/count; test -e {tmp_path}/mended'"
    assert programs.run("slurm_install", **node)[0] == 1
    code, output = programs.run("slurm_install", **node)
    assert (code, "could not install" in output) == (1, True)
    (tmp_path / "mended").touch()
    assert programs.run("slurm_install", **{**node, "SLURM_STEP_ID": "1"})[0] == 0
    assert (tmp_path / "count").read_text() == "x\nx\n"


def test_a_claim_of_a_dead_process_is_taken_over(programs: Programs, node: dict[str, str], tmp_path: Path) -> None:
    node["DISAGG_INSTALL_COMMAND"] = f"sh -c 'echo $$ >> {tmp_path}/pids; test -e {tmp_path}/second || exec sleep 600'"
    first = programs.start("slurm_install", task="0/2", **node)
    pids = pids_in(tmp_path / "pids", 1)
    (tmp_path / "second").touch()
    second = programs.start("slurm_install", task="1/2", **node)
    inner = psutil.Process(first.pid).children()[0].pid
    os.kill(inner, signal.SIGKILL)
    assert ended(first)[0] == 137
    code, output = ended(second)
    assert code == 0, output
    assert "is gone without a result: claiming it anew" in output
    assert all(gone(pid) for pid in [*pids, inner])


def test_waiting_for_another_task_has_a_limit(programs: Programs, node: dict[str, str], tmp_path: Path) -> None:
    node["DISAGG_INSTALL_COMMAND"] = f"sh -c 'touch {tmp_path}/up; exec sleep 600'"
    first = programs.start("slurm_install", task="0/2", **node)
    until((tmp_path / "up").exists, "the command to run")
    code, output = programs.run("slurm_install", **{**node, "DISAGG_INSTALL_TIMEOUT_S": "0.2"})
    assert code == 1
    assert "waited 0.2 s (DISAGG_INSTALL_TIMEOUT_S) for the owner of" in output
    first.send_signal(signal.SIGTERM)
    assert ended(first)[0] == 143


def test_a_command_that_takes_too_long_ends_with_124(programs: Programs, node: dict[str, str]) -> None:
    env = {"DISAGG_INSTALL_COMMAND": "sleep 600", "DISAGG_INSTALL_TIMEOUT_S": "0.1", "DISAGG_STOP_GRACE_S": "1"}
    code, output = programs.run("slurm_install", **node, **env)
    assert code == 124
    assert "its limit of 0.1 s has passed" in output
    assert output.count("attempt ") == 2


@pytest.mark.parametrize(("line", "tries"), [("HTTP error 503 while getting x", 3), ("No matching distribution", 1)])
def test_only_failures_that_may_pass_are_tried_again(
    programs: Programs, node: dict[str, str], tmp_path: Path, line: str, tries: int
) -> None:
    node["DISAGG_INSTALL_COMMAND"] = f"sh -c 'echo x >> {tmp_path}/count; echo \"{line}\" >&2; exit 17'"
    code, output = programs.run("slurm_install", **node)
    assert code == 17, output
    assert (tmp_path / "count").read_text() == "x\n" * tries


def test_what_passed_at_the_second_attempt_is_no_failure(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    script = f"test -e {tmp_path}/second && exit 0; touch {tmp_path}/second; echo Connection reset by peer; exit 1"
    node["DISAGG_INSTALL_COMMAND"] = shlex.join(["sh", "-c", script])
    code, output = programs.run("slurm_install", **node)
    assert code == 0, output


def test_nothing_to_install_is_said(programs: Programs) -> None:
    code, output = programs.run("slurm_install")
    assert (code, "nothing to install" in output) == (0, True)


def wheel(folder: Path, name: str = "tensorrt_llm") -> Path:
    """A real wheel with one module."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


def test_a_wheel_is_installed_and_the_hook_comes_last(programs: Programs, node: dict[str, str], tmp_path: Path) -> None:
    hook = tmp_path / "hook.sh"
    hook.write_text(f"test -d {tmp_path}/site/tensorrt_llm && echo hook ran\n")
    node.update({"WHEEL_PATH": str(wheel(tmp_path)), "PIP_TARGET": str(tmp_path / "site")})
    code, output = programs.run("slurm_install", POST_INSTALL_HOOK=str(hook), **node)
    assert code == 0, output
    assert "hook ran" in log_of(tmp_path)


def test_a_hook_that_fails_fails_the_installation(programs: Programs, node: dict[str, str], tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\nexit 12\n")
    hook.chmod(0o755)
    code, output = programs.run("slurm_install", POST_INSTALL_HOOK=str(hook), **node)
    assert (code, "post-install hook: exit code 12" in output) == (12, True)


def test_wheel_mode_without_a_wheel_is_an_error_and_no_source_install(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "src" / "build").mkdir(parents=True)
    env = {"INSTALL_MODE": "wheel", "llmSrcNode": str(tmp_path / "src")}
    code, output = programs.run("slurm_install", **node, **env)
    assert code == 1
    assert f"found none, expected one wheel {tmp_path}/src/build/tensorrt_llm-*.whl" in output


def test_a_source_tree_is_built_once_and_installed_by_every_node(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    wheel(tmp_path / "src" / "build")
    node.update({"BUILD_WHEEL": "true", "llmSrcNode": str(tmp_path / "src"), "SLURM_JOB_NUM_NODES": "3"})
    node["PATH"] = f"{recorder(tmp_path)}:/usr/bin:/bin"
    nodes = [{**node, "SLURM_NODEID": str(number), "SLURMD_NODENAME": f"n{number}"} for number in range(3)]
    late = [programs.start("slurm_install", **env) for env in nodes[1:]]
    until(lambda: len(list((tmp_path / "claims").glob("install_*.0"))) == 2, "2 claims")
    assert not (tmp_path / "calls").exists()
    for task in [programs.start("slurm_install", **nodes[0]), *late]:
        code, output = ended(task)
        assert code == 0, output
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "0 -m pip wheel --no-deps --wheel-dir build ."
    assert sorted(call.split()[0] for call in calls[1:]) == ["0", "1", "2"]
    assert all(call.endswith("tensorrt_llm-1.0-py3-none-any.whl") for call in calls[1:])


def test_a_build_that_fails_fails_every_node_with_its_code(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    node.update({"BUILD_WHEEL": "true", "llmSrcNode": str(tmp_path / "src"), "SLURM_JOB_NUM_NODES": "2", "WITH": "14"})
    node["PATH"] = f"{recorder(tmp_path)}:/usr/bin:/bin"
    waiting = programs.start("slurm_install", **node, SLURM_NODEID="1")
    until(lambda: len(list((tmp_path / "claims").glob("install_*.0"))) == 1, "1 claims")
    assert programs.run("slurm_install", **node, SLURM_NODEID="0")[0] == 14
    code, output = ended(waiting)
    assert (code, "the wheel built on node 0 failed on node n1: build: exit code 14" in output) == (14, True)


def test_a_shared_tree_is_installed_editable_by_one_node_after_the_other(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    node.update({"INSTALL_MODE": "source", "llmSrcNode": str(tmp_path / "src"), "SLURM_JOB_NUM_NODES": "3"})
    node["PATH"] = f"{recorder(tmp_path)}:/usr/bin:/bin"
    tasks = [programs.start("slurm_install", **node, SLURM_NODEID=number) for number in ("2", "1", "0")]
    for task in tasks:
        code, output = ended(task)
        assert code == 0, output
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["0", "1", "2"]
    assert all(call.endswith(f"--editable {tmp_path}/src") for call in calls)


def test_an_owner_that_vanished_on_another_node_is_noticed_by_its_still_beat(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    node.update({"BUILD_WHEEL": "true", "llmSrcNode": str(tmp_path / "src"), "SLURM_JOB_NUM_NODES": "2"})
    node.update(
        {"DISAGG_BUILD_COMMAND": f"sh -c 'touch {tmp_path}/up; exec sleep 600'", "DISAGG_HEARTBEAT_TIMEOUT_S": "2"}
    )
    first = programs.start("slurm_install", **node, SLURM_NODEID="0")
    until((tmp_path / "up").exists, "the command to run")
    for process in [psutil.Process(first.pid), *psutil.Process(first.pid).children()]:
        process.suspend()
    code, output = programs.run("slurm_install", **node, SLURM_NODEID="1")
    assert code == 1
    assert "waited for the wheel built on node 0: its beat" in output


def test_secrets_do_not_reach_the_log(programs: Programs, node: dict[str, str], tmp_path: Path) -> None:
    script = "import os; print('index https://u:s3cr3t-1@h/simple', os.environ['MY_TOKEN'])"
    node["DISAGG_INSTALL_COMMAND"] = shlex.join([sys.executable, "-c", script])
    code, output = programs.run("slurm_install", MY_TOKEN="s3cr3t-2", **node)
    assert code == 0, output
    assert "index https://***@h/simple ***" in log_of(tmp_path)
    assert "s3cr3t" not in log_of(tmp_path) + output
