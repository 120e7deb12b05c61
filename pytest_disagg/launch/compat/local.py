"""Script prefix and srun arguments of a job that no pipeline made them for: from the case and the cluster file."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.compat.commandline import LAUNCHER
from pytest_disagg.launch.compat.shelltext import Atom, in_double_quotes, literal
from pytest_disagg.launch.slurm.containers import container_of
from pytest_disagg.launch.slurm.plan import merged_options
from pytest_disagg.launch.slurm.script import directive
from pytest_disagg.topology.placement import Placement, place

TEST = "perf/test_perf_sanity.py"
DEFAULT_LIMIT_S = 2 * 3600.0


@dataclass(frozen=True)
class Local:
    """``llm_src`` is a TensorRT-LLM checkout that the nodes see; its perf-sanity test plays the roles."""

    case: Case
    cluster: Cluster
    work_dir: Path
    llm_src: Path
    models_root: Path | None = None
    stage_name: str = ""

    @property
    def test_list(self) -> Path:
        """A file with the one test; it has to be written before the job runs."""
        return self.work_dir / "test_list.txt"

    @property
    def node(self) -> str:
        """The test's node id. Local runs upload nothing."""
        case_id = self.case.id.text.replace("_upload-", "-", 1) if self.case.id.upload else self.case.id.text
        return f"{TEST}::test_e2e[{case_id}]"

    def prefix(self) -> str:
        """``#SBATCH`` lines, then the exports that a pipeline's prefix has.

        Raises:
            ConfigError, UsageError: a case that cannot be placed, an option that no ``#SBATCH`` line can hold.
        """
        placement = place(self.case)
        exports = {
            "jobWorkspace": str(self.work_dir),
            "llmSrcNode": str(self.llm_src),
            "stageName": self.stage_name,
            "perfMode": "false",
        }
        lines = [
            "#!/usr/bin/env bash",
            *(f"#SBATCH {directive(option)}" for option in self._directives(placement)),
            "set -Eeuo pipefail",
            *(f"export {name}={in_double_quotes(literal(value))}" for name, value in exports.items()),
            f"export pytestCommand={in_double_quotes(self._command(placement))}",
        ]
        return "\n".join(lines) + "\n"

    def srun_args(self) -> str:
        """The container of the cluster file, under one name for all steps, and its further srun options.

        Raises:
            UsageError: a container that is started by a command, not by srun.
        """
        if self.cluster.container == "apptainer":
            raise UsageError(
                "container: found apptainer, expected pyxis or none: `disagg submit CASE` and `disagg run` have it"
            )
        # The draft has no step that imports an image; enroot does so by itself, on every node.
        cluster = self.cluster.model_copy(update={"image_dir": None})
        paths = [path for path in (self.work_dir, self.llm_src, self.models_root) if path is not None]
        options = list(merged_options(container_of(cluster, paths, self.work_dir).options, cluster.srun, cluster.strip))
        options += [f"--mpi={cluster.mpi}"] if cluster.mpi else []
        words = [shlex.quote(option) for option in options]
        if self.cluster.container == "pyxis":
            words.insert(0, '"--container-name=disagg-$SLURM_JOB_ID"')
        return "\n".join(words) + "\n"

    def _directives(self, placement: Placement) -> tuple[str, ...]:
        cluster, gpus = self.cluster, placement.gpus_per_node
        limit_s = cluster.time_limit or self.case.job_time_s or DEFAULT_LIMIT_S
        own = [
            f"--job-name={self.case.id.text}",
            f"--output={str(self.work_dir).replace('%', '%%')}/slurm-%j.out",
            f"--nodes={placement.total_nodes}",
            f"--ntasks={placement.total_gpus}",
            f"--ntasks-per-node={gpus}",
            f"--time={math.ceil(limit_s / 60.0)}",
            "--requeue" if cluster.requeue else "--no-requeue",
        ]
        request = {"gres": f"--gres=gpu:{gpus}", "gpus-per-node": f"--gpus-per-node={gpus}"}
        own += [request[cluster.gpu_request]] if cluster.gpu_request in request else []
        own += [f"--partition={cluster.partition}"] if cluster.partition else []
        own += [f"--account={cluster.account}"] if cluster.account else []
        return merged_options(own, cluster.sbatch, cluster.strip)

    def _command(self, placement: Placement) -> list[Atom]:
        """TensorRT-LLM's perf-sanity test as its own local launcher calls it; one junit file for each role."""
        src = self.llm_src
        env = {"LLM_ROOT": str(src), "LLM_BACKEND_ROOT": str(src / "triton_backend")}
        if self.models_root is not None:
            env["LLM_MODELS_ROOT"] = str(self.models_root)
        words = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
        if placement.alone and placement.servers[0].world_size == 1:
            launcher = []
        else:
            launcher = [shlex.quote(str(src / "tensorrt_llm/llmapi" / LAUNCHER))]
        # Each step fills the reference in, not this script, so it is written as data here.
        report = "report.xml" if placement.alone else "report.${DISAGG_SERVING_TYPE}.xml"
        words += [
            *launcher,
            *("pytest", "-v", TEST),
            *([shlex.quote(f"--test-prefix={self.stage_name}")] if self.stage_name else []),
            shlex.quote(f"--test-list={self.test_list}"),
            shlex.quote(f"--output-dir={self.work_dir}"),
            *("-o", "junit_logging=out-err"),
            f"--junitxml={shlex.quote(str(self.work_dir))}/{report}",
        ]
        return list(literal(" ".join(words)))
