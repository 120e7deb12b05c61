"""The command line of lm_eval, word by word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.accuracy.command import command, environment, unavailable
from pytest_disagg.clients.accuracy.custom import copy, find
from pytest_disagg.config.accuracy_tasks import AccuracyTask
from pytest_disagg.errors import ConfigError

URL = "http://node1:8333"


def words(task: AccuracyTask, **more: Any) -> list[str]:
    given: dict[str, Any] = {"program": ["lm_eval"], "model": "/models/m", "tokenizer": "/models/m", **more}
    return list(command(task, url=URL, output=Path("/run/accuracy_eval_gsm8k.0"), **given))


def test_every_word_of_a_plain_task() -> None:
    assert words(AccuracyTask("gsm8k", model_args_extra="num_concurrent=512,timeout=1200")) == [
        "lm_eval",
        "--model",
        "local-completions",
        "--tasks",
        "gsm8k",
        "--model_args",
        "model=/models/m,base_url=http://node1:8333/v1/completions,num_concurrent=512,timeout=1200",
        "--log_samples",
        "--output_path",
        "/run/accuracy_eval_gsm8k.0",
    ]


def test_chat_and_a_name_that_is_not_the_folder() -> None:
    found = words(AccuracyTask("gpqa", model="local-chat-completions"), model="served", program=["/v/bin/lm_eval"])
    assert found[0] == "/v/bin/lm_eval"
    assert found[6] == "model=served,base_url=http://node1:8333/v1/chat/completions,tokenizer=/models/m"


def test_more_options() -> None:
    more: dict[str, str | int | float | bool] = {
        "apply_chat_template": True,
        "trust_remote_code": False,
        "num_fewshot": 5,
        "custom_config": "x.yaml",
    }
    more["gen_kwargs"] = "temperature=0,until=a b"
    assert words(AccuracyTask("t", extra_kwargs=more), include=Path("/run/lm_eval_configs"))[10:] == [
        "--include_path",
        "/run/lm_eval_configs",
        "--apply_chat_template",
        "--num_fewshot",
        "5",
        "--gen_kwargs",
        "temperature=0,until=a b",
    ]
    assert words(AccuracyTask("t", extra_kwargs={"include_path": "/own"}))[10:] == ["--include_path", "/own"]


def test_the_servers_are_asked_without_a_proxy() -> None:
    task = AccuracyTask("t", env={"HF_HOME": "/hf", "A": "task"})
    found = environment(task, URL, {"A": "role", "https_proxy": "http://p:1", "no_proxy": "localhost"})
    assert found == {
        "A": "task",
        "HF_HOME": "/hf",
        "https_proxy": "http://p:1",
        "no_proxy": "localhost,node1",
        "NO_PROXY": "localhost,node1",
    }


def test_a_missing_program_is_said_with_what_installs_it(tmp_path: Path) -> None:
    said = unavailable({"PATH": str(tmp_path)})
    assert said is not None
    assert said.startswith("accuracy: the program lm_eval is not on PATH: install it with: pip install 'lm_eval[api]'")
    assert "DISAGG_LM_EVAL" in said
    named = unavailable({"PATH": str(tmp_path), "DISAGG_LM_EVAL": str(tmp_path / "gone")})
    assert named is not None
    assert "DISAGG_LM_EVAL: found" in named
    program = tmp_path / "lm_eval"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert unavailable({"PATH": str(tmp_path)}) is None
    assert unavailable({"PATH": "", "DISAGG_LM_EVAL": str(program)}) is None


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    """A task's definition with its helpers, in a TensorRT-LLM checkout."""
    path = tmp_path / "llm" / "tests" / "gpqa.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("task: gpqa\ndataset_path: LLM_MODELS_ROOT/datasets/gpqa\nx: !function utils.process\n")
    path.with_name("utils.py").write_text("def process(): ...\n")
    return path


def test_a_definition_is_copied_with_its_helpers(tmp_path: Path, definition: Path) -> None:
    task = AccuracyTask("gpqa", extra_kwargs={"custom_config": "tests/gpqa.yaml"})
    case_file = tmp_path / "cases" / "x.yaml"
    assert find(task, case_file=case_file, llm_src=tmp_path / "llm") == definition
    folder = tmp_path / "run" / "lm_eval_configs"
    copy(definition, folder, Path("/models"))
    assert (folder / "gpqa.yaml").read_text().splitlines()[1] == "dataset_path: /models/datasets/gpqa"
    assert (folder / "utils.py").read_text() == "def process(): ...\n"
    # A second task may have the same one; another definition of that name does not take its place.
    copy(definition, folder, Path("/models"))
    with pytest.raises(ConfigError, match=r"a second gpqa\.yaml, another than the one of a task before it"):
        copy(definition, folder, Path("/elsewhere"))


def test_a_definition_that_cannot_be_used(tmp_path: Path, definition: Path) -> None:
    case_file = definition.with_name("x.yaml")
    named = AccuracyTask("gpqa", extra_kwargs={"custom_config": "gpqa.yaml"})
    assert find(named, case_file=case_file, llm_src=None) == definition
    assert find(AccuracyTask("gpqa"), case_file=case_file, llm_src=None) is None
    both = AccuracyTask("gpqa", extra_kwargs={"custom_config": "gpqa.yaml", "include_path": "/own"})
    assert find(both, case_file=case_file, llm_src=None) is None
    with pytest.raises(ConfigError, match=r"gpqa: custom_config: found 'gone\.yaml', expected a file: .*gone\.yaml"):
        find(AccuracyTask("gpqa", extra_kwargs={"custom_config": "gone.yaml"}), case_file=case_file, llm_src=None)
    with pytest.raises(ConfigError, match="expected --disagg-models-root"):
        copy(definition, tmp_path / "out", None)
