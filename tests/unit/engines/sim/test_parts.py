from __future__ import annotations

import base64
import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.engines.sim import metrics
from pytest_disagg.engines.sim.balance import Instance, Pool
from pytest_disagg.engines.sim.faults import Faults
from pytest_disagg.engines.sim.kv import BlockStore, decode_handle, encode_handle
from pytest_disagg.engines.sim.model import TimingModel
from pytest_disagg.engines.sim.settings import Fault, Timing
from pytest_disagg.engines.sim.truth import TruthLog
from pytest_disagg.engines.sim.web import frame


def model(seed: int = 0, **timing: Any) -> TimingModel:
    return TimingModel(Timing(**timing), random.Random(seed))


class TestModel:
    def test_the_stated_formulas(self) -> None:
        plain = model(decode_step_ms=5, decode_step_per_request_ms=0.5, prefill_tokens_per_s=1000, startup_s=3)

        assert plain.step_s(10) == pytest.approx(0.010)
        assert plain.prefill_s(250) == pytest.approx(0.25)
        assert plain.startup_s() == 3
        assert model(kv_bytes_per_token=1000, kv_transfer_gbps=8).transfer_s(100) == pytest.approx(1e-4)

    def test_speedup_divides_every_time(self) -> None:
        slow, fast = model(startup_s=2), model(startup_s=2, speedup=4)

        for times in ("step_s", "prefill_s", "transfer_s"):
            assert getattr(fast, times)(100) == pytest.approx(getattr(slow, times)(100) / 4)
        assert fast.startup_s() == 0.5

    def test_noise_and_jitter_stay_around_the_model_and_follow_the_seed(self) -> None:
        noisy, same, other = (model(seed, step_noise=0.1, jitter=0.2) for seed in (1, 1, 2))
        steps = [noisy.step_s(1) for _ in range(2000)]

        assert steps == [same.step_s(1) for _ in range(2000)]
        assert steps[0] != other.step_s(1)
        assert statistics.fmean(steps) == pytest.approx(model().step_s(1), rel=0.02)
        assert statistics.stdev(steps) == pytest.approx(0.1 * model().step_s(1), rel=0.1)
        prefills = [noisy.prefill_s(100) / model().prefill_s(100) for _ in range(500)]
        assert 0.8 <= min(prefills) < 0.85
        assert 1.15 < max(prefills) <= 1.2

    def test_eos_ends_only_requests_that_heed_it(self) -> None:
        eos = model(eos_ratio=0.2)
        lengths = [eos.output_tokens(10, 2, False) for _ in range(500)]

        assert {eos.output_tokens(10, 2, True) for _ in range(50)} == {10}
        assert set(lengths) == set(range(2, 11))
        assert model().output_tokens(10, 1, False) == 10


class TestBlocks:
    def test_a_block_is_taken_once(self) -> None:
        store = BlockStore()
        key, block = store.issue(7)

        assert store.take(key) is block
        assert store.take(key) is None
        assert store.take("unknown") is None

    def test_abandoned_blocks_make_room(self) -> None:
        store = BlockStore(capacity=2)
        keys = [store.issue(1)[0] for _ in range(3)]

        assert len(store) == 2
        assert [store.take(key) is None for key in keys] == [True, False, False]

    @pytest.mark.parametrize("address", ["127.0.0.1:80", "node-1:1234", "[::1]:9"])
    def test_a_handle_names_server_and_block(self, address: str) -> None:
        assert decode_handle(encode_handle(address, "ab12")) == (address, "ab12")

    @pytest.mark.parametrize(
        "handle",
        [
            "",
            "%%%",
            base64.b64encode(b"[]").decode(),
            base64.b64encode(b"{}").decode(),
            encode_handle("no-port", "ab"),
            encode_handle("user@host:1", "ab") + "x",
            encode_handle("host:1/path", "ab"),
            encode_handle("host:1", "../health"),
        ],
    )
    def test_anything_else_is_no_handle(self, handle: str) -> None:
        with pytest.raises(ValueError):
            decode_handle(handle)


class TestFaults:
    def actions(self, count: int, *faults: Fault, seed: int = 0) -> list[str]:
        chosen = Faults(faults, random.Random(seed))
        return [chosen.next_request() for _ in range(count)]

    def test_without_faults_everything_is_served(self) -> None:
        assert self.actions(2) == ["serve", "serve"]

    def test_exit_acts_on_request_m_and_the_others_from_m_plus_one_on(self) -> None:
        assert self.actions(3, Fault("exit", after_requests=3)) == ["serve", "serve", "exit"]
        assert self.actions(3, Fault("fail_requests", after_requests=2)) == ["serve", "serve", "fail"]
        assert self.actions(3, Fault("empty_streams", after_requests=2)) == ["serve", "serve", "empty"]
        assert self.actions(4, Fault("hang", after_requests=2)) == ["serve", "serve", "hang", "hang"]

    def test_exit_without_requests_is_at_the_start(self) -> None:
        assert Faults([Fault("exit")], random.Random()).exits_at_start
        assert not Faults([Fault("exit", after_requests=1)], random.Random()).exits_at_start

    def test_a_ratio_is_drawn_with_the_seed(self) -> None:
        half = Fault("fail_requests", ratio=0.5)

        assert self.actions(50, half, seed=3) == self.actions(50, half, seed=3)
        assert 10 < self.actions(50, half).count("fail") < 40
        assert set(self.actions(50, Fault("fail_requests", ratio=0.0))) == {"serve"}


class TestPool:
    def pool(self, *healthy: bool) -> Pool:
        return Pool([Instance(f"GEN_{i}", f"h:{i}", state) for i, state in enumerate(healthy)])

    def test_servers_take_turns(self) -> None:
        pool = self.pool(True, True, True)

        assert [str(pool.next()) for _ in range(6)] == ["GEN_0 (h:0)", "GEN_1 (h:1)", "GEN_2 (h:2)"] * 2

    def test_only_healthy_servers_are_chosen(self) -> None:
        pool = self.pool(False, True, True)
        assert [str(pool.next()) for _ in range(3)] == ["GEN_1 (h:1)", "GEN_2 (h:2)", "GEN_1 (h:1)"]
        pool.instances[0].healthy = True
        assert [str(pool.next()) for _ in range(2)] == ["GEN_2 (h:2)", "GEN_0 (h:0)"]
        assert self.pool(False).next() is None
        assert Pool([]).next() is None


def test_metrics_are_read_as_they_are_written() -> None:
    page = metrics.render({"sim_requests_running": 9, "sim_iterations_total": 4, "sim_generation_tokens_total": 30})

    assert "# TYPE sim_requests_running gauge" in page
    assert "# TYPE sim_iterations_total counter" in page
    assert metrics.progress(page) == 34
    assert metrics.progress("# HELP x y\n") is None


def test_frames_are_http_chunks() -> None:
    assert frame(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_the_truth_log_appends_whole_lines(tmp_path: Path) -> None:
    log = TruthLog(tmp_path / "truth")
    log.add("r", 0, 2, 1.5)
    log.flush()
    log.flush()
    log.add("r", 1, 1, 1.5)
    log.close()

    entries = [json.loads(line) for line in (tmp_path / "truth").read_text().splitlines()]
    assert [(entry["request_id"], entry["chunk"], entry["tokens"]) for entry in entries] == [("r", 0, 2), ("r", 1, 1)]
    assert entries[0]["received_s"] == 1.5
    assert entries[0]["monotonic_s"] <= entries[1]["monotonic_s"]
