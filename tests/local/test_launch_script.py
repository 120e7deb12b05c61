"""Launch scripts of `disagg submit` as bash reads them: good bash, the golden exports, and values that arrive.

``DISAGG_UPDATE_GOLDEN=1 pytest tests/local/test_launch_script.py`` writes the files of tests/data/submit anew.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster import UCX_RULES, Cluster
from pytest_disagg.config.cluster_env import load_rules
from pytest_disagg.config.resolve import load_case, load_cases
from pytest_disagg.launch.compat.script import Inputs, launch_script
from pytest_disagg.launch.compat.textfile import TextFile
from pytest_disagg.topology.placement import place

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "../shared/spec/trtllm-configs").resolve()
GOLDEN = ROOT / "tests/data/submit"
REAL = sorted(SPEC.glob("*/*.yaml"))
needs_spec = pytest.mark.skipif(not REAL, reason="../shared is not here")
each_real = pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")
DUMP = 'env -0 >"$DUMP"\n{ [ "${#srunArgs[@]}" = 0 ] || printf "%s\\0" "${srunArgs[@]}"; } >"$DUMP.args"\n'
PREFIX = """\
#!/bin/bash
#SBATCH --nodes=2
set -Eeuo pipefail
export jobWorkspace="/ws"
export pytestCommand="LLM_ROOT=/src __LUNOWUD="-thread_pool_size=12" /src/tensorrt_llm/llmapi/trtllm-llmapi-launch \
pytest -vv --output-dir=$jobWorkspace/ --csv=$jobWorkspace/report.csv --periodic-junit \
--periodic-junit-xmlpath $jobWorkspace/results.xml --test-list=$jobWorkspace/list.txt"
"""
SRUN_ARGS = (
    '--container-name=job-${SLURM_JOB_ID} --container-image=/images/i.sqsh "--container-mounts=/a b:/a b" --mpi=pmix\n'
)


@dataclass(frozen=True)
class Dumped:
    """What a script's draft is given."""

    env: dict[str, str]
    srun_args: list[str]


def text_of(case: Case, *, prefix: str = PREFIX, srun_args: str = SRUN_ARGS, draft: str | None = None) -> str:
    given = Inputs(
        case=case,
        run_sh="/ws/slurm_run",
        install_sh="/ws/slurm_install",
        prefix=TextFile(Path("prefix.sh"), prefix),
        srun_args=TextFile(Path("srun.args"), srun_args),
        draft=None if draft is None else TextFile(Path("draft.sh"), draft),
        cluster=Cluster(name="oci-hsg-cs-001"),
        rules=load_rules(UCX_RULES),
    )
    return launch_script(given).text


