"""Accuracy tasks of a run: what is found out before it, and what their scores mean for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.accuracy_tasks import AccuracyTask, Limit
from pytest_disagg.config.case import ServerSpec
from pytest_disagg.errors import ConfigError, RunError
from pytest_disagg.records.scores import Score
from pytest_disagg.roles.accuracy import Evaluation, check, planned, write
from pytest_disagg.roles.answers import answers_of
from pytest_disagg.roles.conclude import conclude
from pytest_disagg.roles.measure import Measurement
from pytest_disagg.roles.planning import Planned, point_names
from pytest_disagg.verdict.gate import Finding
from tests.unit.roles.conftest import LOAD, SessionFactory

GSM8K = AccuracyTask("gsm8k", limits=(Limit("exact_match", 0.9, "accuracy.minimum.gsm8k.exact_match"),))


def evaluation(value: float | None = 0.95, task: AccuracyTask = GSM8K, **more: Any) -> Evaluation:
    """One that ended well with one score; ``value`` None: without any."""
    scores = () if value is None else (Score(task.name, "exact_match", "none", value, samples=1319),)
    given: dict[str, Any] = {"server_index": 0, "loads": (0,), "spec": None, "argv": ("lm_eval",), **more}
    return Evaluation(task=task, ended="exit code 0", duration_s=3.0, scores=scores, **given)


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "lm_eval"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("DISAGG_LM_EVAL", str(program))


def test_what_would_keep_a_task_from_running_is_found_before_anything_starts(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(GSM8K, env={"HF_HOME": "<hf_home>"}, extra_kwargs={"limit": "<limit>"})
    with pytest.raises(ConfigError) as error:
        check(make_session(load=replace(LOAD, accuracy=(task,))))
    assert [(problem.key, problem.found) for problem in error.value.problems] == [
        ("accuracy.gsm8k.extra_kwargs.limit", "<limit>, which nothing fills"),
        ("accuracy.gsm8k.env_var.HF_HOME", "<hf_home>, which nothing fills"),
    ]
    task = replace(GSM8K, extra_kwargs={"custom_config": "gone.yaml"})
    with pytest.raises(ConfigError, match=r"gsm8k: custom_config: found 'gone\.yaml'"):
        check(make_session(load=replace(LOAD, accuracy=(task,))))
    monkeypatch.setenv("DISAGG_LM_EVAL", str(tmp_path / "gone"))
    check(make_session())
    with pytest.raises(RunError, match="accuracy: DISAGG_LM_EVAL: found") as missing:
        check(make_session(load=replace(LOAD, accuracy=(GSM8K,))))
    assert missing.value.kind == "infrastructure"


def test_definitions_lie_in_the_run_before_anything_is_deployed(make_session: SessionFactory, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.yaml").write_text(f"task: {name}\n")
    one, two = (AccuracyTask(name, extra_kwargs={"custom_config": f"{name}/own.yaml"}) for name in ("a", "b"))
    session = make_session(load=replace(LOAD, accuracy=(one,)))
    check(session)
    assert (session.rundir.path / "lm_eval_configs" / "own.yaml").read_text() == "task: a\n"
    with pytest.raises(
        ConfigError, match=r"b/own\.yaml: found a second own\.yaml, another than the one of a task before"
    ):
        check(make_session(load=replace(LOAD, accuracy=(one, two))))
    (tmp_path / "b" / "utils.py").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"utils\.py: found .*invalid start byte, expected the helpers of a task"):
        check(make_session(work_dir=tmp_path / "other", load=replace(LOAD, accuracy=(two,))))


def test_loads_share_a_task_or_have_a_folder_of_their_own() -> None:
    chat = replace(GSM8K, model="local-chat-completions")
    loads = [replace(LOAD, accuracy=(task,)) for task in (GSM8K, chat, GSM8K)]
    assert list(planned(1, loads)) == [
        (GSM8K, (0, 2), "accuracy_eval_gsm8k.1"),
        (chat, (1,), "accuracy_eval_gsm8k.1.1"),
    ]


def test_the_words_of_a_runs_scores(make_session: SessionFactory) -> None:
    session = make_session()
    unlimited = replace(GSM8K, limits=())
    broken = Finding("functional", "accuracy: mmlu: lm_eval ended with exit code 1")
    for found, word in (
        ([evaluation()], "pass"),
        ([evaluation(task=unlimited)], "insufficient-history"),
        ([evaluation(task=unlimited), evaluation(task=replace(GSM8K, name="b"))], "pass"),
        ([evaluation(0.89)], "failed"),
        ([evaluation(), evaluation(None, problem=broken)], "failed"),
        ([evaluation(task=replace(GSM8K, limits=(Limit("acc", 0.1, "k"),)))], "invalid"),
    ):
        answers = answers_of(session, found)
        assert (answers.word, answers.words) == (word, {"accuracy": word})
        assert answers.wrong == (word == "failed")
    assert answers_of(session, []).word == "insufficient-history"


def test_several_servers_have_points_of_their_own(make_session: SessionFactory) -> None:
    one, two = (ServerSpec("server", name, "m", 1, 1, {}) for name in ("one", "two"))
    found = [evaluation(spec=one), evaluation(0.5, spec=two, server_index=1, loads=(0, 2))]
    answers = answers_of(make_session(), found)
    assert answers.words == {"one/accuracy": "pass", "two/accuracy": "failed"}
    assert answers.metrics["two/accuracy"] == {"accuracy_gsm8k_exact_match": 0.5}
    assert answers.fields((0, 0)) == {"d_accuracy_gsm8k_exact_match": 0.95}
    assert [answers.fields((1, index)) for index in range(3)] == [
        {"d_accuracy_gsm8k_exact_match": 0.5},
        {},
        {"d_accuracy_gsm8k_exact_match": 0.5},
    ]


def test_the_cause_has_the_last_lines_of_the_log(make_session: SessionFactory) -> None:
    broken = Finding("functional", "accuracy: gsm8k: lm_eval ended with exit code 1")
    answers = answers_of(make_session(), [evaluation(None, problem=broken, evidence=("boom",))])
    failure = answers.failure("BENCHMARK", broken)
    assert failure is not None
    assert (failure.stage, failure.kind, failure.evidence) == ("accuracy", "functional", ("boom",))
    assert answers.failure("BENCHMARK", Finding("functional", "con2: 1 of 2 requests failed")) is None


def test_fewer_samples_than_the_task_has_are_said(make_session: SessionFactory) -> None:
    answers = answers_of(make_session(), [evaluation(cut=14000)])
    assert answers.lines[-1] == "accuracy: gsm8k: 1319 of its 14000 samples were asked"


def test_what_is_written_of_a_task_holds_no_secret(make_session: SessionFactory) -> None:
    session = make_session()
    session.rundir.make()
    secret = "hf_" + "a1B2" * 8
    write(session, [evaluation(argv=("lm_eval", "--hf_hub_log_args", f"token={secret}"))])
    text = (session.rundir.results / "accuracy.json").read_text()
    assert secret not in text
    (told,) = json.loads(text)
    assert told["scores"][0]["metric"] == "accuracy_gsm8k_exact_match"


def test_a_run_that_measured_nothing_is_invalid(make_session: SessionFactory) -> None:
    load = replace(LOAD, only_run_accuracy=True, accuracy=(GSM8K,))
    with make_session(load=load) as session:
        assert point_names(session.case) == {}
        measurement = Measurement(session, planned=Planned.of(session, checked=False))
        outcome = conclude(measurement, None)
        assert (outcome.verdict, outcome.kind, outcome.red) == (
            "invalid",
            "invalid",
            ("invalid: nothing was measured",),
        )
        measurement.evaluations.append(evaluation())
        outcome = conclude(measurement, None)
        assert (outcome.verdict, outcome.kind, outcome.red) == ("pass", None, ())
        assert outcome.words == {"accuracy": "pass"}
