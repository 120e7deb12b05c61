"""The frontend, modes, and what has to be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.engines import registry
from pytest_disagg.engines.dynamo.engine import DynamoEngine
from pytest_disagg.errors import ConfigError
from tests.unit.engines.dynamo.conftest import AGGREGATED, DOCUMENT, ENGINE, LoadCase, coordinator, server, workers


def test_it_is_known_by_name() -> None:
    assert isinstance(registry.get("dynamo"), DynamoEngine)


def test_the_frontend(load: LoadCase) -> None:
    block = {"router_mode": "kv", "enforce_disagg": True, "router_kv_events": False, "router_queue_threshold": None}
    launch = coordinator(load(coordinator_config=block, environment={"server_env_var": "DYN_LOG=debug"}))
    assert launch.argv == (
        *("/dyn/python", "-m", "dynamo.frontend", "--http-host", "10.0.0.1", "--http-port", "5001"),
        *("--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq"),
        *("--router-mode", "kv", "--enforce-disagg", "--no-router-kv-events"),
    )
    assert launch.address == "10.0.0.1:5001"
    assert launch.env["DYN_LOG"] == "debug"
    assert launch.env["DYN_SDK_DISABLE_ANSI_LOGGING"] == "1"
    assert "DYN_SYSTEM_PORT" not in launch.env


def test_an_aggregated_worker_is_behind_a_frontend(load: LoadCase) -> None:
    case = load(AGGREGATED)
    assert ENGINE.fronts_aggregated(case)
    assert coordinator(case, ctx=(), gen=("10.0.0.1:1",)).argv[2] == "dynamo.frontend"


def test_a_worker_is_healthy_when_it_serves_requests(load: LoadCase) -> None:
    launch = server(load(), "ctx")
    assert launch.env["DYN_SYSTEM_HOST"] == "10.0.0.1"
    assert launch.env["DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS"] == '["generate"]'
    assert launch.address == f"10.0.0.1:{launch.env['DYN_SYSTEM_PORT']}"
    assert launch.address_file is None


def test_dynamo_reads_the_port_of_its_health_as_a_signed_number(load: LoadCase) -> None:
    asked: list[int | None] = []

    def port(*, highest: int | None = None, **_: object) -> int:
        asked.append(highest)
        return 5001

    server(load(), "ctx", port=port)
    assert asked == [32767]


def test_what_the_file_says_of_logs_lies_above_and_of_discovery_does_not(load: LoadCase) -> None:
    case = load(environment={"worker_env_var": "DYN_SDK_DISABLE_ANSI_LOGGING=0 DYN_NAMESPACE=mine"})
    env = server(case, "gen").env
    assert "DYN_SDK_DISABLE_ANSI_LOGGING" not in env
    assert env["DYN_NAMESPACE"].startswith("disagg-")


def test_numa(load: LoadCase) -> None:
    case = load(slurm={"numa_bind": True})
    assert server(case, "gen").argv[:3] == ("numactl", "-m 0,1", "/dyn/python")
    assert coordinator(case).argv[0] == "/dyn/python"


@pytest.mark.parametrize("key", ["http_port", "request_plane", "model_name", "tls_cert_path"])
def test_what_the_frontend_cannot_be_given(load: LoadCase, key: str) -> None:
    """Found by whoever starts first."""
    case = load(coordinator_config={key: "x"})
    with pytest.raises(ConfigError, match=rf"coordinator_config\.{key}: found 'x', expected "):
        coordinator(case)
    with pytest.raises(ConfigError, match=rf"coordinator_config\.{key}: found 'x', expected "):
        server(case, "gen")


def test_gen_only_is_refused(load: LoadCase) -> None:
    with pytest.raises(ConfigError, match=r"mode: found gen_only, expected e2e or ctx_only: Dynamo has no gate"):
        server(load(cases=["disagg-gen_only"]), "gen")


def test_ctx_only_is_an_aggregated_case(load: LoadCase) -> None:
    launch = server(
        load({**DOCUMENT, **workers("mocker", ctx={"speedup_ratio": 3.0})}, cases=["aggr-ctx_only"]), "server"
    )
    assert "--disaggregation-mode" not in launch.argv
    assert launch.argv[7:9] == ("--speedup-ratio", "3.0")


def test_unavailable(load: LoadCase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = load()
    assert ENGINE.unavailable(case) == "DISAGG_DYNAMO_PYTHON: /dyn/python is no program that can be started"
    monkeypatch.setenv("DISAGG_DYNAMO_PYTHON", "sh")
    reason = ENGINE.unavailable(case)
    assert reason is not None
    assert reason.startswith(
        "model m: no folder of that name below --disagg-models-root (python tests/dynamo/make_model"
    )
    assert ENGINE.unavailable(load(environment={"model_path": str(tmp_path)})) is None
    assert ENGINE.unavailable(load(metadata={"model_name": "org/m"})) is None
    assert ENGINE.unavailable(load(**workers("sglang"))) is None
    monkeypatch.delenv("DISAGG_DYNAMO_PYTHON")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = ENGINE.unavailable(case)
    assert reason is not None
    assert reason.startswith("Dynamo is not installed here (bash tests/dynamo/install.sh prints")
