"""Projects as users have them: a config directory and a three-line test module, nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest

# Loaded here, these survive a session inside this process, which ends by taking back all that it imported itself:
# the parts of PyYAML that are C would go on to raise the classes of a PyYAML that is gone.
import pytest_disagg.plugin.play  # noqa: F401

LIMIT_S = 300.0
"""No run here needs as long: a run that is still there after it hangs."""

TEST_MODULE = "def test_e2e(disagg_case):\n    disagg_case.run()\n"

TIMEOUTS = """\
timeouts:
  launch_s: 20
  ready_s: 20
  probe_s: 10
  warmup_s: 10
  stall_s: 10
  store_s: 10
  stop_s: 15
  grace_s: 3
"""
AGGR = f"""\
engine: sim
cases: [aggr]
metadata: {{model_name: sim-model}}
slurm: {{timeout: 180}}
hardware: {{gpus_per_node: 8}}
server_configs:
  - name: one
    tensor_parallel_size: 1
    max_batch_size: 16
    stream_interval: 1
    client_configs:
      - {{name: con2, concurrency: 2, iterations: 6, isl: 32, osl: 8}}
sim: {{decode_step_ms: 5}}
{TIMEOUTS}"""
"""One aggregated server; its id is ``aggr-<name>``."""

DISAGG = f"""\
engine: sim
cases: [disagg-e2e]
metadata: {{model_name: sim-model}}
slurm: {{timeout: 180}}
benchmark: {{concurrency_list: "2", multi_round: 6, input_length: 32, output_length: 8}}
hardware: {{gpus_per_node: 8, num_ctx_servers: 1, num_gen_servers: 1, share_nodes: true}}
worker_config:
  gen: {{tensor_parallel_size: 1, max_batch_size: 16, stream_interval: 1}}
  ctx: {{tensor_parallel_size: 1, max_batch_size: 16}}
sim: {{decode_step_ms: 5}}
{TIMEOUTS}"""
"""One CTX and one GEN server; its id is ``disagg-e2e-<name>``."""

ROLES = ("GEN_0", "CTX_0", "DISAGG_SERVER", "BENCHMARK")

TRTLLM_AGGR = """\
metadata: {model_name: some_model}
hardware: {gpus_per_node: 4}
server_configs:
  - {name: small, tensor_parallel_size: 1, client_configs: [{concurrency: 4, iterations: 2, isl: 16, osl: 8}]}
  - {name: large, tensor_parallel_size: 4, client_configs: [{concurrency: 1, iterations: 2, isl: 16, osl: 8}]}
"""
TRTLLM_DISAGG = """\
metadata: {model_name: some_model}
benchmark: {mode: e2e, concurrency_list: '4', multi_round: 3, input_length: 128, output_length: 64}
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}
worker_config:
  gen: {tensor_parallel_size: 4, cache_transceiver_config: {backend: NIXL}}
  ctx: {tensor_parallel_size: 4, cache_transceiver_config: {backend: NIXL}}
"""

NO_PAGE = {"DISAGG_HTML": "none"}
"""A page takes longer than many a session here; tests/local/test_report.py has those that want one."""
OURS = ("DISAGG_", "SLURM_", "AGG_CONFIG_FOLDER", "stageName", "LLM_MODELS_ROOT", "PYTEST_", "BOLT_ITER_MULT")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that the plugin or pytest reads, and ``more``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, **NO_PAGE, **more}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing around the tests decides what a project in a test does."""
    for name in os.environ:
        if name.startswith(OURS) and name != "PYTEST_CURRENT_TEST":
            monkeypatch.delenv(name)
    for name, value in NO_PAGE.items():
        monkeypatch.setenv(name, value)


@dataclass
class Finished:
    """A pytest session that is over."""

    code: int
    out: str
    folder: Path

    def suite(self, name: str = "r.xml") -> ElementTree.Element:
        return ElementTree.parse(self.folder / name).getroot()

    def tests(self, name: str = "r.xml") -> dict[str, ElementTree.Element]:
        """The ``testcase`` elements of a junit file by test name."""
        return {case.get("name", ""): case for case in self.suite(name).iter("testcase")}


@dataclass
class Session:
    """A pytest session in a process of its own. A process group, so that ending it ends whatever it started."""

    folder: Path
    args: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *self.args],
            cwd=self.folder,
            env=clean_environment(**self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> Finished:
        """Wait for its end; a session that hangs is killed (its roles end themselves then)."""
        try:
            out, _ = self.process.communicate(timeout=LIMIT_S)
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        return Finished(self.process.returncode, out, self.folder)


def run_pytest(folder: Path, *args: str, **env: str) -> Finished:
    return Session(folder, args, env).finish()


def make_project(folder: Path, **configs: str) -> Path:
    """``folder`` as a project whose config directory holds ``<name>.yaml`` for each of ``configs``."""
    (folder / "test_configs").mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_perf.py").write_text(TEST_MODULE)
    for name, text in configs.items():
        (folder / "test_configs" / f"{name}.yaml").write_text(text)
    return folder


def properties(test: ElementTree.Element) -> dict[str, str]:
    return {each.get("name", ""): each.get("value", "") for each in test.iter("property")}


def collected(result: pytest.RunResult) -> list[str]:
    """What stands in brackets in the lines of ``--collect-only -q``."""
    return [line.partition("[")[2][:-1] for line in result.outlines if "::" in line and line.endswith("]")]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """The current folder as a project; ``test_configs`` is there and empty."""
    write_ini(pytester, "")
    pytester.makepyfile(test_perf=TEST_MODULE)
    pytester.mkdir("test_configs")
    return pytester


def write_config(project: pytest.Pytester, name: str, text: str) -> Path:
    path = project.path / "test_configs" / f"{name}.yaml"
    path.write_text(text)
    return path


def write_ini(project: pytest.Pytester, text: str) -> None:
    (project.path / "pytest.ini").write_text(f"[pytest]\n{text}\n")
