"""A rehearsal: a cluster's case played by the simulated engine on one machine, cut down to what that machine can do.

Every replacement is said, so that nobody takes the numbers for the cluster's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_disagg.config.case import NATIVE, LoadSpec, ServerSpec
from pytest_disagg.config.names import load_name
from pytest_disagg.config.settings import RehearseLimits

ENGINE = "sim"


def is_rehearsal(own_engine: str, override: str | None) -> bool:
    """Whether a file of ``own_engine`` is only simulated."""
    return override == ENGINE and own_engine != ENGINE


def cut_servers(servers: Sequence[ServerSpec], limits: RehearseLimits) -> tuple[tuple[ServerSpec, ...], list[str]]:
    """CTX and GEN servers within the limit, the larger kind cut first, one of each kept; and what was cut."""
    counts = [spec.count for spec in servers]
    while sum(counts) > limits.servers and max(counts) > 1:
        counts[counts.index(max(counts))] -= 1
    notes = [
        f"rehearsal: {spec.kind.upper()} servers {spec.count} -> {count}"
        for spec, count in zip(servers, counts, strict=True)
        if count != spec.count
    ]
    return tuple(replace(spec, count=count) for spec, count in zip(servers, counts, strict=True)), notes


def cut_loads(loads: Sequence[LoadSpec], limits: RehearseLimits) -> tuple[tuple[LoadSpec, ...], list[str]]:
    """The loads within the limits, equal ones once, and what was changed. A load keeps the name that its file gives."""
    cut: list[LoadSpec] = []
    notes: list[str] = []
    for load in loads:
        smaller, changed = _cut_load(load, limits)
        notes += [note for note in changed if note not in notes]
        if any(replace(smaller, name=other.name) == other for other in cut):
            notes.append(f"rehearsal: load {load.name} left out, it has become equal to another")
        else:
            cut.append(smaller)
    return tuple(cut), notes


def _cut_load(load: LoadSpec, limits: RehearseLimits) -> tuple[LoadSpec, list[str]]:
    concurrency = min(load.concurrency, limits.concurrency, limits.requests)
    iterations = min(load.iterations, max(1, limits.requests // concurrency))
    isl, osl = min(load.isl, limits.isl), min(load.osl, limits.osl)
    changes = [
        (name, before, after)
        for name, before, after in (
            ("concurrency", load.concurrency, concurrency),
            ("iterations", load.iterations, iterations),
            ("ISL", load.isl, isl),
            ("OSL", load.osl, osl),
            ("dataset", str(load.dataset_file) if load.dataset_file else "random prompts", "random prompts"),
            ("client", load.benchmark_client, NATIVE),
            ("use_nv_sa_benchmark", load.use_nv_sa_benchmark, False),
            ("accuracy", "on" if load.accuracy else "off", "off"),
            ("only_run_accuracy", load.only_run_accuracy, False),
        )
        if before != after
    ]
    derived = load.name == load_name(load.concurrency, load.iterations, load.isl, load.osl)
    smaller = replace(
        load,
        name=load_name(concurrency, iterations, isl, osl) if derived else load.name,
        concurrency=concurrency,
        iterations=iterations,
        isl=isl,
        osl=osl,
        dataset_file=None,
        benchmark_client=NATIVE,
        use_nv_sa_benchmark=False,
        only_run_accuracy=False,
        accuracy=(),
    )
    return smaller, [f"rehearsal: {name} {before} -> {after}" for name, before, after in changes]
