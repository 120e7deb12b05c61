"""A case that cannot run here is skipped with the reason; in a process that was given a role it fails with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytester.conftest import AGGR, DISAGG, TRTLLM_DISAGG, Finished, properties, write_config

# An engine of somebody else, as its package would register it: the simulated one under a name that needs GPUs.
OTHER_ENGINE = """\
from pytest_disagg.engines.sim.engine import SimEngine

class OtherEngine(SimEngine):
    name = "other"

    def simulated(self, case):
        return False

    def unavailable(self, case):
        return None if case.model != "unlicensed" else "other: no licence"

def pytest_disagg_engines():
    return {"other": OtherEngine}
"""
NVIDIA_SMI = """\
#!/bin/sh
# A stand-in for the driver's tool: tests of this project run where there is no GPU.
echo "NVIDIA B200, 570.00, 183359"
"""
OTHER = DISAGG.replace("engine: sim", "engine: other")


def with_gpus(text: str, *gpus: str) -> str:
    return text.replace("model_name: sim-model", f"model_name: sim-model, supported_gpus: [{', '.join(gpus)}]")


@pytest.fixture
def stand_in_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``nvidia-smi`` on PATH says that there is a B200."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(NVIDIA_SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on whose PATH there is no ``nvidia-smi``."""
    monkeypatch.setenv("PATH", str(tmp_path))


def reason(project: pytest.Pytester, *args: str) -> str:
    """Why the one case of the project is skipped."""
    result = project.runpytest_subprocess("--junitxml=r.xml", *args)
    result.assert_outcomes(skipped=1)
    ((_, test),) = Finished(0, "", project.path).tests().items()
    skipped = test.find("skipped")
    assert skipped is not None
    found = properties(test)
    assert (found["disagg_verdict"], found["disagg_kind"], len(found["disagg_config_digest"])) == ("skipped", "", 64)
    assert {"disagg_run_id", "disagg_git_sha"} <= found.keys()
    return skipped.get("message", "")


def failure(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, role: str) -> tuple[str, dict[str, str]]:
    """The failure's message and the properties of the project's one case in that role."""
    monkeypatch.setenv("DISAGG_SERVING_TYPE", role)
    monkeypatch.setenv("DISAGG_RUN_ID", "r1")
    result = project.runpytest_subprocess("--junitxml=r.xml")
    result.assert_outcomes(failed=1)
    name = "r.xml" if role == "BENCHMARK" else f"r.{role}.xml"
    ((_, test),) = Finished(0, "", project.path).tests(name).items()
    found = test.find("failure")
    assert found is not None
    return found.get("message", ""), properties(test)


