"""Nsight Systems around a server: the words before its command, and the iterations that it profiles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.errors import UsageError

RANGE_VARIABLE = "TLLM_PROFILE_START_STOP"
DEFAULT_RANGE = "1-100"
OUTPUT_OF_ROLE = "nsys.%q{DISAGG_SERVING_TYPE}.rank%q{SLURM_PROCID}"
"""One report for each role and rank. nsys fills ``%q{NAME}`` from the environment."""
OUTPUT_ALONE = "nsys.rank%q{SLURM_PROCID}"
ENGINE_ENVIRONMENT: Mapping[str, str] = {
    "TLLM_PROFILE_RECORD_GC": "1",
    "TLLM_LLMAPI_ENABLE_NVTX": "1",
    "TLLM_TORCH_PROFILE_TRACE": "trace.json",
}
_RANGE = re.compile(r"(\d+)-(\d+)")


def nsys_prefix(output: Path | str, *, environment: Mapping[str, str] = ENGINE_ENVIRONMENT) -> list[str]:
    """The words that profile the command after them into ``output`` (without suffix; ``%q{NAME}`` is filled by nsys).

    The options are those of TensorRT-LLM's ``jenkins/scripts/perf/local/submit.py``: capture begins and ends with the
    CUDA profiler API, which the engine calls at the iterations of ``TLLM_PROFILE_START_STOP``. ``environment`` is set
    for the profiled command.

    Raises:
        UsageError: a value with a comma, which separates variables in nsys' list.
    """
    for name, value in environment.items():
        if "," in value:
            raise UsageError(f"nsys: {name}: found {value!r}, expected a value without a comma")
    variables = ",".join(f"{name}={value}" for name, value in environment.items())
    return [
        *("nsys", "profile", "-t", "cuda,nvtx,python-gil", "--sample", "cpu", "--cuda-graph-trace", "node"),
        *(("-e", variables) if variables else ()),
        *("--trace-fork-before-exec=true", "-f", "true", "--gpu-metrics-devices=none"),
        *("-c", "cudaProfilerApi", "--capture-range-end=stop", "--export=sqlite", "-o", str(output)),
    ]


def profile_range(text: str, source: str = RANGE_VARIABLE) -> str:
    """``text`` where it is a value of TLLM_PROFILE_START_STOP: ``A-B``, iterations A to B, several with commas.

    Raises:
        UsageError: anything else; ``source`` is where it was given.
    """
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if found is None or int(found[1]) > int(found[2]):
            raise UsageError(f"{source}: found {text!r}, expected iterations A-B with A <= B, such as {DEFAULT_RANGE}")
    return text
