"""From a case and a cluster to steps, options and times."""

from __future__ import annotations

import json
import shlex
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.config.resolve import load_case
from pytest_disagg.errors import ConfigError
from pytest_disagg.launch.nsys import DEFAULT_RANGE, OUTPUT_OF_ROLE, RANGE_VARIABLE
from pytest_disagg.launch.slurm.plan import merged_options, plan_job
from pytest_disagg.launch.slurm.roletext import references_text
from pytest_disagg.launch.slurm.script import render
from pytest_disagg.launch.slurm.spec import JobSpec, Step
from pytest_disagg.wrapper.command import interpret
from tests.unit.launch.slurm.conftest import DOCUMENT, MakeJob, job_input


def step(job: JobSpec, role: str) -> Step:
    (found,) = (each for each in job.steps if each.role == role)
    return found


def option(job: JobSpec, name: str) -> str | None:
    """The value of an sbatch option; empty for one without a value, None where it is not given."""
    values = [each.partition("=")[2] for each in job.directives if each.partition("=")[0] == name]
    assert len(values) < 2, job.directives
    return values[0] if values else None


def test_slices_are_those_of_the_plan(make_job: MakeJob) -> None:
    job = make_job()
    assert [each.role for each in job.steps] == ["GEN_0", "CTX_0", "CTX_1", "DISAGG_SERVER", "BENCHMARK"]
    assert step(job, "GEN_0").task_nodes == (0, 0, 0, 0, 1, 1, 1, 1)
    assert step(job, "CTX_0").task_nodes == (2, 2)
    assert step(job, "CTX_1").task_nodes == (3, 3)
    assert step(job, "BENCHMARK").task_nodes == (0,)
    assert (job.nodes, option(job, "--nodes")) == (4, "4")


def test_enough_tasks_that_overlapping_steps_fit(make_job: MakeJob) -> None:
    job = make_job()
    # Four of GEN_0, the coordinator and the client are on the first node.
    assert job.tasks_per_node == 6
    assert (option(job, "--ntasks"), option(job, "--ntasks-per-node")) == ("24", "6")


def test_an_uneven_server_names_a_host_for_each_task(make_job: MakeJob) -> None:
    workers = {"gen": {"tensor_parallel_size": 6}, "ctx": {"tensor_parallel_size": 2}}
    gen = step(make_job(worker_config=workers), "GEN_0")
    assert gen.task_nodes == (0, 0, 0, 0, 1, 1)
    assert not gen.even
    assert gen.host_list == (0, 0, 0, 0, 1, 1)
    assert step(make_job(), "GEN_0").host_list == (0, 1)


def test_mpi_only_on_workers_and_overlap_only_beside_them(make_job: MakeJob) -> None:
    job = make_job({"mpi": "pmix"})
    assert {each.role: each.options for each in job.steps} == {
        "GEN_0": ("--mpi=pmix",),
        "CTX_0": ("--mpi=pmix",),
        "CTX_1": ("--mpi=pmix",),
        "DISAGG_SERVER": ("--overlap",),
        "BENCHMARK": ("--overlap",),
    }
    assert not any("--mpi" in each for each in job.common)


