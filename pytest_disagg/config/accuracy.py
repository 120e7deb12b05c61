"""The block ``accuracy`` (of a client: ``accuracy_config``): the lm_eval tasks of a case, and what they have to reach.

The keys are those of TensorRT-LLM's perf-sanity files; ``minimum`` and ``maximum`` are ours, and that harness passes
them over. What its older files expect (``metadata.accuracy.datasets``) is read too. A block that is not enabled is not
looked at, whatever it holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from pytest_disagg.config.accuracy_tasks import VARIABLE, AccuracyTask, Limit, Model
from pytest_disagg.config.fields import Flag, Text, unexpected
from pytest_disagg.config.text import closest, did_you_mean, one_of, shown
from pytest_disagg.errors import UsageError

ENABLED = "enable_accuracy_test"
FILTER = "flexible-extract"
_SLIP = 0.8


class _Shared(BaseModel):
    """A block that TensorRT-LLM defines: other keys are taken, unless they look like a slip of a known one."""

    model_config = ConfigDict(
        extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=(), defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        for word in data:
            if meant := closest(str(word), cls.model_fields, _SLIP):
                raise unexpected(repr(meant), f"the unknown key {str(word)!r}")
        return cls._one_form(data)

    @classmethod
    def _one_form(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return data


def _arguments(value: Any) -> Any:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(item, (str, int, float)) for item in value.values()):
        raise unexpected("a mapping of names to texts, numbers, true or false")
    return {str(name): item for name, item in value.items()}


def _environment(value: Any) -> Any:
    return {name: str(item) for name, item in _arguments(value).items()}


Arguments = Annotated[dict[str, Any], BeforeValidator(_arguments)]
Environ = Annotated[dict[str, str], BeforeValidator(_environment)]
Bounds = dict[str, dict[str, Annotated[float, Field(strict=True)]]]


class TaskBlock(_Shared):
    """One task: how lm_eval is to ask for it."""

    model: Model = Field(default="local-completions", description="which endpoint lm_eval asks")
    model_args_extra: Text = Field(default="", description="more key=value words for --model_args, with commas")
    extra_kwargs: Arguments = Field(default={}, description="more options of lm_eval; true: the bare flag, false: none")


def _with(beside: Mapping[str, Any], task: Any) -> Any:
    """A task's own keys over those that stand beside all tasks."""
    return {**beside, **(task or {})} if task is None or isinstance(task, Mapping) else task


