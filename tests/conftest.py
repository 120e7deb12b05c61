"""What more than one folder of tests needs from pytest itself."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest takes this from the conftests it loads at its start only, and tests/pytester is not always among those.
pytest_plugins = ["pytester"]

MEASURED = Path(__file__).parent / "perf"
"""What users run: its history is theirs."""
STORES = ("OPENSEARCH_URL", "OPEN_SEARCH_DB_BASE_URL")


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_not_ignored() -> None:
    """Nor is it in what tests start and interrupt, where these run in the background of a shell, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _no_history_of_anybody(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fixtures of a session run adds nothing to the history of whoever runs the tests, and uploads nothing."""
    if any(MEASURED in item.path.parents for item in request.session.items):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        # Not DISAGG_HISTORY: many tests take every variable of ours out of what they start.
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))
        for name in STORES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _own_history(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test is judged against what another one measured, or draws a page that it does not look at."""
    if MEASURED not in request.path.parents:
        monkeypatch.setenv("DISAGG_HTML", "none")
        name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data-of-tests" / name))