def test_servers_that_share_a_node_overlap_and_have_their_own_gpus(make_job: MakeJob) -> None:
    job = make_job(
        hardware={"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True},
        worker_config={"gen": {"tensor_parallel_size": 2}, "ctx": {"tensor_parallel_size": 2}},
    )
    assert job.nodes == 1
    for role, gpus in (("GEN_0", "0,1"), ("CTX_0", "2,3")):
        assert step(job, role).options == ("--overlap",)
        assert step(job, role).prefix == f"CUDA_VISIBLE_DEVICES={gpus}"


def test_where_each_node_starts_a_process_it_has_one_task(make_job: MakeJob) -> None:
    sizes = {"gen": 8, "ctx": 2}
    blocks = {kind: {"backend": "sglang", "tensor_parallel_size": size} for kind, size in sizes.items()}
    job = make_job(engine="dynamo", worker_config=blocks)
    found = {each.role: (each.task_nodes, each.every_rank) for each in job.steps[:3]}
    assert found == {"GEN_0": ((0, 1), True), "CTX_0": ((2,), False), "CTX_1": ((3,), False)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": {"worker_env_var": "A=<nobody>"}}, "worker_env_var: found the unfilled placeholder <nobody>"),
        ({"engine": "sglang", "coordinator_config": {"port": 1}}, "coordinator_config.port: found 1, expected nothing"),
    ],
)
def test_what_its_roles_would_refuse_is_not_submitted(make_job: MakeJob, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make_job(**changes)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("request_form", "expected"),
    [("gres", ("gpu:4", None)), ("gpus-per-node", (None, "4")), ("none", (None, None))],
)
def test_how_gpus_are_asked_for(make_job: MakeJob, request_form: str, expected: tuple[str | None, str | None]) -> None:
    job = make_job({"gpu_request": request_form})
    assert (option(job, "--gres"), option(job, "--gpus-per-node")) == expected


def test_options_of_the_cluster_file(make_job: MakeJob) -> None:
    cluster = {
        "partition": "batch",
        "account": "team",
        "sbatch": ["--exclusive", "--segment=4", "--ntasks=99"],
        "srun": ["--cpu-bind=none"],
        "strip": ["--segment", "--open-mode"],
    }
    job = make_job(cluster, {"exclude": ("n1", "n2")})
    assert (option(job, "--partition"), option(job, "--account"), option(job, "--exclude")) == (
        "batch",
        "team",
        "n1,n2",
    )
    assert option(job, "--exclusive") == ""
    assert option(job, "--ntasks") == "99"
    assert option(job, "--segment") is None
    assert option(job, "--open-mode") is None
    assert job.common == ("--export=ALL", "--cpu-bind=none")


def test_theirs_replace_ours_and_stripped_ones_go() -> None:
    assert merged_options(["--a=1", "--b=2"], ["--b=3", "--c"], ["--c"]) == ("--a=1", "--b=3")


def test_no_requeue_unless_asked(make_job: MakeJob) -> None:
    assert option(make_job(), "--no-requeue") == ""
    assert option(make_job({"requeue": True}), "--requeue") == ""
    assert option(make_job({"requeue": True}), "--no-requeue") is None


def test_the_limit_holds_run_stop_and_slurms_minute(make_job: MakeJob) -> None:
    job = make_job()
    # 60 s for the check, 600 s of run, 60 s in which Slurm's signal may come early, and 6 s to stop: 12.1 minutes.
    assert (job.lead_s, job.signal_s, job.limit_s) == (66, 6, 780)
    assert (option(job, "--time"), option(job, "--signal")) == ("13", "B:TERM@6")
    assert make_job({"install": {"command": ["/x"], "timeout_s": 600.0}}).limit_s == 1380
    assert make_job(precheck={"command": ["/x"], "timeout_s": 120}).limit_s == 900


def test_a_precheck_runs_as_its_servers_do(make_job: MakeJob) -> None:
    job = make_job(
        {"mpi": "pmix", "environment": {"worker": {"set": {"A": "1", "B": "1"}}}},
        precheck={"command": ["/check", "a b", "$HOME"]},
        environment={"ctx_worker_env_var": "B='2 3'"},
    )
    assert job.precheck is not None
    assert job.precheck.command == "/check 'a b' '$HOME'"
    assert [each.role for each in job.precheck.steps] == ["GEN_0", "CTX_0", "CTX_1"]
    for each in job.precheck.steps:
        assert (each.task_nodes, each.options) == (step(job, each.role).task_nodes, ("--mpi=pmix",))
    assert [each.prefix for each in job.precheck.steps[:2]] == ["A=1 B=1", "A=1 B=1 B='2 3'"]


