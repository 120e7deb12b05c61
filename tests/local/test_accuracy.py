"""Accuracy tasks after the loads of a deployment, with a stand-in for ``lm_eval`` on PATH: its scores are made up."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_disagg.config.accuracy_tasks import AccuracyTask
from pytest_disagg.errors import RunError
from pytest_disagg.roles.accuracy import evaluate
from pytest_disagg.rundir.layout import RunDir
from tests.local.test_trtllm import AGGR as TRTLLM_AGGR
from tests.local.test_trtllm import Project, assert_green, outcome_of
from tests.pytester.conftest import properties
from tests.unit.roles.conftest import LOAD, SessionFactory
from tests.unit.roles.conftest import make_session as make_session

SCORE = "accuracy_gsm8k_exact_match_flexible_extract"


def aggregated(tasks: dict[str, Any], *, engine: str = "sim", only: bool = False, **more: object) -> dict[str, Any]:
    """One server and one load, which asks for ``tasks``."""
    (server,) = TRTLLM_AGGR["server_configs"]
    (client,) = server["client_configs"]
    accuracy = {"enable_accuracy_test": True, "tasks": tasks, **more}
    asking = {**client, "only_run_accuracy": only, "accuracy_config": accuracy}
    timeouts = {**TRTLLM_AGGR["timeouts"], "accuracy_s": 60}
    servers = [{**server, "client_configs": [asking]}]
    return {**TRTLLM_AGGR, "engine": engine, "server_configs": servers, "timeouts": timeouts}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def records(rundir: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rundir.records.read_text().splitlines()]


def test_scores_reach_records_junit_and_table(project: Project, tmp_path: Path) -> None:
    (tmp_path / "models" / "some_model").mkdir(parents=True)
    folder = str(tmp_path / "models" / "some_model")
    minimum = {"gsm8k": {"exact_match,flexible-extract": 0.88}}
    case = aggregated({"gsm8k": {"extra_kwargs": {"num_fewshot": 5}}}, engine="trtllm", minimum=minimum)
    finished = project.run(case, f"--disagg-models-root={tmp_path / 'models'}")
    assert_green(finished)
    rundir = project.rundir("aggr-case")
    assert "stand-in lm_eval: no lm-evaluation-harness here" in (rundir.path / "accuracy_eval_gsm8k.0.log").read_text()
    assert list((rundir.path / "accuracy_eval_gsm8k.0").rglob("results_*.json"))
    (told,) = json.loads((rundir.results / "accuracy.json").read_text())
    address = rundir.log("SERVER_0").read_text().partition("listens on ")[2].partition(":")
    port = address[2].partition(":")[0].split()[0]
    assert told["command"][6] == f"model={folder},base_url=http://127.0.0.1:{port}/v1/completions"
    assert (told["ended"], told["lm_eval_version"]) == ("exit code 0", "0.0.0 (stand-in)")
    (record,) = records(rundir)
    assert record[f"d_{SCORE}"] == 0.95
    (test,) = finished.tests().values()
    found = properties(test)
    assert (found["disagg_points"], found["disagg_accuracy.verdict"]) == ("con2 accuracy", "pass")
    assert found[f"disagg_accuracy.{SCORE}"] == "0.95"
    assert found["disagg_verdict"] == "insufficient-history"
    assert "accuracy: gsm8k exact_match,flexible-extract 0.95 ± 0.0061: at least 0.88" in finished.out


def test_a_wrong_answer_is_functional_and_no_history(project: Project, tmp_path: Path) -> None:
    """Every task is run whatever became of the one before it."""
    minimum = {"poor": {"exact_match,flexible-extract": 0.88}}
    tasks = {"broken": None, "silent": None, "poor": {"model": "local-chat-completions"}}
    history = tmp_path / "history"
    finished = project.run(aggregated(tasks, minimum=minimum), f"--disagg-history={history}")
    headline, found = outcome_of(finished)
    assert headline == (
        "functional: accuracy: broken: lm_eval ended with exit code 1: RuntimeError: API request failed after 3 retries"
    )
    (test,) = finished.tests().values()
    text = str(test.findtext("failure"))
    where = f"{project.folder}/test_configs/case.yaml:"
    below = text.index("functional: accuracy: poor exact_match,flexible-extract 0.712 is below 0.88 (")
    assert where in text[below:]
    assert (
        "server_configs.0.client_configs.0.accuracy_config.minimum.poor.exact_match,flexible-extract)" in text[below:]
    )
    silent = "invalid: accuracy: silent: lm_eval ended with exit code 0, but there is no results_*.json below"
    assert text.index(silent) > below
    assert (found["disagg_verdict"], found["disagg_kind"]) == ("failed", "functional")
    assert (found["disagg_con2.verdict"], found["disagg_accuracy.verdict"]) == ("insufficient-history", "failed")
    rundir = project.rundir("aggr-case")
    outcome = json.loads(rundir.outcome.read_text())
    assert (outcome["cause"]["role"], outcome["cause"]["stage"]) == ("BENCHMARK", "accuracy")
    assert outcome["cause"]["evidence"][-1] == "RuntimeError: API request failed after 3 retries"
    (record,) = records(rundir)
    assert record["d_accuracy_poor_exact_match_flexible_extract"] == 0.712
    assert not list(history.rglob("*.jsonl"))


def test_accuracy_alone_measures_no_load_and_passes_for_its_scores(project: Project) -> None:
    finished = project.run(aggregated({"gsm8k": None}, only=True, minimum={"gsm8k": {"exact_match": 0.9}}))
    assert_green(finished)
    (test,) = finished.tests().values()
    found = properties(test)
    assert (found["disagg_verdict"], found["disagg_points"], found["disagg_records"]) == ("pass", "accuracy", "")
    rundir = project.rundir("aggr-case")
    assert not rundir.records.exists()
    stages = json.loads(rundir.outcome.read_text())["stage_times"]
    assert "accuracy" in stages
    assert not {"measure", "warm-up"} & stages.keys()


def test_a_task_without_an_end_is_ended(project: Project) -> None:
    case = aggregated({"endless": None}, only=True)
    headline, _ = outcome_of(project.run(case, "--disagg-set=timeouts.accuracy_s=1.5"))
    waited = "waited 1.5 s (timeouts.accuracy_s) for lm_eval endless to end; last seen: "
    assert headline.startswith(f"functional: BENCHMARK failed in stage accuracy: {waited}")
    assert [process for process in psutil.process_iter(["cmdline"]) if _mine(process, project)] == []


def test_a_task_that_is_cut_off_asks_the_deployment_no_more(
    project: Project, make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of it while its role goes on: it judges, stores and waits for the others."""
    monkeypatch.setenv("PATH", project.path)
    load = replace(LOAD, accuracy=(AccuracyTask("endless"),))
    limits = {"accuracy_s": 1.0}
    with socket.create_server(("127.0.0.1", 0)) as silent, make_session(load=load, timeouts=limits) as session:
        with pytest.raises(RunError, match=r"waited 1 s \(timeouts\.accuracy_s\) for lm_eval endless to end"):
            list(evaluate(session, f"http://127.0.0.1:{silent.getsockname()[1]}", 0, None, [load]))
        left = [child.cmdline() for child in psutil.Process().children(recursive=True)]
        assert not [words for words in left if "endless" in " ".join(words)]


def test_a_deployment_that_died_is_the_cause_of_the_task_that_failed(
    project: Project, make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died() -> None:
        raise RunError("SERVER_0 was killed by SIGKILL", kind="infrastructure", stage="accuracy")

    monkeypatch.setenv("PATH", project.path)
    load = replace(LOAD, accuracy=(AccuracyTask("gsm8k"),))
    with make_session(load=load) as session:
        monkeypatch.setattr(session, "settle", died)
        with pytest.raises(RunError, match="SERVER_0 was killed by SIGKILL"):
            list(evaluate(session, "http://127.0.0.1:9", 0, None, [load]))


def _mine(process: psutil.Process, project: Project) -> bool:
    return any(str(project.folder) in word for word in process.info["cmdline"] or ())
