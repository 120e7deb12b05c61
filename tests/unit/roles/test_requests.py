"""What an engine is asked for, and what its servers say of their start."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_disagg.config.case import Case
from pytest_disagg.engines.sim.engine import SimEngine
from pytest_disagg.roles.requests import Place, Published, coordinator_request, server_request
from pytest_disagg.roles.startup import collect_startup
from tests.unit.roles.conftest import SessionFactory


class WithSecret(SimEngine):
    def secrets(self, case: Case) -> tuple[str, ...]:
        return ("key",)

    def startup(self, url: str, timeout_s: float) -> Mapping[str, Any] | None:
        return {"url": url, "load_s": 1.5} if "gen" in url else None


def test_a_request_holds_the_site_and_the_runs_secrets(make_session: SessionFactory) -> None:
    session = make_session(engine=WithSecret(), models_root=Path("/models"), llm_src=Path("/src"))
    session.rundir.make()
    asked = server_request(
        session, session.case.servers[0], "SERVER_0", 0, Place({"etcd": "e:1"}, 1, 2, "m:3", {"key": "k"})
    )
    assert (asked.node_rank, asked.nodes, asked.rendezvous, asked.lead) == (1, 2, "m:3", {"key": "k"})
    assert (asked.site.services, asked.site.shared_dir) == ({"etcd": "e:1"}, session.rundir.shared)
    assert asked.site.shared_dir.is_dir()
    assert (asked.site.models_root, asked.site.llm_src) == (Path("/models"), Path("/src"))
    assert asked.site.secrets == {"key": (session.rundir.secrets / "key").read_text()}
    assert asked.secrets_dir == session.rundir.secrets / "SERVER_0"
    assert stat.S_IMODE(asked.secrets_dir.stat().st_mode) == 0o700
    also = coordinator_request(
        session, "DISAGG_SERVER", ctx=[Published("a:1", {"port": "9"})], gen=[Published("b:2")], services={}
    )
    assert (also.ctx_facts, also.gen_facts) == ([{"port": "9"}], [{}])
    assert (also.ctx, also.gen, also.site.secrets) == (["a:1"], ["b:2"], asked.site.secrets)
    port = asked.site.port()
    assert 0 < port < 65536
    session.ports.close()


def test_what_servers_say_of_their_start_is_kept(make_session: SessionFactory) -> None:
    session = make_session(engine=WithSecret())
    session.rundir.make()
    path = session.rundir.results / "startup_metrics.1.json"
    collect_startup(session, {"CTX_0": "http://ctx"}, 1)
    assert not path.exists()
    collect_startup(session, {}, 1)
    assert not path.exists()
    collect_startup(session, {"CTX_0": "http://ctx", "GEN_0": "http://gen"}, 1)
    assert json.loads(path.read_text()) == {"GEN_0": {"url": "http://gen", "load_s": 1.5}}
