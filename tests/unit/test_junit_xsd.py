"""The junit schema that other tests validate against: what pytest writes is valid, what Jenkins refuses is not."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import xmlschema

XSD = Path(__file__).resolve().parents[1] / "data" / "junit.xsd"
PREFIX = "{http://www.w3.org/2001/XMLSchema}"

MODULE = """
import pytest

def test_passes(record_property, record_testsuite_property):
    record_testsuite_property("run_id", "r1")
    record_property("con8.median_ttft", 12.5)
    record_property("verdict", "pass")
    print("some output")

def test_fails(record_property):
    record_property("kind", "functional")
    raise AssertionError("CTX_1 died <&> \\x1b[31m")

@pytest.fixture
def broken():
    raise RuntimeError("no")

def test_errors(broken):
    pass

def test_skips():
    pytest.skip("no GPU")

@pytest.mark.parametrize("case", ["disagg-e2e-x/y"])
def test_parametrized(case):
    pass
"""


@pytest.fixture(scope="module")
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(XSD))


@pytest.fixture(scope="module")
def strict() -> xmlschema.XMLSchema:
    """The schema without its addition, properties of a testcase."""
    tree = ElementTree.parse(XSD)
    (choice,) = (
        each for each in tree.iter(f"{PREFIX}choice") if each.find(f"{PREFIX}element[@id='addition']") is not None
    )
    choice.remove(choice[0])
    return xmlschema.XMLSchema(ElementTree.tostring(tree.getroot(), encoding="unicode"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pytest writes for a module with every kind of result."""
    directory = tmp_path_factory.mktemp("junit")
    (directory / "test_it.py").write_text(MODULE)
    path = directory / "r.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "."]
    options = ["-o", "junit_logging=all", f"--junitxml={path}", "test_it.py"]
    result = subprocess.run(
        [*command, *options], cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert path.exists(), result.stdout + result.stderr
    return path


def test_pytests_report_is_valid(schema: xmlschema.XMLSchema, report: Path) -> None:
    schema.validate(str(report))
    assert ElementTree.parse(report).getroot().find(".//testcase/properties/property") is not None


def test_properties_of_a_testcase_are_all_that_the_addition_is_for(strict: xmlschema.XMLSchema, report: Path) -> None:
    tree = ElementTree.parse(report)
    assert not strict.is_valid(tree.getroot())
    for testcase in tree.iter("testcase"):
        for properties in testcase.findall("properties"):
            testcase.remove(properties)
    strict.validate(tree.getroot())


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('<testsuites><testsuite name="a" tests="0" failures="0" errors="0"/></testsuites>', True),
        ('<testsuite name="a" tests="1" failures="0" errors="0"><testcase name="t"/></testsuite>', True),
        ('<testsuite name="a" tests="0" failures="0" errors="0" time="1,234.567"/>', True),
        ('<testsuite name="a" tests="0" failures="0" errors="0" time="soon"/>', False),
        ('<testsuite name="a" tests="0" failures="0"/>', False),
        ('<testsuite name="a" tests="1" failures="0" errors="0"><testcase/></testsuite>', False),
        ('<testsuite name="a" tests="1" failures="0" errors="0"><testcase name="t" line="3"/></testsuite>', False),
        ('<testsuite name="a" tests="1" failures="0" errors="0"><case name="t"/></testsuite>', False),
        ('<report name="a"/>', False),
    ],
)
def test_what_jenkins_takes(schema: xmlschema.XMLSchema, text: str, valid: bool) -> None:
    assert schema.is_valid(text) is valid
