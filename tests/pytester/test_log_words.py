"""Words in a log decide nothing: a server that starts well may say whatever it likes."""

from __future__ import annotations

from pathlib import Path

from tests.pytester.conftest import DISAGG, make_project, properties, run_pytest

# Every server's log begins with what other tools take for a failed start.
TALKATIVE = """\
from dataclasses import replace

from pytest_disagg.engines.sim.engine import SimEngine

WORDS = "ValueError OSError RuntimeError TimeoutError out of memory PMI2_Init failed to initialize"

class TalkativeEngine(SimEngine):
    def _talking(self, launch):
        script = f'echo "{WORDS}"; exec "$@"'
        return replace(launch, argv=("sh", "-c", script, "sh", *launch.argv))

    def server(self, request):
        return self._talking(super().server(request))

    def coordinator(self, request):
        return self._talking(super().coordinator(request))

def pytest_disagg_engines():
    return {"sim": TalkativeEngine}
"""


def test_error_words_of_a_healthy_start_end_nothing(tmp_path: Path) -> None:
    folder = make_project(tmp_path, one=DISAGG)
    (folder / "conftest.py").write_text(TALKATIVE)
    done = run_pytest(folder, "--junitxml=r.xml")
    assert done.code == 0, done.out
    ((_, test),) = done.tests().items()
    assert properties(test)["disagg_verdict"] == "insufficient-history"
    logs = Path(properties(test)["disagg_run_dir"]) / "logs"
    for role in ("GEN_0", "CTX_0", "DISAGG_SERVER"):
        assert "ValueError OSError" in (logs / f"{role}.log").read_text()