def test_an_engine_that_is_not_installed(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(project, "one", TRTLLM_DISAGG.replace("metadata:", "engine: nobodys\ncases: [disagg-e2e]\nmetadata:"))
    assert reason(project).startswith("engine 'nobodys' is not installed (known: ")
    message, found = failure(project, monkeypatch, "GEN_0")
    assert message.startswith("infrastructure: GEN_0 failed in stage plan: cannot run here: engine 'nobodys' is not")
    assert (found["disagg_kind"], found["disagg_verdict"]) == ("infrastructure", "failed")
    assert found["disagg_role"] == "GEN_0"


def test_an_engine_that_says_it_cannot(project: pytest.Pytester) -> None:
    project.makeconftest(OTHER_ENGINE)
    write_config(project, "one", OTHER.replace("sim-model", "unlicensed"))
    assert reason(project) == "other: no licence"


def test_a_case_of_accuracy_where_lm_eval_is_not_installed(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(
        project,
        "one",
        DISAGG.replace("benchmark: {", "benchmark: {only_run_accuracy: true, ")
        + "accuracy: {enable_accuracy_test: true, tasks: {gsm8k: {}}}\n",
    )
    monkeypatch.setenv("PATH", str(project.path))
    said = "accuracy: the program lm_eval is not on PATH: install it with: pip install 'lm_eval[api]' transformers"
    assert reason(project).startswith(said)
    message, _ = failure(project, monkeypatch, "BENCHMARK")
    assert message.startswith(f"infrastructure: BENCHMARK failed in stage plan: cannot run here: {said}")


def test_more_nodes_than_one(project: pytest.Pytester) -> None:
    project.makeconftest(OTHER_ENGINE)
    write_config(
        project, "one", OTHER.replace("num_gen_servers: 1", "num_gen_servers: 2").replace("share_nodes: true", "")
    )
    assert reason(project).startswith("needs 3 nodes, this is one machine")


def test_nodes_do_not_matter_to_simulated_servers(project: pytest.Pytester) -> None:
    write_config(
        project, "one", DISAGG.replace("num_gen_servers: 1", "num_gen_servers: 2").replace("share_nodes: true", "")
    )
    project.makeconftest("def pytest_disagg_skip(case): return 'asked'")
    assert reason(project) == "asked"


@pytest.mark.usefixtures("stand_in_gpu")
def test_a_gpu_that_is_not_supported(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makeconftest(OTHER_ENGINE)
    write_config(project, "one", with_gpus(OTHER, "GB200", "GB300"))
    assert reason(project) == "GPU b200 is not among supported_gpus (GB200, GB300)"
    for role in ("CTX_0", "BENCHMARK"):
        message, found = failure(project, monkeypatch, role)
        assert message == (
            f"infrastructure: {role} failed in stage plan: cannot run here: "
            "GPU b200 is not among supported_gpus (GB200, GB300)"
        )
        assert found["disagg_kind"] == "infrastructure"


@pytest.mark.usefixtures("stand_in_gpu")
def test_a_gpu_that_is_supported(project: pytest.Pytester) -> None:
    project.makeconftest(f"{OTHER_ENGINE}\ndef pytest_disagg_skip(case): return 'asked'\n")
    write_config(project, "one", with_gpus(OTHER, "GB200", "B200"))
    assert reason(project) == "asked"


@pytest.mark.usefixtures("no_gpu")
def test_no_gpu_at_all(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makeconftest(OTHER_ENGINE)
    write_config(project, "one", with_gpus(OTHER, "B200"))
    assert reason(project) == "GPU none is not among supported_gpus (B200)"
    assert "GPU none is not among" in failure(project, monkeypatch, "GEN_0")[0]
    # The coordinator and the client may have a node of their own without GPUs: the next question is asked.
    project.makeconftest(f"{OTHER_ENGINE}\ndef pytest_disagg_skip(case): return 'asked'\n")
    for role in ("DISAGG_SERVER", "BENCHMARK"):
        assert failure(project, monkeypatch, role)[0].endswith("cannot run here: asked")


def test_a_reason_of_the_users_own(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makeconftest("def pytest_disagg_skip(case): return f'no {case.model} before noon'")
    write_config(project, "one", DISAGG)
    assert reason(project) == "no sim-model before noon"
    message, found = failure(project, monkeypatch, "DISAGG_SERVER")
    assert message == ("infrastructure: DISAGG_SERVER failed in stage plan: cannot run here: no sim-model before noon")
    assert found["disagg_kind"] == "infrastructure"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("gen: {node_rank: 1, ", "worker_config.gen.node_rank"),
        ("gen: {kv_cache_dtype: <dtype>, ", "the unfilled placeholder <dtype>"),
    ],
)
def test_what_its_engine_can_never_serve_is_a_mistake_and_no_skip(
    project: pytest.Pytester, changed: str, words: str
) -> None:
    """Here the engine is not even installed."""
    write_config(project, "one", DISAGG.replace("engine: sim", "engine: sglang").replace("gen: {", changed))
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    assert words in result.stdout.str()


def test_an_unknown_engine_option_is_a_mistake_and_no_skip(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    result = project.runpytest_inprocess("--disagg-engine=sin")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unknown engine 'sin'*did you mean 'sim'?*"])


def test_an_unknown_client_option_is_a_mistake_and_no_skip(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    result = project.runpytest_inprocess("--disagg-client=natvie")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unknown *natvie*did you mean 'native'?*"])