def test_a_precheck_of_a_case_that_one_process_plays(make_job: MakeJob) -> None:
    servers = [{"name": "a", "tensor_parallel_size": 8, "client_configs": [{"concurrency": 1}]}]
    job = make_job(
        cases=["aggr"],
        hardware={"gpus_per_node": 4},
        server_configs=servers,
        worker_config=None,
        benchmark=None,
        precheck={"command": ["/check"]},
    )
    assert job.precheck is not None
    # BENCHMARK's own name would make slurm_run look for results.
    assert [(each.role, each.tasks) for each in job.precheck.steps] == [("SERVER", 8)]


def test_a_limit_that_is_too_short_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match="time_limit: found 60 s, expected more than 66 s, which it takes to stop"):
        make_job({"time_limit": "1"})
    with pytest.raises(ConfigError, match="at least"):
        make_job({"time_limit": "2"}, timeouts={"stop_s": 8, "grace_s": 1, "measure_s": 300})


def test_a_job_that_cannot_hold_all_repeats_is_refused(make_job: MakeJob) -> None:
    command = replace(job_input().command, options=("--disagg-set=a=b", "--disagg-repeat=4"))
    timeouts = {"stop_s": 8, "grace_s": 1, "measure_s": 160}
    with pytest.raises(ConfigError, match=r"measure_s 160 s x 4, .*, with every load measured 4 times"):
        make_job(given={"command": command}, timeouts=timeouts)
    with pytest.raises(ConfigError, match=r"DISAGG_DEADLINE: found 534 s, .*, with every load measured 4 times"):
        make_job({"time_limit": "10"}, given={"command": command}, timeouts=timeouts, slurm={"timeout": 3600})
    # A deployment that takes one load is measured once, whatever was asked for.
    make_job(given={"command": command}, timeouts=timeouts, cases=["disagg-gen_only"])


def test_a_limit_between_caps_the_run(make_job: MakeJob) -> None:
    job = make_job({"time_limit": "10"})
    assert job.limit_s == 600
    assert option(job, "--time") == "10"


def test_more_gpus_than_a_node_has(make_job: MakeJob) -> None:
    with pytest.raises(ConfigError, match="found 4, expected at most 2"):
        make_job({"gpus_per_node": 2})


def test_an_aggregated_case_is_one_step_with_a_task_for_each_rank(make_job: MakeJob) -> None:
    client = {"name": "c", "concurrency": 1, "isl": 8, "osl": 8}
    job = make_job(
        {"mpi": "pmix"},
        cases=["aggr"],
        server_configs=[{"name": "large", "tensor_parallel_size": 8, "client_configs": [client]}],
        worker_config=None,
        hardware={"gpus_per_node": 4},
        benchmark=None,
    )
    (only,) = job.steps
    assert (only.role, only.task_nodes, only.options) == ("BENCHMARK", (0, 0, 0, 0, 1, 1, 1, 1), ("--mpi=pmix",))


def test_every_word_of_the_command_is_quoted(make_job: MakeJob) -> None:
    text = make_job().pytest
    assert "'--disagg-set=a=b c'" in text
    assert '"--junitxml=$DISAGG_RUN_DIR/junit/$DISAGG_SERVING_TYPE.xml"' in text
    assert text.startswith("/venv/bin/python -m pytest ")


def test_environment_of_a_role(make_job: MakeJob) -> None:
    environment = {"all": {"unset": ["UCX_TLS"], "set": {"A": "1"}}, "gen": {"set": {"A": "it's $x"}}}
    job = make_job({"environment": environment})
    assert step(job, "CTX_0").prefix == "unset UCX_TLS && A=1"
    assert step(job, "GEN_0").prefix == "unset UCX_TLS && A='it'\"'\"'s $x'"


