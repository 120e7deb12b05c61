"""The real sglang-router in front of simulated servers, and of a stand-in for SGLang's own."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.engines.sglang.installed import ROUTER, SERVER
from tests import standins
from tests.faults.conftest import TEST, Run, assert_red
from tests.local.test_trtllm import CASE as TRTLLM_CASE

HERE = Path(__file__).resolve().parent
OWN = HERE.parents[1] / "test_configs" / "sglang_router-1ctx-2gen.yaml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-disagg"
RELAXED = {key: TRTLLM_CASE[key] for key in ("slurm", "timeouts", "gate")}
"""For a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def router() -> str:
    """A Python that has sglang-router."""
    found = os.environ.get(ROUTER.variable) or str(CACHE / "sglang-router-0.3.2" / "bin" / "python")
    if reason := ROUTER.missing({ROUTER.variable: found}):
        pytest.skip(f"{reason}; tests/sglang.sh installs it")
    return found


class Project(Run):
    """A project of one case; ``env`` is what its roles have of ours."""

    env: dict[str, str]

    @classmethod
    def of(cls, folder: Path, case: dict[str, Any], **env: str) -> Project:
        (folder / "test_configs").mkdir()
        (folder / "test_configs" / "case.yaml").write_text(yaml.safe_dump(case, sort_keys=False))
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_it.py").write_text(TEST)
        made = cls(folder, "disagg-e2e-case")
        made.env = env
        return made

    def environment(self, role: str | None = None) -> dict[str, str]:
        return {**super().environment(role), **self.env}

    def green(self) -> None:
        """Run it to its end."""
        self.start(self.pytest_argv())
        assert self.end() == 0, self.output()
        assert self.alive() == {}
        assert self.junit().text == "", self.output()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.rundir.results / "records.jsonl").read_text().splitlines()]


def case(**changes: Any) -> dict[str, Any]:
    """The case that the project itself has, with whole top-level keys replaced."""
    document: dict[str, Any] = yaml.safe_load(OWN.read_text(encoding="utf-8"))
    return {**document, **RELAXED, **changes}


def test_simulated_servers_behind_the_real_router(tmp_path: Path, router: str) -> None:
    sim = {"decode_step_ms": 5, "truth_log": True}
    run = Project.of(tmp_path, case(sim=sim), **{ROUTER.variable: router})
    try:
        run.green()
    finally:
        run.close()
    records = run.records()
    assert [record["l_concurrency"] for record in records] == [4, 8]
    assert {record["s_engine"] for record in records} == {"sglang"}
    # Every request streamed all its tokens from one of the two GEN servers, one after the other.
    truth = {role: (run.rundir.logs / f"{role}.truth.jsonl").read_text().splitlines() for role in ("GEN_0", "GEN_1")}
    chunks = {role: Counter(json.loads(line)["request_id"] for line in lines) for role, lines in truth.items()}
    measured = [Counter({id: n for id, n in each.items() if n == 32}) for each in chunks.values()]
    assert min(len(each) for each in measured) >= 20
    assert not measured[0].keys() & measured[1].keys()
    # The router told both where to meet: at the port that the CTX server's role had published.
    port = run.state("CTX_0")["facts"]["bootstrap_port"]
    assert f"Some({port})" in run.log("DISAGG_SERVER")


def test_a_dead_decode_worker_is_named(tmp_path: Path, router: str) -> None:
    benchmark = {**case()["benchmark"], "concurrency_list": "4", "multi_round": 400}
    run = Project.of(tmp_path, case(benchmark=benchmark), **{ROUTER.variable: router})
    try:
        run.start(run.pytest_argv())
        run.wait_until_measuring()
        settings = str(run.rundir.config("GEN_1") / "sim.GEN_1.json")
        (worker,) = (pid for pid, argv in run.alive().items() if argv[1] == "-m" and settings in argv)
        os.kill(worker, signal.SIGKILL)
        assert run.end() == 1
        assert run.alive() == {}
    finally:
        run.close()
    junit = assert_red(run, "functional", "GEN_1", "in stage measure", "GEN server 1 was killed by SIGKILL")
    for role in ("CTX_0", "GEN_0", "DISAGG_SERVER", "BENCHMARK"):
        assert run.role_junit(role).headline == junit.headline, role


def test_servers_that_are_started_as_sglangs(tmp_path: Path, router: str) -> None:
    """With a stand-in that takes SGLang's options alone; the model's name is all that it has of a model."""
    workers = {
        "gen": {"tensor_parallel_size": 1, "max_batch_size": 16, "mem_fraction_static": 0.8, "trust_remote_code": True},
        "ctx": {"tensor_parallel_size": 1, "chunked_prefill_size": 4096, "disaggregation_transfer_backend": "nixl"},
    }
    hardware = {**case()["hardware"], "num_gen_servers": 1}
    benchmark = {**case()["benchmark"], "concurrency_list": "2"}
    python = standins.sglang_python(tmp_path / "standin")
    env = {ROUTER.variable: router, SERVER.variable: python}
    run = Project.of(tmp_path, case(worker_config=workers, hardware=hardware, benchmark=benchmark), **env)
    try:
        run.green()
    finally:
        run.close()
    for role, mode in (("GEN_0", "decode"), ("CTX_0", "prefill")):
        assert f"stand-in sglang.launch_server: no SGLang here, tokens are simulated; mode {mode}" in run.log(role)
    startup = json.loads((run.rundir.results / "startup_metrics.0.json").read_text())
    assert {role: said["startup_time"]["load_weight"] for role, said in startup.items()} == {
        "GEN_0": 0.25,
        "CTX_0": 0.25,
    }
