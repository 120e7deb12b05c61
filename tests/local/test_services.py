"""What servers need before they start: begun beside the coordinator, told to everybody, stopped with the run.

The services here are small web servers of Python's; tests/dynamo has etcd and NATS.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from tests.pytester.conftest import AGGR, DISAGG, Finished, make_project, properties, run_pytest

CONFTEST = '''\
import json, os, sys
from pytest_disagg.engines import http
from pytest_disagg.engines.protocol import Launch, Seen, ServerRequest
from pytest_disagg.engines.sim.engine import SimEngine

SHARED = ServerRequest.__dataclass_fields__

class Leaning(SimEngine):
    """Simulated servers that do not start before two services answer, and note what they were told."""

    name = "leaning"

    def fronts_aggregated(self, case):
        return True

    def services(self, case):
        return ("first", "second")

    def service(self, request):
        assert list(request.data_dir.iterdir()) == []
        port = request.site.port()
        argv = [sys.executable, "-m", "http.server", "--bind", request.host, "--directory", str(request.data_dir)]
        if os.environ.get("BREAK") == f"start {request.name}":
            argv = [sys.executable, "-c", "import sys; sys.exit('no disk for me')"]
        return Launch((*argv, str(port)), address=f"{request.host}:{port}")

    def service_healthy(self, name, address, timeout_s):
        try:
            return Seen(http.get(f"http://{address}/", timeout_s).status == 200, "GET /")
        except OSError as error:
            return Seen(False, str(error))

    def server(self, request):
        launch = super().server(request)
        for name, address in request.site.services.items():
            assert http.get(f"http://{address}/", 5.0).status == 200
        (request.site.shared_dir / f"{request.role}.json").write_text(json.dumps(dict(request.site.services)))
        return launch

    def coordinator(self, request):
        if request.ctx:
            return super().coordinator(request)
        assert len(request.gen) == 1
        same = {name: getattr(request, name) for name in request.__dataclass_fields__ if name in SHARED}
        return super().server(ServerRequest(spec=request.case.servers[0], index=0, **same))

    def proof(self, case, url, timeout_s):
        if os.environ.get("BREAK") == "prove":
            return Seen(False, "no CTX server has seen it")
        return Seen(True, "")

def pytest_disagg_engines():
    return {"leaning": Leaning}
'''


def run(tmp_path: Path, case: str = DISAGG, *args: str, **env: str) -> tuple[Finished, str, RunDir]:
    """One run; its failure's text (empty where it is green) and its run directory."""
    project = make_project(tmp_path / "project", case=case.replace("engine: sim", "engine: leaning"))
    (project / "conftest.py").write_text(CONFTEST)
    argv = ("-p", "no:cacheprovider", "--junitxml=r.xml", "--disagg-work-dir=runs", *args)
    finished = run_pytest(project, *argv, DISAGG_RUN_ID="r", TMPDIR=str(tmp_path), **env)
    ((_, test),) = finished.tests().items()
    assert test.find("skipped") is None, finished.out
    failure = test.find("failure")
    rundir = RunDir.of(project / "runs", "r", properties(test)["disagg_case"])
    assert list(tmp_path.glob("disagg-services-*")) == []
    return finished, "" if failure is None else failure.text or "", rundir


def test_they_run_before_any_server(tmp_path: Path) -> None:
    finished, text, rundir = run(tmp_path)
    assert (finished.code, text) == (0, ""), finished.out
    owner = read_json(rundir.role("DISAGG_SERVER"))
    assert owner is not None
    told = {name.partition(".")[2]: address for name, address in owner["facts"].items()}
    assert list(told) == ["first", "second"]
    for role in ("GEN_0", "CTX_0"):
        assert json.loads((rundir.shared / f"{role}.json").read_text()) == told
    assert '"GET / HTTP/1.1" 200' in rundir.log("first").read_text()


def test_an_aggregated_case_starts_them_and_the_coordinator_itself(tmp_path: Path) -> None:
    """Once for all of its servers, one after another."""
    begin, end = AGGR.index("  - name: one"), AGGR.index("sim:")
    another = AGGR[begin:end].replace("name: one", "name: other")
    both = ("-k", "not -one and not -other", "--disagg-set=slurm.timeout=400")
    finished, text, rundir = run(tmp_path, AGGR[:end] + another + AGGR[end:], *both)
    assert (finished.code, text) == (0, ""), finished.out
    for index in range(2):
        assert sorted(json.loads((rundir.shared / f"SERVER_{index}.json").read_text())) == ["first", "second"]
    assert "listens on" in rundir.log("DISAGG_SERVER").read_text()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("start second", r"infrastructure: DISAGG_SERVER failed in stage launch: its second ended with exit code 1"),
        (
            "prove",
            r"BENCHMARK failed in stage probe: waited .* for a request to http://\S+ that shows its way through the "
            "servers; last seen: no CTX server has seen it",
        ),
    ],
)
def test_what_is_wrong_with_them_is_the_first_line(tmp_path: Path, broken: str, words: str) -> None:
    _, text, _ = run(tmp_path, DISAGG, "--disagg-set=timeouts.probe_s=3", BREAK=broken)
    assert re.search(words, text.partition("\n")[0]), text
    if broken.startswith("start"):
        assert "no disk for me" in text
