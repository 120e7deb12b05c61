"""The command line of ``lm_eval`` (lm-evaluation-harness; checked with 0.4.13) for one task.

Its words and their order are those of ``AccuracyConfig`` in TensorRT-LLM's ``test_perf_sanity.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_disagg.clients.tool.environment import without_proxy
from pytest_disagg.clients.tool.program import Program
from pytest_disagg.config.accuracy_tasks import AccuracyTask, Model

PROGRAM = "lm_eval"
LM_EVAL = Program(
    client=PROGRAM,
    distribution=PROGRAM,
    install="install it with: pip install 'lm_eval[api]' transformers",
    command=PROGRAM,
)
INCLUDE, CUSTOM = "include_path", "custom_config"
_PATHS: Mapping[Model, str] = {"local-completions": "v1/completions", "local-chat-completions": "v1/chat/completions"}


def unavailable(environ: Mapping[str, str]) -> str | None:
    """Why lm_eval cannot be run, with the command that installs it; None where it can."""
    reason = LM_EVAL.unavailable(environ)
    return f"accuracy: {reason}" if reason else None


def command(
    task: AccuracyTask,
    *,
    program: Sequence[str],
    model: str,
    tokenizer: str,
    url: str,
    output: Path,
    include: Path | None = None,
) -> tuple[str, ...]:
    """The argument list. ``url`` is ``http://host:port``, ``include`` the folder of a task's own definition.

    ``model`` is the name that requests carry, ``tokenizer`` the folder or hub name of its tokenizer; what the file adds
    to ``--model_args`` comes last, and so wins.
    """
    arguments = [f"model={model}", f"base_url={url}/{_PATHS[task.model]}"]
    if tokenizer != model:
        arguments.append(f"tokenizer={tokenizer}")
    if task.model_args_extra:
        arguments.append(task.model_args_extra)
    words = [*program, "--model", task.model, "--tasks", task.name, "--model_args", ",".join(arguments)]
    words += ["--log_samples", "--output_path", str(output)]
    included = task.extra_kwargs.get(INCLUDE) or include
    if included:
        words += [f"--{INCLUDE}", str(included)]
    for name, value in task.extra_kwargs.items():
        if name in (INCLUDE, CUSTOM) or value is False:
            continue
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return tuple(words)


def environment(task: AccuracyTask, url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What lm_eval runs in: ``environ`` and the task's own over it. It asks ``url`` without a proxy."""
    return without_proxy({**environ, **task.env}, url)
