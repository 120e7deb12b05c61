"""The minimal junit file: valid, in the right place, never over another report."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema

from pytest_disagg.wrapper.command import interpret
from pytest_disagg.wrapper.junit import Junit, document, path_in_text, path_in_words
from pytest_disagg.wrapper.step import Step

XSD = Path(__file__).resolve().parents[2] / "data" / "junit.xsd"
COMMAND = "A=1 launch pytest 'perf/test_perf_sanity.py::test_e2e[disagg-e2e-x_1]' --junitxml=r.xml"


def step(role: str = "", rank: int = 0, run_dir: Path | None = None) -> Step:
    environ = {"DISAGG_SERVING_TYPE": role, "SLURM_PROCID": str(rank), "SLURM_JOB_ID": "5", "SLURMD_NODENAME": "n1"}
    return Step.of({**environ, "DISAGG_RUN_DIR": "" if run_dir is None else str(run_dir)})


@pytest.mark.parametrize("message", ["killed by SIGKILL", "a\x00b\x1b[31m <&> \ud800 é", "https://u:s3cr3t@h/"])
def test_the_document_is_valid_and_names_case_role_and_cause(message: str) -> None:
    text = document(step("GEN_0", 2), message, "details ]]> here", COMMAND)
    schema = xmlschema.XMLSchema(str(XSD))
    schema.validate(text)
    case = ElementTree.fromstring(text).find(".//testcase")
    assert case is not None
    assert (case.get("classname"), case.get("name")) == ("perf.test_perf_sanity", "test_e2e[disagg-e2e-x_1]")
    error = case.find("error")
    assert error is not None
    title = error.get("message") or ""
    assert title.startswith("infrastructure: GEN_0 rank 2 on node n1: ")
    assert (error.text or "").startswith(title)
    assert "details ]]> here" in (error.text or "")
    assert "s3cr3t" not in text


def test_a_command_without_a_test_id_still_gives_a_name() -> None:
    case = ElementTree.fromstring(document(step("CTX_1"), "x", "", "run.sh")).find(".//testcase")
    assert case is not None
    assert (case.get("classname"), case.get("name")) == ("slurm_run", "CTX_1")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("pytest --junitxml=a/r.xml", "a/r.xml"),
        ("pytest --junit-xml a/r.xml x", "a/r.xml"),
        ("pytest --periodic-junit --periodic-junit-xmlpath '/w s/results.xml'", "/w s/results.xml"),
        ("pytest --junitxml=a.xml --junitxml=b.xml", "b.xml"),
        ("pytest x", None),
        ("pytest --junitxml", None),
    ],
)
def test_the_file_that_pytest_was_asked_for(words: str, path: str | None) -> None:
    expected = None if path is None else Path(path)
    assert path_in_words(interpret(words, {}).argv) == expected
    assert path_in_text(words) == expected


def test_a_path_that_is_not_known_yet_is_not_guessed() -> None:
    assert path_in_text("pytest; --junitxml=$X/r.xml") is None


@pytest.mark.parametrize(
    ("role", "rank", "name"),
    [
        ("", 0, "r.xml"),
        ("", 2, "r.2.xml"),
        ("BENCHMARK", 0, "r.xml"),
        ("GEN_0", 0, "r.GEN_0.xml"),
        ("GEN_0", 3, "r.GEN_0.3.xml"),
    ],
)
def test_only_the_owner_of_the_results_writes_the_file_asked_for(
    tmp_path: Path, role: str, rank: int, name: str
) -> None:
    junit = Junit(step(role, rank), tmp_path, Path("sub/r.xml"))
    assert junit.write_error("x", "", {}) == tmp_path / "sub" / name
    assert (tmp_path / "sub" / name).exists()


def test_a_launcher_of_ours_gives_each_role_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "junit" / "GEN_0.xml"
    assert Junit(step("GEN_0", run_dir=tmp_path), tmp_path, path).write_error("x", "", {}) == path
    path.unlink()
    assert Junit(step("GEN_0", run_dir=tmp_path), tmp_path, None).write_error("x", "", {}) == path


def test_without_a_known_file_nothing_is_written(tmp_path: Path) -> None:
    assert Junit(step("GEN_0"), tmp_path, None).write_error("x", "", {}) is None
    assert not list(tmp_path.iterdir())


def test_a_report_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.xml"
    junit = Junit(step(), tmp_path, path)
    path.write_text("<testsuites/>")
    assert junit.write_error("x", "", {}) == tmp_path / "r.killed.xml"
    assert path.read_text() == "<testsuites/>"


def test_a_report_counts_as_written_only_if_it_is_new_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.xml"
    path.write_text("<testsuites/>")
    junit = Junit(step("GEN_0"), tmp_path, path)
    assert not junit.written
    own = tmp_path / "r.GEN_0.xml"
    own.write_text("<testsui")
    assert not junit.written
    own.write_text("<testsuites/>")
    assert junit.written