@pytest.mark.parametrize(
    ("install", "words"),
    [
        ({"command": ["/a b", "-c"]}, ["DISAGG_INSTALL_COMMAND='/a b' -c"]),
        ({"wheel": "/x.whl"}, ["INSTALL_MODE=wheel", "WHEEL_PATH=/x.whl"]),
        ({"source": "/src"}, ["INSTALL_MODE=source", "llmSrcNode=/src"]),
        (
            {"tarball": "https://h/t.tar.gz", "sha256": "a" * 64},
            ["llmTarfile=https://h/t.tar.gz", "DISAGG_TARBALL_SHA256=" + "a" * 64],
        ),
    ],
)
def test_what_slurm_install_is_told(make_job: MakeJob, install: dict[str, object], words: list[str]) -> None:
    found = make_job({"install": install}).install
    assert set(words) <= set(found)
    assert found[-1].endswith("/bin/slurm_install")
    assert make_job().install == ()


def profiled(job: JobSpec) -> dict[str, str]:
    """Role -> the iterations that nsys profiles, as slurm_run sees the command."""
    found: dict[str, str] = {}
    for each in job.steps:
        command = interpret(f"{each.before_pytest} python -m pytest", {"DISAGG_RUN_DIR": "/run dir"}, "pytestCommand")
        if command.argv[0] == "nsys":
            assert command.argv[-4:] == ("/run dir/" + OUTPUT_OF_ROLE, "python", "-m", "pytest")
            found[each.role] = command.env[RANGE_VARIABLE]
        else:
            assert command.argv == ("python", "-m", "pytest")
    return found


def test_nsys_around_servers_alone(make_job: MakeJob) -> None:
    ranges = {"ctx": "5-9", "gen": "10-20,30-40"}
    job = make_job(given={"profiling": ranges}, precheck={"command": ["/check"]})
    assert profiled(job) == {"GEN_0": ranges["gen"], "CTX_0": ranges["ctx"], "CTX_1": ranges["ctx"]}
    lines = render(job).splitlines()
    assert ["nsys" in line for line in lines if line.startswith(("precheck GEN_0", "role GEN_0"))] == [False, True]


def test_a_case_that_asks_for_nsys(make_job: MakeJob) -> None:
    job = make_job(profiling={"nsys_on": True})
    assert profiled(job) == dict.fromkeys(("GEN_0", "CTX_0", "CTX_1"), DEFAULT_RANGE)
    assert profiled(make_job(profiling={"nsys_on": False})) == {}


TRTLLM_ALONE = {
    "engine": "trtllm",
    "cases": ["aggr"],
    "benchmark": None,
    "worker_config": None,
    "hardware": {"gpus_per_node": 4},
}


def aggregated(*tps: int) -> dict[str, Any]:
    client = [{"concurrency": 1}]
    blocks = [{"name": f"tp{tp}", "tensor_parallel_size": tp, "client_configs": client} for tp in tps]
    return {**TRTLLM_ALONE, "server_configs": blocks}


def test_under_a_launcher_every_rank_runs_the_command(make_job: MakeJob) -> None:
    job = make_job(engine="trtllm", cases=["disagg-gen_only"], environment={"worker_env_var": "HF_HOME=/models/hf A=x"})
    assert {each.role: (each.ranks, each.launcher) for each in job.steps} == {
        **dict.fromkeys(("GEN_0", "CTX_0", "CTX_1"), ("all", "trtllm-llmapi-launch")),
        **dict.fromkeys(("DISAGG_SERVER", "BENCHMARK"), ("leader", "")),
    }
    text = f"{step(job, 'GEN_0').before_pytest} python -m pytest"
    command = interpret(text, {"SLURM_LOCALID": "3"}, "pytestCommand")
    assert command.argv == ("trtllm-llmapi-launch", "python", "-m", "pytest")
    assert {name: command.env[name] for name in command.assigned} == {
        "FLASHINFER_JIT_DIR": "/tmp/flashinfer_jit_cache_3",
        "HF_HOME": "/models/hf",
        "A": "x",
        "TRTLLM_DISABLE_KV_CACHE_TRANSFER_OVERLAP": "1",
        "TLLM_BENCHMARK_REQ_QUEUES_SIZE": "4",
    }
    assert "TLLM_BENCHMARK_REQ_QUEUES_SIZE" not in step(job, "CTX_0").prefix
    script = render(job)
    assert f"role GEN_0 {shlex.quote(step(job, 'GEN_0').before_pytest)} all " in script
    assert "role BENCHMARK '' leader " in script


