"""Case files for tests: written as text, because what is tested is how text is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

DISAGG = """\
metadata:
  model_name: some_model
benchmark:
  mode: e2e
  concurrency_list: '4 8'
  multi_round: 3
  input_length: 128
  output_length: 64
hardware:
  gpus_per_node: 4
  num_ctx_servers: 2
  num_gen_servers: 1
worker_config:
  gen:
    tensor_parallel_size: 8
    cache_transceiver_config: {backend: NIXL}
  ctx:
    tensor_parallel_size: 2
    pipeline_parallel_size: 2
    cache_transceiver_config: {backend: NIXL}
"""

AGGREGATED = """\
metadata:
  model_name: some_model
hardware:
  gpus_per_node: 4
server_configs:
  - name: small
    tensor_parallel_size: 1
    client_configs:
      - concurrency: 4
        iterations: 2
        isl: 16
        osl: 8
  - name: large
    tensor_parallel_size: 4
    client_configs:
      - name: first
        concurrency: 1
      - name: second
        concurrency: 2
"""

Write = Callable[..., Path]


@pytest.fixture
def disagg() -> str:
    """A disaggregated file of 21 lines: CTX 2 x (TP 2, PP 2), GEN 1 x TP 8."""
    return DISAGG


@pytest.fixture
def aggregated() -> str:
    """An aggregated file with the servers ``small`` (one unnamed load) and ``large`` (two named ones)."""
    return AGGREGATED


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write ``text`` to a file below the test's own folder and return its path."""

    def write_file(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_file
