"""From measured points to a gate and records: used to confirm a suspicion during the run, and to conclude it."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from pytest_disagg.records import record as records
from pytest_disagg.roles.deployment import deployment_fields, group_of
from pytest_disagg.roles.facts import facts_of
from pytest_disagg.roles.planning import Planned
from pytest_disagg.roles.points import Point
from pytest_disagg.roles.quarantine import standing_of
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.verdict.gate import Finding, GateResult, combine, evaluate


def gate_of(session: RoleSession, name: str, points: Sequence[Point]) -> GateResult:
    """One gate over all repeats of a load."""
    doubted = GateResult(tuple(Finding("invalid", f"{name}: {doubt}") for doubt in session.doubts))
    gate = combine([*(evaluate(facts_of(name, point), session.case.gate) for point in points), doubted])
    if session.case.rehearsal:
        # A rehearsal proves that the case runs, not that its numbers can be trusted.
        return GateResult(tuple(each for each in gate.findings if each.kind == "functional"), gate.low_n)
    return gate


def record_of(session: RoleSession, planned: Planned, point: Point, gate: GateResult) -> records.Record:
    """The record of one point, not yet judged."""
    manifest = planned.manifest
    git, slurm, ci = manifest["git"]["config"], manifest["slurm"], manifest["ci"]
    ours = ci.get("s_commit", git.get("sha", "")) == git.get("sha", "")
    quarantine = standing_of(session).words
    identity = records.Identity(
        run_id=session.options.run_id,
        created_ms=int(time.time() * 1000),
        gpu_type=planned.gpu,
        cluster=slurm.get("SLURM_CLUSTER_NAME", ""),
        node_group=group_of(session),
        host=socket.gethostname(),
        git_sha=git.get("sha", ""),
        git_branch=git.get("branch", ""),
        # The build's commit can be that of another repository: then nothing is known of changes beside it.
        git_dirty=git.get("dirty") if ours else None,
        stage_name=session.options.stage_name,
        client_tool=point.result.tool,
        client_tool_version=point.result.tool_version,
        package_version=manifest["version"],
        extra={
            "b_profiled": session.case.nsys or None,
            "b_quarantined": bool(quarantine) or None,
            "s_quarantine": quarantine or None,
            "s_container_image": manifest["container"]["image"],
            "s_rerun_of": manifest["rerun_of"],
            "s_slurm_job_id": slurm.get("SLURM_JOB_ID"),
            "s_slurm_nodes": slurm.get("SLURM_JOB_NODELIST"),
            "s_slurm_partition": slurm.get("SLURM_JOB_PARTITION"),
            **deployment_fields(session, None if session.case.roles else f"SERVER_{point.server_index}"),
            **ci,
        },
    )
    judgement = records.Judgement(
        valid=gate.ok, invalid_reason="; ".join(finding.text for finding in gate.findings), low_n=gate.low_n
    )
    return records.build(
        session.case,
        point.spec,
        point.load,
        metrics=point.metrics,
        identity=identity,
        repeat=point.repeat,
        judgement=judgement,
    )
