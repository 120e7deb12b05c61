"""`disagg submit` as a command: forms, inputs, what is written and what is refused."""

from __future__ import annotations

import argparse
import re
import stat
from pathlib import Path

import pytest
import yaml

from pytest_disagg.cli.main import main
from pytest_disagg.cli.submit_compatible import add_options
from tests.unit.launch.compat.conftest import DOCUMENT, PREFIX


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The inputs of a pipeline, in the current folder."""
    for name in ("DISAGG_CLUSTER", "DISAGG_CONFIG_DIR", "DISAGG_WORK_DIR", "SLURM_CLUSTER_NAME", "LLM_MODELS_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases/job.yaml").write_text(yaml.safe_dump(DOCUMENT))
    (tmp_path / "prefix.sh").write_text(f"export HF_TOKEN=hunter2hunter2\n{PREFIX}")
    (tmp_path / "srun.args").write_text("--container-image=i\n")
    (tmp_path / "list.txt").write_text("t.py::test_e2e[disagg_upload-e2e-job] TIMEOUT (60)\nt.py::x[disagg-e2e-no]\n")
    return tmp_path


COMMON = ("--launch-sh=out.sh", "--run-sh=/n/run", "--install-sh=/n/install")
FILES = ("--script-prefix=prefix.sh", "--srun-args=srun.args")
CI = ("submit", "--run-ci", "--test-list=list.txt", "--config-dir=cases", *COMMON, *FILES)


def test_the_script_is_written_and_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(CI) == 0
    said = capsys.readouterr().out
    text = (folder / "out.sh").read_text()
    assert stat.S_IMODE((folder / "out.sh").stat().st_mode) == 0o755
    assert text.startswith("export HF_TOKEN=hunter2hunter2\n")
    assert 'export runScript="/n/run"\nexport installScript="/n/install"\n' in text
    assert said.startswith(f"Launch script generated at: {folder / 'out.sh'}\nLaunch script:\n")
    assert said.endswith(f"# sbatch {folder / 'out.sh'}\n")
    assert "hunter2" not in said
    assert [path.name for path in folder.glob(".out.sh*")] == []


def test_the_page_names_every_export_and_option(folder: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/submit.md").read_text()
    (folder / "cases/one.yaml").write_text(yaml.safe_dump({**DOCUMENT, "environment": {}}))
    exports: set[str] = set()
    for case_id in ("disagg-e2e-one", "aggr-ctx_only-one"):
        (folder / "list.txt").write_text(f"t.py::test_e2e[{case_id}]\n")
        assert main(CI) == 0
        exports |= set(re.findall(r"^export (\w+)=", (folder / "out.sh").read_text(), re.MULTILINE))
    assert {name for name in exports - {"HF_TOKEN"} if f"`{name}`" not in page} == set()
    parser = argparse.ArgumentParser()
    add_options(parser)
    flags = {flag for action in parser._actions for flag in action.option_strings if flag not in ("-h", "--help")}
    assert {flag for flag in flags if not re.search(rf"{flag}\b(?!-)", page)} == set()


def test_functions_beside_the_draft_go_before_it(folder: Path) -> None:
    (folder / "draft.sh").write_text("gate\n")
    (folder / "slurm_ct_precheck_gate.sh").write_text("gate() { :; }\n")
    assert main([*CI, "--draft-launch-sh=draft.sh"]) == 0
    assert (folder / "out.sh").read_text().endswith("\n)\ngate() { :; }\ngate\n")


def test_a_config_file_with_given_prefix(folder: Path) -> None:
    assert main(["submit", "--config-yaml=cases/job.yaml", *COMMON, *FILES]) == 0
    assert 'export testOutputDir="$jobWorkspace/disagg-e2e-job"\n' in (folder / "out.sh").read_text()


def test_a_config_file_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["submit", "--config-yaml=cases/job.yaml", "--llm-src=src", "--work-dir=w", *COMMON, "--capture-nsys"]
    assert main([*argv, "--gen-nsys-start-stop=5-6"]) == 0
    text = (folder / "out.sh").read_text()
    assert text.startswith("#!/usr/bin/env bash\n#SBATCH --job-name=disagg-e2e-job\n")
    assert "TLLM_PROFILE_START_STOP=5-6" in text
    assert f"-o '{folder}/w/nsys.%q{{DISAGG_SERVING_TYPE}}" in text
    assert (folder / "w/test_list.txt").read_text() == "perf/test_perf_sanity.py::test_e2e[disagg-e2e-job]\n"
    assert main([*argv[:2], *COMMON]) == 4
    assert "found no --llm-src" in capsys.readouterr().err


def test_a_server_of_an_aggregated_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    servers = [{"name": name, "tensor_parallel_size": n, "client_configs": [{}]} for name, n in (("a", 1), ("b", 2))]
    document = {"metadata": {"model_name": "m"}, "hardware": {"gpus_per_node": 4}, "server_configs": servers}
    (folder / "cases/both.yaml").write_text(yaml.safe_dump(document))
    argv = ["submit", "--config-yaml=cases/both.yaml", *COMMON, *FILES]
    assert main(argv) == 4
    assert "--test-name: found nothing, expected one of a, b" in capsys.readouterr().err
    assert main([*argv, "--test-name=b"]) == 0
    assert 'export world_size="2"\n' in (folder / "out.sh").read_text()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["submit"], "expected one of CASE, --test-list or --config-yaml, --export-wrapper; found none"),
        (["submit", "x", "--export-wrapper=d"], "found 2 of them"),
        (["submit", "--run-ci", "--launch-sh=o"], "found nothing for --run-sh, --install-sh, --test-list"),
        (["submit", "--test-list=list.txt", *COMMON], "found nothing for --script-prefix, --srun-args"),
        ([*CI, "--config-yaml=x"], "found --test-list and --config-yaml, expected one of them"),
        ([*CI, "--engine=sim", "--set=a=b"], "found --engine, --set, which only `disagg submit CASE` knows"),
        ([*CI, "--nsys-start-stop=1-2"], "expected --capture-nsys beside it"),
        (
            [*CI, "--capture-nsys", "--ctx-nsys-start-stop=2-1"],
            "--ctx-nsys-start-stop: found '2-1', expected iterations",
        ),
        ([*CI, "--split-group=2"], "list.txt:2: 'disagg-e2e-no': found no such config file"),
        ([*CI, "--split-group=3"], "list.txt: found 2 tests, expected at least 3"),
        ([*CI, "--srun-args=no"], "no: found No such file or directory, expected srun arguments"),
        ([*CI, "--launch-sh=no/out.sh"], "--launch-sh: found no folder"),
        ([*CI[:-1], "--srun-args=cases"], "cases: found Is a directory"),
        (["submit", "--config-yaml=no.yaml", *COMMON, *FILES], "--config-yaml: found no file no.yaml"),
        (["submit", "--config-yaml=cases/job.yaml", *COMMON, FILES[0]], "expected both or none"),
    ],
)
def test_what_is_refused_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert main(argv) == 4
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (folder / "out.sh").exists()
