"""The accuracy block: who asks for which tasks, and what the scores have to reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.accuracy_tasks import AccuracyTask, Limit, all_tasks, tasks_of
from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.settings import Settings
from pytest_disagg.errors import ConfigError, UsageError
from tests.unit.config.conftest import Write

Load = Callable[..., Case]
GSM8K: dict[str, Any] = {
    "model": "local-chat-completions",
    "model_args_extra": "num_concurrent=512,max_retries=3,",
    "extra_kwargs": {"apply_chat_template": True, "num_fewshot": 5, "trust_remote_code": False},
}
BLOCK: dict[str, Any] = {"enable_accuracy_test": True, "env_var": {"HF_HOME": "/hf", "N": 1}, "tasks": {"gsm8k": GSM8K}}


@pytest.fixture
def load(write: Write) -> Load:
    """A case of the file ``x.yaml``: text, then an accuracy block where there is one."""

    def load_it(case_id: str, text: str, accuracy: object = None, *, engine: str | None = None, **env: str) -> Case:
        block = yaml.safe_dump({"accuracy": accuracy}, sort_keys=False) if accuracy is not None else ""
        return load_case(case_id, path=write("x.yaml", text + block), settings=Settings(engine=engine), environ=env)

    return load_it


def problem(load: Load, text: str, accuracy: object) -> str:
    with pytest.raises(ConfigError) as error:
        load("disagg-e2e-x", text, accuracy)
    (found,) = error.value.problems
    return str(found).partition("x.yaml:")[2]


def test_a_task_as_its_file_gives_it(load: Load, disagg: str) -> None:
    minimum = {"gsm8k": {"exact_match,flexible-extract": 0.88, "exact_match,strict-match": 0.8}}
    maximum = {"gsm8k": {"word_perplexity": 12}}
    case = load("disagg-e2e-x", disagg, {**BLOCK, "minimum": minimum, "maximum": maximum})
    (task,) = all_tasks(case)
    assert (task.name, task.model, task.model_args_extra) == (
        "gsm8k",
        "local-chat-completions",
        "num_concurrent=512,max_retries=3",
    )
    assert task.extra_kwargs == GSM8K["extra_kwargs"]
    assert task.env == {"HF_HOME": "/hf", "N": "1"}
    assert [(limit.score, limit.value, limit.upper) for limit in task.limits] == [
        ("exact_match,flexible-extract", 0.88, False),
        ("exact_match,strict-match", 0.8, False),
        ("word_perplexity", 12.0, True),
    ]
    assert task.limits[0].key == "accuracy.minimum.gsm8k.exact_match,flexible-extract"
    assert case.notes == ()


def test_the_flat_form_gives_every_task_what_stands_beside_it(load: Load, disagg: str) -> None:
    flat = {"enable_accuracy_test": True, "model": "local-completions", "tasks": "gsm8k, mmlu"}
    tasks = all_tasks(load("disagg-e2e-x", disagg, {**flat, "model_args_extra": "timeout=1200"}))
    assert [(task.name, task.model, task.model_args_extra) for task in tasks] == [
        ("gsm8k", "local-completions", "timeout=1200"),
        ("mmlu", "local-completions", "timeout=1200"),
    ]


@pytest.mark.parametrize(
    "block", [{"enable_accuracy_test": False, "tasks": 7, "minimum": "x"}, {"tasks": "gsm8k"}, {}], ids=str
)
def test_a_block_that_is_not_enabled_is_not_looked_at(load: Load, disagg: str, block: object) -> None:
    case = load("disagg-e2e-x", disagg.replace("mode: e2e", "only_run_accuracy: true"), block)
    assert all_tasks(case) == []
    assert not case.clients[0].only_run_accuracy
    assert case.notes == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": {}}, "accuracy: found none, expected at least one task of lm_eval in tasks"),
        ({"task": {}}, "accuracy: found the unknown key 'task', expected 'tasks'"),
        ({"tasks": {"gsm8k": {"modle": "x"}}}, "accuracy.tasks.gsm8k: found the unknown key 'modle', expected 'model'"),
        ({"tasks": {"gsm8k": {"model": "hf"}}}, "accuracy.tasks.gsm8k.model: found 'hf', expected one of"),
        ({"tasks": {"gsm8k": {"extra_kwargs": {"a": [1]}}}}, "extra_kwargs: found a mapping, expected a mapping of na"),
        (
            {"minimum": {"gsm8": {"acc": 1}}},
            "found minimum of 'gsm8' (did you mean 'gsm8k'?), expected a limit of gsm8k",
        ),
        ({"minimum": {"gsm8k": {"acc": "0.9"}}}, "accuracy.minimum.gsm8k.acc: found '0.9', expected a number"),
        ({"minimum": {"gsm8k": 0.9}}, "accuracy.minimum.gsm8k: found 0.9, expected a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(load: Load, disagg: str, change: dict[str, Any], said: str) -> None:
    assert said in problem(load, disagg, {**BLOCK, **change})


def test_a_slip_is_found_in_a_block_that_it_turns_off(load: Load, disagg: str) -> None:
    found = problem(load, disagg, {"enable_acuracy_test": True, "tasks": "gsm8k"})
    assert "found the unknown key 'enable_acuracy_test', expected 'enable_accuracy_test'" in found


def test_keys_of_nobody_we_know_are_taken(load: Load, disagg: str) -> None:
    tasks = {"gsm8k": {"notes": "of somebody else"}}
    assert all_tasks(load("disagg-e2e-x", disagg, {**BLOCK, "tasks": tasks, "owner": "qa"}))


def test_modes_in_which_answers_mean_nothing(load: Load, disagg: str) -> None:
    text = disagg.replace("mode: e2e", "only_run_accuracy: true")
    case = load("disagg-gen_only_no_context-x", text, BLOCK)
    assert all_tasks(case) == []
    assert not case.clients[0].only_run_accuracy
    assert case.notes == ("accuracy is not run: without CTX servers the GEN servers make up the context",)
    # Nothing but its load opens the gate of a gen_only deployment, so the load cannot be left out.
    case = load("disagg-gen_only-x", text, BLOCK)
    assert len(all_tasks(case)) == 1
    assert not case.clients[0].only_run_accuracy
    assert [note.partition(":")[0] for note in case.notes] == ["only_run_accuracy"]
    (server,) = load("aggr-ctx_only-x", text, BLOCK).servers
    assert all(client.only_run_accuracy and client.accuracy for client in server.clients)


def test_loads_that_ask_for_the_same_are_answered_once(load: Load, disagg: str, aggregated: str) -> None:
    case = load("disagg-e2e-x", disagg, BLOCK)
    assert [positions for _, positions in tasks_of([each.accuracy for each in case.clients])] == [(0, 1)]
    limits = {"minimum": {"gsm8k": {"exact_match": 0.9}}}
    own = yaml.safe_dump({"accuracy_config": {**BLOCK, **limits}}, default_flow_style=True, width=9999).strip()[1:-1]
    text = aggregated.replace("name: first", f"name: first\n        {own}")
    first, second = load("aggr-x-large", text).servers[0].clients
    assert [task.limits[0].key for task in first.accuracy] == [
        "server_configs.1.client_configs.0.accuracy_config.minimum.gsm8k.exact_match"
    ]
    assert second.accuracy == ()
    both = text.replace("name: second", f"name: second\n        {own}")
    first, second = load("aggr-x-large", both).servers[0].clients
    assert tasks_of([first.accuracy, second.accuracy]) == [(first.accuracy[0], (0, 1))]
    other = both[::-1].replace("9.0", "8.0", 1)[::-1]
    first, second = load("aggr-x-large", other).servers[0].clients
    assert [positions for _, positions in tasks_of([first.accuracy, second.accuracy])] == [(0,), (1,)]


def test_a_block_of_a_whole_aggregated_file_is_every_clients(load: Load, aggregated: str) -> None:
    clients = load("aggr-x-large", aggregated, BLOCK).servers[0].clients
    assert [[task.name for task in client.accuracy] for client in clients] == [["gsm8k"], ["gsm8k"]]


def test_a_rehearsal_has_no_accuracy_and_says_so(load: Load, disagg: str) -> None:
    case = load("disagg-e2e-x", disagg.replace("mode: e2e", "only_run_accuracy: true"), BLOCK, engine="sim")
    assert all_tasks(case) == []
    assert {"rehearsal: accuracy on -> off", "rehearsal: only_run_accuracy True -> False"} <= set(case.notes)
    assert all_tasks(load("disagg-e2e-x", disagg, engine="sim", ACCURACY_CONFIG_JSON=json.dumps(BLOCK))) == []


def test_the_variable_counts_where_the_file_has_no_tasks(load: Load, disagg: str, aggregated: str) -> None:
    variable = {"ACCURACY_CONFIG_JSON": json.dumps({**BLOCK, "minimum": {"gsm8k": {"acc": 0.5}}})}
    (task,) = all_tasks(load("disagg-e2e-x", disagg, **variable))
    assert (task.name, task.limits[0].key) == ("gsm8k", "ACCURACY_CONFIG_JSON.minimum.gsm8k.acc")
    own = {**BLOCK, "tasks": {"mmlu": None}}
    assert [task.name for task in all_tasks(load("disagg-e2e-x", disagg, own, **variable))] == ["mmlu"]
    assert all_tasks(load("aggr-x-large", aggregated, **variable)) == []
    digests = {load("disagg-e2e-x", disagg, **env).digest for env in (variable, {})}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "ACCURACY_CONFIG_JSON: found '{', expected JSON"),
        ('{"enable_accuracy_test": true}', "ACCURACY_CONFIG_JSON: found none, expected at least one task"),
        (
            '{"enable_accuracy_test": true, "tasks": {"a": {"model": 1}}}',
            "ACCURACY_CONFIG_JSON: tasks.a.model: found 1, expected 'local-completions' or 'local-chat-completions'",
        ),
    ],
)
def test_a_variable_that_cannot_be_used(load: Load, disagg: str, text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load("disagg-e2e-x", disagg, ACCURACY_CONFIG_JSON=text)
    assert said in str(error.value)


def expected(**more: object) -> str:
    entry = {"dataset_name": "gsm8k", "expected_value": 95.0, "filter_type": "strict-match", **more}
    return yaml.safe_dump({"datasets": [entry]}, default_flow_style=True, width=9999).strip()


def test_what_older_files_expect_is_a_limit(load: Load, disagg: str) -> None:
    text = disagg.replace("  model_name: some_model", f"  model_name: some_model\n  accuracy: {expected(alpha=0.05)}")
    (task,) = all_tasks(load("disagg-e2e-x", text, BLOCK))
    (limit,) = task.limits
    assert (limit.score, limit.key) == ("exact_match,strict-match", "metadata.accuracy.datasets.0.expected_value")
    # 95 % less 1.645 x sqrt(2 x 50^2 / 1319) per cent, as in TensorRT-LLM's accuracy tests.
    assert limit.bound(1319) == pytest.approx(0.95 - 1.6449 * (2 * 0.5**2 / 1319) ** 0.5, abs=1e-5)
    other = text.replace("95.0", "95.0, higher_is_better: false, num_samples: 100")
    (limit,) = all_tasks(load("disagg-e2e-x", other, BLOCK))[0].limits
    assert limit.bound(1319) == limit.bound(None) == pytest.approx(0.95 + 1.6449 * (2 * 0.5**2 / 100) ** 0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("95.0", "much", "expected_value of it cannot be used"),
        ("95.0", "95.0, threshold_type: relative", "threshold_type is 'relative'"),
        ("dataset_name: gsm8k", "data: gsm8k", "its form of it cannot be used"),
    ],
)
def test_an_expectation_without_a_use_is_said(load: Load, disagg: str, old: str, new: str, said: str) -> None:
    line = expected().replace(old, new)
    text = disagg.replace("  model_name: some_model", f"  model_name: some_model\n  accuracy: {line}")
    case = load("disagg-e2e-x", text, BLOCK)
    assert all_tasks(case)[0].limits == ()
    (note,) = case.notes
    assert note.startswith("metadata.accuracy.datasets.0 is not compared: ")
    assert said in note
    assert load("disagg-e2e-x", text).notes == ()


def test_a_limit_without_a_filter_is_one_of_every_filter() -> None:
    limit = Limit("exact_match", 0.9, "key")
    assert limit.names("exact_match", "none")
    assert limit.names("exact_match", "strict-match")
    assert not limit.names("exact_match_stderr", "none")
    assert not Limit("exact_match,none", 0.9, "key").names("exact_match", "strict-match")
    assert AccuracyTask("a", limits=(limit,)) == AccuracyTask("a", limits=(Limit("exact_match", 0.9, "elsewhere"),))


def test_real_files_ask_for_nothing() -> None:
    spec = (Path(__file__).resolve().parents[3] / "../shared/spec/trtllm-configs/disaggregated").resolve()
    if not spec.is_dir():
        pytest.skip("../shared is not here")
    for path in spec.glob("*.yaml"):
        assert all_tasks(load_case(f"disagg-e2e-{path.stem}", path=path, environ={})) == []