class AccuracyBlock(_Shared):
    """Tasks that lm_eval runs against the deployment once its loads are done.

    In the flat form ``tasks`` is text with commas, and what every task says stands beside it.
    """

    enable_accuracy_test: Flag = False
    env_var: Environ = Field(default={}, description="environment of lm_eval")
    tasks: Annotated[dict[str, TaskBlock], WithJsonSchema({"type": ["object", "string", "null"]})] = Field(
        default={}, description="task -> how lm_eval is to ask for it"
    )
    minimum: Bounds = Field(default={}, description="task -> metric,filter -> the smallest score that passes")
    maximum: Bounds = Field(default={}, description="task -> metric,filter -> the largest score that passes")

    @classmethod
    def _one_form(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if data.get(ENABLED, False) is False:
            return {}
        beside = {name: data[name] for name in TaskBlock.model_fields if name in data}
        tasks = data.get("tasks")
        if isinstance(tasks, str):
            tasks = dict.fromkeys(name.strip() for name in tasks.split(",") if name.strip())
        if isinstance(tasks, Mapping):
            tasks = {str(name): _with(beside, task) for name, task in tasks.items()}
        return {**data, "tasks": {} if tasks is None else tasks}

    @model_validator(mode="after")
    def _limits_of_tasks(self) -> AccuracyBlock:
        if not self.enable_accuracy_test:
            return self
        if not self.tasks:
            raise unexpected("at least one task of lm_eval in tasks", "none")
        for side in ("minimum", "maximum"):
            for name in getattr(self, side):
                if name not in self.tasks:
                    hint = did_you_mean(name, self.tasks)
                    found = f"{side} of {name!r}" + (f" ({hint})" if hint else "")
                    raise unexpected(f"a limit of {one_of(self.tasks)}", found)
        return self

    def planned(self, key: str, expected: Mapping[str, tuple[Limit, ...]] | None = None) -> tuple[AccuracyTask, ...]:
        """Its tasks, none where it is not enabled. ``key`` is the block's own, ``expected`` are further limits."""
        return tuple(
            AccuracyTask(
                name=name,
                model=task.model,
                model_args_extra=task.model_args_extra.strip(" ,"),
                extra_kwargs=task.extra_kwargs,
                env=self.env_var,
                limits=(*self._limits(name, key), *(expected or {}).get(name, ())),
            )
            for name, task in self.tasks.items()
        )

    def _limits(self, task: str, key: str) -> Iterator[Limit]:
        for side, upper in (("minimum", False), ("maximum", True)):
            for score, value in getattr(self, side).get(task, {}).items():
                yield Limit(score, float(value), f"{key}.{side}.{task}.{score}", upper)


def expectations(metadata: Any) -> tuple[dict[str, tuple[Limit, ...]], list[str]]:
    """Task -> limits from ``metadata.accuracy.datasets``, in per cent there; and notes on entries without a use."""
    entries = metadata.get("datasets") if isinstance(metadata, Mapping) else None
    limits: dict[str, tuple[Limit, ...]] = {}
    notes = []
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        key = f"metadata.accuracy.datasets.{index}"
        try:
            found = _Expectation.model_validate(entry)
        except ValidationError as error:
            wrong = ".".join(map(str, error.errors()[0]["loc"])) or "its form"
            notes.append(f"{key} is not compared: {wrong} of it cannot be used")
            continue
        if found.threshold_type != "hypothesis_test":
            notes.append(f"{key} is not compared: threshold_type is {found.threshold_type!r}, not 'hypothesis_test'")
            continue
        limits[found.task] = (*limits.get(found.task, ()), found.limit(key))
    return limits, notes


class _Expectation(BaseModel):
    """An entry of TensorRT-LLM's older accuracy tests; percentages. Without ``num_samples``: as many as were asked."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, defer_build=True)
    dataset_name: str = ""
    name: str = ""
    expected_value: float
    filter_type: str = FILTER
    threshold_type: str = "hypothesis_test"
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    sigma: Annotated[float, Field(gt=0)] = 50.0
    num_samples: Annotated[int, Field(ge=1)] | None = None
    higher_is_better: bool = True

    @model_validator(mode="after")
    def _named(self) -> _Expectation:
        if not self.task:
            raise unexpected("a dataset_name")
        return self

    @property
    def task(self) -> str:
        return self.dataset_name or self.name

    def limit(self, key: str) -> Limit:
        return Limit(
            score=f"exact_match,{self.filter_type}",
            value=self.expected_value / 100,
            key=f"{key}.expected_value",
            upper=not self.higher_is_better,
            sigma=self.sigma / 100,
            alpha=self.alpha,
            samples=self.num_samples,
        )


def from_environment(environ: Mapping[str, str]) -> tuple[AccuracyTask, ...]:
    """The tasks of ``ACCURACY_CONFIG_JSON``; none where it is not set or not enabled.

    Raises:
        UsageError: it is no such block.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return ()
    try:
        return AccuracyBlock.model_validate(json.loads(text)).planned(VARIABLE)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(map(str, detail["loc"]))
        context = detail.get("ctx", {})
        found = context.get("found") or shown(detail["input"])
        expected = f"expected {context['expected']}" if "expected" in context else detail["msg"]
        raise UsageError(": ".join(filter(None, (VARIABLE, where, f"found {found}, {expected}")))) from None
    except ValueError as error:
        raise UsageError(f"{VARIABLE}: found {text[:40]!r}, expected JSON ({error})") from None