def test_clocks_are_held_below_the_launcher_of_servers_on_several_nodes(make_job: MakeJob) -> None:
    job = make_job(engine="trtllm", clocks={"gpu_mhz": 1410, "command": ["sudo", "a b", "$HOME"]})
    spans = [each for each in job.steps if each.launcher and len(each.nodes) > 1]
    assert [each.role for each in spans] == ["GEN_0"]
    *words, request, dashes, launcher = interpret(spans[0].launcher, {"HOME": "/x"}, "pytestCommand").argv
    assert words[1:] == ["-m", "pytest_disagg.machine.holding"]
    assert (dashes, launcher) == ("--", "trtllm-llmapi-launch")
    assert json.loads(request) == {
        "gpu_mhz": 1410,
        "memory_mhz": None,
        "command": ["sudo", "a b", "$HOME"],
        "timeout_s": 30.0,
    }
    assert step(job, "CTX_0").launcher == "trtllm-llmapi-launch"


def test_nsys_stands_before_the_launcher(make_job: MakeJob) -> None:
    job = make_job(engine="trtllm", given={"profiling": {"gen": "1-2"}})
    words = step(job, "GEN_0").before_pytest.split()
    assert words[-1] == "trtllm-llmapi-launch"
    assert "nsys" in words


def test_the_other_engines_step_stays_with_rank_0(make_job: MakeJob) -> None:
    assert {each.ranks for each in make_job().steps} == {"leader"}


@pytest.mark.parametrize(("tp", "ranks"), [(4, "leader"), (8, "all")])
def test_an_aggregated_server_has_the_launcher_on_several_nodes_alone(make_job: MakeJob, tp: int, ranks: str) -> None:
    (only,) = make_job(**aggregated(tp)).steps
    assert (only.role, only.tasks, only.ranks) == ("BENCHMARK", tp, ranks)


@pytest.mark.parametrize(("tps", "refused"), [((2, 4), False), ((4, 8), True)])
def test_a_launcher_starts_one_server_alone(tmp_path: Path, tps: tuple[int, ...], refused: bool) -> None:
    document = {**DOCUMENT, **aggregated(*tps)}
    content = {key: value for key, value in document.items() if value is not None}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))
    case = load_case("aggr-job", dirs=[tmp_path], environ={})
    assert len(case.servers) == 2
    expected = r"aggr-job: found 2 servers, expected one server: trtllm-llmapi-launch starts the ranks of one"
    with pytest.raises(ConfigError, match=expected) if refused else nullcontext():
        (only,) = plan_job(case, Cluster(), None, job_input()).steps
        assert only.ranks == "leader"


@pytest.mark.parametrize(
    "value",
    ["a b", 'say "x"', "back\\slash", "`id`", "$(id)", "$HOME", "a;b&&c|d", "it's", "*?[x]", "~", "", "#x", "a\nb"],
)
def test_only_braced_references_are_filled_in(value: str) -> None:
    text = f"{references_text({'A': value, 'B': 'x_${RANK}_' + value})} python"
    command = interpret(text, {"RANK": "7", "HOME": "/home/me"}, "pytestCommand")
    assert (command.env["A"], command.env["B"]) == (value, f"x_7_{value}")
    assert command.argv == ("python",)


@pytest.mark.parametrize(("request_form", "held"), [("gres", 4), ("gpus-per-node", 4), ("none", 8)])
def test_gpus_that_a_job_holds_on_a_node(make_job: MakeJob, request_form: str, held: int) -> None:
    """Those it asks for; all of them where Slurm is not asked."""
    job = make_job({"gpu_request": request_form, "gpus_per_node": 8})
    assert job.gpus_per_node == held
    assert f"gpus_per_node=${{SLURM_GPUS_ON_NODE:-{held}}}" in render(job)
