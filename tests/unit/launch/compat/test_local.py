"""Script prefix and srun arguments that are made from the cluster file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.compat.local import Local
from pytest_disagg.launch.compat.script import launch_script
from tests.unit.launch.compat.conftest import MakeCase, inputs


def local(make_case: MakeCase, cluster: dict[str, Any], start: str = "disagg-e2e", **more: Any) -> Local:
    return Local(make_case(start), Cluster.model_validate(cluster), Path("/w d"), Path("/src"), **more)


def test_a_prefix(make_case: MakeCase) -> None:
    made = local(
        make_case,
        {
            "partition": "p",
            "account": "a",
            "time_limit": "01:30:00",
            "sbatch": ["--comment=x y"],
            "strip": ["--requeue"],
        },
        start="disagg_upload-e2e",
        models_root=Path("/models"),
        stage_name="GB200-1",
    )
    text = made.prefix()
    assert [line for line in text.splitlines() if line.startswith("#SBATCH")] == [
        "#SBATCH --job-name=disagg_upload-e2e-job",
        '#SBATCH "--output=/w d/slurm-%j.out"',
        "#SBATCH --nodes=6",
        "#SBATCH --ntasks=24",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --time=90",
        "#SBATCH --no-requeue",
        "#SBATCH --gres=gpu:4",
        "#SBATCH --partition=p",
        "#SBATCH --account=a",
        '#SBATCH "--comment=x y"',
    ]
    assert 'export jobWorkspace="/w d"\n' in text
    assert made.node == "perf/test_perf_sanity.py::test_e2e[disagg-e2e-job]"
    script = launch_script(inputs(made.case, prefix=text)).text
    assert (
        'export partialPytestCommandBenchmark="LLM_ROOT=/src LLM_BACKEND_ROOT=/src/triton_backend '
        "LLM_MODELS_ROOT=/models pytest -v perf/test_perf_sanity.py --test-prefix=GB200-1 "
        "'--test-list=/w d/test_list.txt' '--output-dir=/w d' -o junit_logging=out-err "
        "--junitxml='/w d'/report.\\${DISAGG_SERVING_TYPE}.xml\"\n"
    ) in script
    assert 'export testOutputDir="/w d/disagg_upload-e2e-job"\n' in script


def test_srun_arguments(make_case: MakeCase) -> None:
    cluster = {"container": "pyxis", "image": "r/i:t", "image_dir": "/i", "mpi": "pmix", "srun": ["--cpu-bind=none"]}
    script = launch_script(inputs(make_case(), srun_args=local(make_case, cluster).srun_args())).text
    array = script.partition("srunArgs=(\n")[2].partition("\n)\n")[0].replace('"', "").split("\n  ")
    assert array[0].strip() == "--container-name=disagg-$SLURM_JOB_ID"
    assert "--container-image=r/i:t" in array
    assert {"--cpu-bind=none", "--mpi=pmix", "--container-env=DISAGG_SERVING_TYPE"} <= set(array)
    assert local(make_case, {}).srun_args().strip() == ""
    with pytest.raises(UsageError, match="found apptainer, expected pyxis or none"):
        local(make_case, {"container": "apptainer", "image": "i.sif"}).srun_args()


def test_one_process_has_one_junit_file(make_case: MakeCase) -> None:
    assert '/report.xml"\n' in local(make_case, {}, start="aggr-ctx_only").prefix()
