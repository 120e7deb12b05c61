"""The engine and the client that docs/engines.md and docs/clients.md show really run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/engines.md"
CLIENTS = PAGE.with_name("clients.md")
README = PAGE.parents[1] / "README.md"


def examples(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def project(folder: Path) -> None:
    """What the page and the README tell a person to write."""
    conftest = []
    for text in (
        *examples(PAGE, "python"),
        *examples(CLIENTS, "python"),
        *examples(PAGE, "yaml"),
        examples(README, "python")[0],
    ):
        name = text.partition("\n")[0].removeprefix("# ")
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if name != "conftest.py":
            path.write_text(text, encoding="utf-8")
        elif "pytest_disagg_skip" not in text:
            conftest.append(text)
    (folder / "conftest.py").write_text("\n\n".join(conftest), encoding="utf-8")


def test_the_engine_and_the_client_of_the_page_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISAGG_SERVING_TYPE", "DISAGG_RUN_ID", "DISAGG_CONFIG_DIR", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    project(pytester.path)
    pytester.makeini("[pytest]\n")
    result = pytester.run(
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "toy", "--disagg-client=second", timeout=120
    )
    result.assert_outcomes(passed=1)
    (file,) = pytester.path.glob("disagg-runs/*/aggr-toy/results/records.jsonl")
    (record,) = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert (record["s_engine"], record["s_client_tool"], record["b_is_valid"]) == ("toy", "second", True)
    assert record["d_total_output_tokens"] == 4 * 4 * 32
    # Each decode step of the toy sleeps 2 ms: what is measured is its server, not a stand-in.
    assert record["d_median_tpot"] >= 2.0
