"""The launch script: what its exports hold, and what is refused."""

from __future__ import annotations

import re

import pytest

from pytest_disagg.config.cluster import UCX_RULES, Cluster
from pytest_disagg.config.cluster_env import load_rules
from pytest_disagg.engines.trtllm.environment import queue_size
from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.launch.compat.environments import environments
from pytest_disagg.launch.compat.script import Profiling, launch_script, own_draft
from tests.unit.launch.compat.conftest import PREFIX, MakeCase, inputs


def export(text: str, name: str) -> str | None:
    found = re.findall(rf'^export {name}="(.*)"$', text, re.MULTILINE)
    return found[-1] if found else None


def test_parts_in_order_and_unchanged(make_case: MakeCase) -> None:
    prefix = PREFIX + "if true; then\n    cat <<EOF\n\n  x \nEOF\nfi"
    draft = "  srun $pytestCommandGENWorker \\\n\n   x"
    text = launch_script(inputs(make_case(), prefix=prefix, srun_args="--a\n--b", draft=draft)).text
    assert text.startswith(prefix + "\nexport ")
    assert text.endswith('\nsrunArgs=(\n  "--a"\n  "--b"\n)\n' + draft + "\n")
    assert launch_script(inputs(make_case())).text.endswith(own_draft(alone=False))


def test_environment_of_each_role(make_case: MakeCase) -> None:
    text = launch_script(inputs(make_case(), common={"C": "x y"})).text
    assert export(text, "CTX_WORKER_ENV_VARS") == (
        "FLASHINFER_JIT_DIR=/tmp/flashinfer_jit_cache_\\${SLURM_LOCALID} HF_HOME=/tmp/hf_home SHARED=1 CTX=1"
    )
    assert (export(text, "GEN_WORKER_ENV_VARS") or "").endswith(" SHARED=1 GEN=1")
    assert export(text, "SERVER_ENV_VARS") == "SERVER=1"
    assert export(text, "BENCHMARK_ENV_VARS") == "BENCHMARK=1"
    assert export(text, "PYTEST_COMMON_VARS") == "C='x y'"
    assert export(text, "partialPytestCommandWorker") == "A=1 trtllm-llmapi-launch pytest t.py"
    assert export(text, "partialPytestCommandDisaggServer") == "A=1 pytest t.py"
    assert export(text, "partialPytestCommandBenchmark") == "A=1 pytest --csv=x.csv t.py"
    assert export(text, "pytestCommandDisaggServer") == (
        "$SERVER_ENV_VARS $PYTEST_COMMON_VARS $partialPytestCommandDisaggServer"
    )
    assert export(text, "testOutputDir") == "$jobWorkspace/disagg-e2e-job"


@pytest.mark.parametrize(
    ("concurrency", "servers", "batch", "dp", "size"),
    [
        (64, 1, 16, True, 64),
        (64, 1, 4, True, 32),
        (64, 1, 4, False, 4),
        (8, 4, 1, False, 1),
        (9, 2, 64, False, 4),
        (1, 4, 9, False, 1),
    ],
)
def test_the_gate_of_a_gen_server(
    make_case: MakeCase, concurrency: int, servers: int, batch: int, dp: bool, size: int
) -> None:
    case = make_case(
        "disagg-gen_only",
        benchmark={"concurrency_list": concurrency},
        hardware={"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": servers},
        worker_config={
            "gen": {"tensor_parallel_size": 8, "max_batch_size": batch, "enable_attention_dp": dp},
            "ctx": {"tensor_parallel_size": 2},
        },
    )
    assert queue_size(case) == size
    env = environments(case)
    assert env.gen["TLLM_BENCHMARK_REQ_QUEUES_SIZE"] == str(size)
    assert "TLLM_BENCHMARK_REQ_QUEUES_SIZE" not in env.ctx
    assert bool(env.notes) == (size != concurrency)


def test_without_ctx_servers(make_case: MakeCase) -> None:
    text = launch_script(inputs(make_case("disagg-gen_only_no_context"), srun_args="--container-image=i")).text
    assert export(text, "TRTLLM_DISAGG_BENCHMARK_GEN_ONLY") == "1"
    for name in ("GEN_WORKER_ENV_VARS", "SERVER_ENV_VARS"):
        assert "TRTLLM_DISAGG_BENCHMARK_GEN_ONLY=1" in (export(text, name) or "")
    assert "REQ_QUEUES_SIZE" not in text.partition("srunArgs=")[0]
    assert '"--container-env=TRTLLM_DISAGG_BENCHMARK_GEN_ONLY"' in text
    assert export(text, "numCtxServers") == export(text, "nodesPerCtxServer") == "0"
    assert export(text, "pytestCommandWorker") == "$pytestCommandGENWorker"


def test_the_older_grammar_has_the_gate_as_well(make_case: MakeCase) -> None:
    env = environments(make_case("disagg", benchmark={"mode": "gen_only", "concurrency_list": 2}))
    assert env.gen["TRTLLM_DISAGG_BENCHMARK_GEN_ONLY"] == env.gen["TLLM_BENCHMARK_REQ_QUEUES_SIZE"] == "1"


