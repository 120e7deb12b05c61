from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from pytest_disagg.cli.main import main

GOOD = """\
metadata: {model_name: m}
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}
worker_config:
  gen: {tensor_parallel_size: 4}
  ctx: {tensor_parallel_size: 1}
"""


def test_check_says_how_many_cases_a_good_file_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD)
    assert main(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: ok (8 cases)\n"
    path.write_text(f"cases: [disagg-e2e]\n{GOOD}")
    assert main(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: ok (1 case)\n"


def test_check_looks_at_every_file_before_it_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good, worse = (tmp_path / name for name in ("bad.yaml", "good.yaml", "worse.yaml"))
    bad.write_text(GOOD.replace("gpus_per_node: 4", "gpus_per_node: 0").replace("size: 1", "size: one"))
    good.write_text(GOOD)
    worse.write_text("worker_config: {}\nmetadata: x: y\n")
    gone = tmp_path / "gone.yaml"
    assert main(["config", "check", *map(str, (bad, gone, good, worse))]) == 4
    out, err = capsys.readouterr()
    assert out == f"{good}: ok (8 cases)\n"
    assert err.splitlines() == [
        f"{bad}:2: hardware.gpus_per_node: found 0, expected a whole number of at least 1",
        f"{bad}:5: worker_config.ctx.tensor_parallel_size: found 'one', expected a whole number of at least 1",
        f"{gone}: found No such file or directory, expected a readable YAML file",
        f"{worse}:2: found mapping values are not allowed in this context, expected valid YAML",
    ]


def test_check_asks_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"engine: dynamo\ncases: [disagg-e2e]\n{GOOD}")
    assert main(["config", "check", str(path)]) == 4
    assert capsys.readouterr().err.startswith(f"{path}:6: worker_config.gen.backend: found nothing, expected one of ")
    path.write_text(f"engine: simm\ncases: [disagg-e2e]\n{GOOD}")
    assert main(["config", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{path}: ok (1 case), but engine 'simm' is not installed (known: ")
    assert "did you mean 'sim'?" in out


def test_check_resolves_each_offered_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"cases: [disagg-gen_only_no_context]\n{GOOD.replace('num_ctx_servers: 1', 'num_ctx_servers: 0')}")
    assert main(["config", "check", str(path)]) == 0
    path.write_text(path.read_text().replace("gen_only_no_context", "e2e"))
    assert main(["config", "check", str(path)]) == 4
    assert "hardware.num_ctx_servers: found 0, expected at least 1 for e2e" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("9" * 24, "2: hardware.gpus_per_node: found 999"),
        ("1", "2: hardware: found 5000005 ranks in all, expected at most 100000"),
    ],
)
def test_check_refuses_sizes_that_nobody_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str, words: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD.replace("gpus_per_node: 4", f"gpus_per_node: {size}").replace("size: 4", "size: 5000004"))
    assert main(["config", "check", str(path)]) == 4
    assert f"{path}:{words}" in capsys.readouterr().err


def test_check_finds_an_inverted_pair_of_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{GOOD}slurm: {{timeout: 7200, job_time: 01:00:00}}\n")
    assert main(["config", "check", str(path)]) == 4
    err = capsys.readouterr().err
    assert "slurm.timeout" in err
    assert "slurm.job_time" in err


def test_check_with_an_override(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD)
    assert main(["config", "check", str(path), "--set", "hardware.gpus_per_node=0"]) == 4
    assert "set by --disagg-set hardware.gpus_per_node=0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["config"], ["config", "chek", "x"], ["config", "check"], ["config", "schema", "x"]]
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 4
    assert capsys.readouterr().err


@pytest.mark.parametrize("kind", [[], ["disaggregated"], ["aggregated"]])
def test_schema_is_json_schema(kind: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema", *kind]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert ("anyOf" in schema) == (not kind)
