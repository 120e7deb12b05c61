"""One server over several nodes: a ``vllm serve`` on each of them, and what each is told of the others.

From vLLM 0.33.0: ``docs/serving/parallelism_scaling.md`` (``--nnodes``), ``docs/serving/data_parallel_deployment.md``
(internal load balancing) and ``vllm/engine/arg_utils.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_disagg.config.case import Case, ServerSpec
from pytest_disagg.engines.protocol import ServerRequest
from pytest_disagg.errors import Problem
from pytest_disagg.topology.problems import problem

SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "prefill_context_parallel_size")
"""Their product is the GPUs of a server. Attention and experts are split over these; no size of theirs adds any."""

DATA_PARALLEL = "data_parallel_size"
HANDSHAKE = "data_parallel_rpc_port"


def size_of(spec: ServerSpec, key: str) -> int:
    """A parallel size of the block; 1 where it says nothing."""
    return int(spec.engine_config.get(key) or 1)


def size_problems(case: Case, spec: ServerSpec, where: str) -> Iterator[Problem]:
    """Sizes that are none, and sizes that need other GPUs than the harness gives the server."""
    wrong = [
        problem(case, f"{where}.{key}", repr(value), "a positive integer")
        for key in SIZES
        if (value := spec.engine_config.get(key)) is not None and (type(value) is not int or value < 1)
    ]
    yield from wrong
    if wrong:
        return
    gpus = math.prod(size_of(spec, key) for key in SIZES)
    if gpus != spec.world_size:
        product = " x ".join(key for key in SIZES if size_of(spec, key) > 1) or "one GPU"
        yield problem(case, f"{where}.world_size", str(spec.world_size), f"{gpus}: {product}")
        return
    nodes = math.ceil(gpus / case.gpus_per_node)
    if nodes == 1:
        return
    replica = gpus // size_of(spec, DATA_PARALLEL)
    if gpus % case.gpus_per_node or (case.gpus_per_node % replica and replica % case.gpus_per_node):
        expected = f"whole nodes of {case.gpus_per_node} GPUs for each replica, or whole replicas on each node"
        yield problem(case, f"{where}.world_size", f"{gpus} GPUs, {replica} for each replica", expected)
    for key in ("distributed_executor_backend", "data_parallel_backend"):
        if (value := spec.engine_config.get(key)) not in (None, "mp"):
            yield problem(case, f"{where}.{key}", repr(value), "mp: every node starts a process of its own")


def among_nodes(request: ServerRequest) -> tuple[list[str], dict[str, str]]:
    """What this node's ``vllm serve`` is told of the others, and the facts of rank 0; empty for a server of one node.

    Whole data-parallel replicas on every node: each is told its ranks and where rank 0 takes their handshake. Else
    tensor and pipeline parallelism go over nodes: each is told its place and where rank 0 of torch.distributed is, and
    where there are several such replicas the port of their handshake, too.
    """
    if request.nodes == 1:
        return [], {}
    host, _, port = request.rendezvous.rpartition(":")
    host, rank = host.strip("[]"), request.node_rank
    headless = ["--headless"] if rank else []
    replicas = size_of(request.spec, DATA_PARALLEL)
    if replicas > 1 and replicas % request.nodes == 0:
        local = replicas // request.nodes
        start = ["--data-parallel-start-rank", str(rank * local)] if rank else []
        place = ["--data-parallel-size-local", str(local), *start]
        return [*headless, *place, "--data-parallel-address", host, "--data-parallel-rpc-port", port], {}
    place = ["--nnodes", str(request.nodes), "--node-rank", str(rank), "--master-addr", host, "--master-port", port]
    if replicas == 1:
        return [*place, *headless], {}
    shake = request.lead.get(HANDSHAKE) or str(request.site.port())
    return [*place, "--data-parallel-rpc-port", shake, *headless], {HANDSHAKE: shake}