def test_ucx_goes_first(make_case: MakeCase) -> None:
    text = launch_script(inputs(make_case(), cluster=Cluster(name="AWS-DFW-cs-001"), rules=load_rules(UCX_RULES))).text
    for name in ("CTXWorker", "GENWorker", "DisaggServer", "Benchmark"):
        value = export(text, f"pytestCommand{name}") or ""
        assert value.startswith("unset UCX_CUDA_IPC_ENABLE_MNNVL ")
        assert "&& TRTLLM_PRESERVE_UCX_ENV=1 UCX_TLS='^gdr_copy' $" in value


def test_assignments_are_exported_before_a_command_that_declares(make_case: MakeCase) -> None:
    """`A=1 unset B && x` gives A to unset alone."""
    prefix = 'export pytestCommand="unset B && C=1 pytest t.py"\n'
    text = launch_script(inputs(make_case(), prefix=prefix)).text
    assert export(text, "SERVER_ENV_VARS") == "export SERVER=1 &&"


def test_an_aggregated_case(make_case: MakeCase) -> None:
    case = make_case("aggr-ctx_only")
    text = launch_script(inputs(case, srun_args="--container-image=i", rules=load_rules(UCX_RULES))).text
    numbers = {"gpusPerNode": 4, "gpusPerNodePerServer": 2, "nodesPerServer": 1, "totalNodes": 1, "world_size": 2}
    assert {name: int(export(text, name) or -1) for name in numbers} == numbers
    assert export(text, "partialPytestCommand") == "A=1 trtllm-llmapi-launch pytest --csv=x.csv t.py"
    assert (export(text, "pytestCommand") or "").endswith(" SHARED=1 CTX=1 $partialPytestCommand")
    assert "--container-env=DISAGG_SERVING_TYPE" not in text
    assert text.endswith(own_draft(alone=True))


def test_nsys(make_case: MakeCase) -> None:
    profiling = Profiling("/out dir", ctx="1-2", gen="3-4")
    text = launch_script(inputs(make_case(), profiling=profiling)).text
    assert "TLLM_PROFILE_START_STOP=1-2 " in (export(text, "CTX_WORKER_ENV_VARS") or "")
    assert "TLLM_PROFILE_START_STOP=3-4 " in (export(text, "GEN_WORKER_ENV_VARS") or "")
    worker = export(text, "partialPytestCommandWorker") or ""
    assert worker.startswith("A=1 nsys profile ")
    assert worker.endswith(
        "-o '/out dir/nsys.%q{DISAGG_SERVING_TYPE}.rank%q{SLURM_PROCID}' trtllm-llmapi-launch pytest t.py"
    )
    assert "nsys" not in (export(text, "partialPytestCommandBenchmark") or "")


def test_a_draft_that_would_start_too_many_tasks(make_case: MakeCase) -> None:
    case = make_case(worker_config={"gen": {"tensor_parallel_size": 6}, "ctx": {"tensor_parallel_size": 2}})
    with pytest.raises(UsageError, match=r"draft.sh: starts 8 tasks for GEN_0, which has 6 ranks \(4\+2\)"):
        launch_script(inputs(case, draft="srun"))
    text = launch_script(inputs(case)).text
    assert (export(text, "gpusPerGenServer"), export(text, "gpusPerNodePerGenServer")) == ("6", "4")
    launch_script(inputs(case, draft="srun --distribution=arbitrary"))


def test_a_draft_with_one_command_for_two_environments(make_case: MakeCase) -> None:
    with pytest.raises(UsageError, match=r"\$pytestCommandWorker, but this case gives them different environments"):
        launch_script(inputs(make_case(), draft='x="$pytestCommandWorker"'))
    same = make_case(environment={"worker_env_var": "SHARED=1"})
    assert export(launch_script(inputs(same, draft="x")).text, "pytestCommandWorker") == "$pytestCommandGENWorker"


def test_what_this_form_cannot_say(make_case: MakeCase) -> None:
    hardware = {"gpus_per_node": 4, "num_ctx_servers": 2, "num_gen_servers": 1, "share_nodes": True}
    with pytest.raises(UsageError, match="found servers that share nodes"):
        launch_script(inputs(make_case(hardware=hardware)))
    with pytest.raises(ConfigError, match=r"srun.args:2: found ' without an end"):
        launch_script(inputs(make_case(), srun_args="--a\n--b='c"))


def test_container_variables_only_with_a_container(make_case: MakeCase) -> None:
    bare = launch_script(inputs(make_case(), srun_args="--mpi=pmix")).text
    assert "--container-env" not in bare.partition("# The launch draft")[0]
    boxed = launch_script(inputs(make_case(), srun_args="--container-image=i --container-env=pytestCommand")).text
    assert boxed.count('"--container-env=pytestCommand"') == 1
    assert boxed.count('"--container-env=DISAGG_SERVING_TYPE"') == 1
