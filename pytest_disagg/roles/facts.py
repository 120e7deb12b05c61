"""What the gate has to know of one measured load."""

from __future__ import annotations

from pytest_disagg.records.summary import gaps_s
from pytest_disagg.roles.points import Point
from pytest_disagg.verdict.gate import PointFacts


def facts_of(name: str, point: Point) -> PointFacts:
    """The plain facts of ``point``; token counts are over successful requests."""
    result = point.result
    done = [sample for sample in result.samples if sample.ok]
    failed = [sample for sample in result.samples if not sample.ok]
    health = result.health
    return PointFacts(
        point=name,
        concurrency=point.load.concurrency,
        num_prompts=result.point.num_prompts,
        ok=len(done),
        failed=len(failed),
        output_tokens=sum(sample.output_tokens for sample in done),
        asked_tokens=sum(sample.asked_tokens for sample in done),
        achieved_concurrency=result.achieved_concurrency,
        paced=point.load.request_rate is not None,
        ignore_eos=result.point.ignore_eos,
        usage_reported=all(sample.usage_reported for sample in done),
        empty_requests=sum(sample.output_tokens == 0 for sample in done),
        errors=[sample.error for sample in failed],
        lag_p99_ms=health.lag_p99_ms if health else None,
        cpu_ratio=health.cpu_ratio if health else None,
        device_step_rows=point.device_rows,
        device_step_problem=point.problem,
        metrics=point.metrics,
        samples={"itl": sum(len(gaps_s(sample)) for sample in done)},
    )