def evaluated(text: str, tmp_path: Path, **env: str) -> Dumped:
    """Run a script that ends in :data:`DUMP`."""
    script, dump = tmp_path / "launch.sh", tmp_path / "dump"
    script.write_text(text)
    environ = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7", "DUMP": str(dump), **env}
    done = subprocess.run(["bash", str(script)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(item.split("=", 1) for item in dump.read_bytes().decode().split("\0")[:-1])
    return Dumped(found, Path(f"{dump}.args").read_bytes().decode().split("\0")[:-1])


def command_of(env: dict[str, str], text: str, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """What slurm_run starts for the command text: the words of the program and its environment."""
    program = tmp_path / "show"
    program.write_text('#!/bin/bash\nprintf "%s\\0" "$@" >"$SHOWN.argv"\nenv -0 >"$SHOWN"\n')
    program.chmod(0o755)
    shown = tmp_path / "shown"
    argv = [sys.executable, "-m", "pytest_disagg.wrapper.slurm_run"]
    given = {
        **{name: value for name, value in env.items() if name != "installScript"},
        "PYTHONPATH": str(ROOT),
        "SLURM_LOCALID": "3",
        "SHOWN": str(shown),
        "DISAGG_SERVING_TYPE": "GEN_0",
        "DISAGG_STEP_CWD": str(tmp_path),
        "jobWorkspace": str(tmp_path),
        "pytestCommand": text.replace("/src/tensorrt_llm/llmapi/trtllm-llmapi-launch", str(program)),
    }
    done = subprocess.run(argv, env=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(item.split("=", 1) for item in shown.read_bytes().decode().split("\0")[:-1])
    return Path(f"{shown}.argv").read_bytes().decode().split("\0")[:-1], found


def check_bash(path: Path) -> None:
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here: bash tests/apt.sh installs it")
    # SC2140 is about the quotes within quotes of the prefix, which is as pipelines write it.
    done = subprocess.run(["shellcheck", "--exclude=SC2140", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def case_of(path: Path) -> Case:
    """The case a file is looked at by; of several servers the last."""
    return load_cases(str(path), environ={})[-1]


@needs_spec
@each_real
def test_golden_exports_of_a_real_file(path: Path, tmp_path: Path) -> None:
    text = text_of(case_of(path))
    script = tmp_path / "launch.sh"
    script.write_text(text)
    head = text.partition("# The launch draft of pytest-disagg")[0].replace(str(path), f"/cases/{path.name}")
    golden = GOLDEN / f"{path.stem}.sh"
    if os.environ.get("DISAGG_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(head)
    assert head == golden.read_text()
    check_bash(script)


@needs_spec
@each_real
def test_numbers_of_a_real_file_are_the_specified_ones(path: Path, tmp_path: Path) -> None:
    expected: dict[str, Any] = json.loads((SPEC / "expected_layout.json").read_text())[path.stem]
    if "servers" in expected:
        for case in load_cases(str(path), environ={}):
            numbers = expected["servers"][case.servers[0].name]
            env = evaluated(text_of(case, draft=DUMP), tmp_path).env
            assert env["world_size"] == str(numbers["world_size"]) == str(numbers["gpus_per_server"])
            assert env["gpusPerNodePerServer"] == str(numbers["tasks_per_node"])
            assert env["nodesPerServer"] == env["totalNodes"] == str(numbers["nodes"])
            assert int(env["totalNodes"]) * int(env["gpusPerNode"]) == numbers["total_gpus"]
        return
    env = evaluated(text_of(case_of(path), draft=DUMP), tmp_path).env
    names = {
        "gpusPerNode": "gpus_per_node",
        "numCtxServers": "num_ctx",
        "numGenServers": "num_gen",
        "gpusPerCtxServer": "gpus_per_ctx",
        "gpusPerGenServer": "gpus_per_gen",
        "nodesPerCtxServer": "nodes_per_ctx",
        "nodesPerGenServer": "nodes_per_gen",
        "gpusPerNodePerCtxServer": "gpus_per_node_per_ctx",
        "gpusPerNodePerGenServer": "gpus_per_node_per_gen",
        "totalNodes": "total_nodes",
        "totalGpus": "total_gpus",
    }
    assert {name: int(env[name]) for name in names} == {name: expected[key] for name, key in names.items()}
    gen_only = load_case(f"disagg-gen_only-{path.stem}", path=path, environ={})
    values = evaluated(text_of(gen_only, draft=DUMP), tmp_path).env["GEN_WORKER_ENV_VARS"].split()
    assert f"TLLM_BENCHMARK_REQ_QUEUES_SIZE={expected['queue_cap']}" in values
    ctx_only = load_case(f"aggr-ctx_only-{path.stem}", path=path, environ={})
    env = evaluated(text_of(ctx_only, draft=DUMP), tmp_path).env
    assert (int(env["totalNodes"]), int(env["world_size"])) == (expected["ctx_only_nodes"], expected["ctx_only_tasks"])


@needs_spec
def test_quoted_values_of_a_real_file_arrive(tmp_path: Path) -> None:
    (path,) = (path for path in REAL if "con8_ctx1_dep4_gen4" in path.stem)
    env = evaluated(text_of(case_of(path), draft=DUMP), tmp_path).env
    _, gen = command_of(env, env["pytestCommandGENWorker"], tmp_path)
    assert gen["PYTHONWARNINGS"] == "ignore::DeprecationWarning:cutlass.cute.core"
    assert gen["__LUNOWUD"] == "-thread_pool_size=12"
    assert gen["FLASHINFER_JIT_DIR"] == "/tmp/flashinfer_jit_cache_3"
    assert "PYTORCH_CUDA_ALLOC_CONF" not in gen
    assert gen["UCX_NET_DEVICES"].startswith("mlx5_0:1,")
    argv, ctx = command_of(env, env["pytestCommandCTXWorker"], tmp_path)
    assert ctx["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"
    assert argv == ["pytest", "-vv", "--output-dir=/ws/", "--test-list=/ws/list.txt"]


HOSTILE = [
    "a b",
    "it's",
    'say "x"',
    "$(touch pwned)",
    "`touch pwned`",
    "$HOME",
    "a\\b",
    "a;b",
    "&& x",
    "*",
    "{a,b}",
    "~",
]


def test_hostile_values_arrive_as_data(tmp_path: Path) -> None:
    variables = {f"V{index}": value for index, value in enumerate(HOSTILE)}
    path = tmp_path / "job.yaml"
    document = {
        "metadata": {"model_name": "m"},
        "hardware": {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1},
        "environment": {"worker_env_var": " ".join(f"{name}={shlex.quote(v)}" for name, v in variables.items())},
        "worker_config": {"gen": {"tensor_parallel_size": 3}, "ctx": {"tensor_parallel_size": 6}},
    }
    path.write_text(yaml.safe_dump(document))
    case = load_case("disagg-e2e-job", path=path, environ={})
    arguments = "\n".join(shlex.quote(f"--comment={value}") for value in [*HOSTILE, "a\nb"])
    dumped = evaluated(
        text_of(case, srun_args=f'{arguments}\n--x="$NAMED b"${{NAMED}}', draft=f"{DUMP}# arbitrary\n"),
        tmp_path,
        NAMED="two words",
    )
    assert dumped.srun_args == [*(f"--comment={value}" for value in [*HOSTILE, "a\nb"]), "--x=two words btwo words"]
    _, found = command_of(dumped.env, dumped.env["pytestCommandGENWorker"], tmp_path)
    assert {name: found[name] for name in variables} == variables
    assert not (tmp_path / "pwned").exists()
    script = tmp_path / "whole.sh"
    script.write_text(text_of(case, srun_args=arguments))
    check_bash(script)
    assert sum(share.tasks for share in place(case).server("CTX_0").shares) == int(dumped.env["gpusPerCtxServer"]) == 6


def test_an_aggregated_script_is_good_bash(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    server = {"name": "s", "tensor_parallel_size": 2, "client_configs": [{"concurrency": 1}]}
    document = {"metadata": {"model_name": "m"}, "hardware": {"gpus_per_node": 4}, "server_configs": [server]}
    path.write_text(yaml.safe_dump(document))
    script = tmp_path / "launch.sh"
    script.write_text(text_of(load_case("aggr-job-s", path=path, environ={})))
    check_bash(script)
