"""The workers: ``python -m dynamo.mocker``, ``.sglang``, ``.trtllm`` or ``.vllm``, from a server's block.

Options are those of Dynamo 1.6.1 (``dynamo/<backend>/{args,backend_args}.py``, ``common/configuration/groups/
{runtime,router}_args.py``) and, where it hands them on, of the engine inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml as pyyaml

from pytest_disagg.config.case import Case, ServerKind, ServerSpec
from pytest_disagg.config.overrides import unshared
from pytest_disagg.config.text import did_you_mean, one_of
from pytest_disagg.engines.models import model_path
from pytest_disagg.engines.options import Style, as_json, block_of, key_problems, keys, refuse, without
from pytest_disagg.engines.protocol import ServerRequest
from pytest_disagg.engines.vllm.flags import SERVE
from pytest_disagg.engines.vllm.kv import OPTION, transfer, transfer_problems
from pytest_disagg.engines.vllm.nodes import DATA_PARALLEL, among_nodes, size_problems
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.process.ports import UNDRAWN
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.topology.problems import problem

MODES: Mapping[ServerKind, tuple[str, ...]] = {
    "ctx": ("--disaggregation-mode", "prefill"),
    "gen": ("--disaggregation-mode", "decode"),
    "server": (),
}
BACKEND = "backend"
BOOTSTRAP = "bootstrap_port"
TENSOR, PIPELINE, CONTEXT = "tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size"
SIZES = (TENSOR, PIPELINE, CONTEXT)
OF_THE_HARNESS = frozenset(
    "mode concurrency name model_name disagg_run_type gpus gpus_per_node match_mode client_configs server_env_var "
    f"world_size extra_llm_api_config_path {BACKEND}".split()
)
"""Keys of a server's block that are not the worker's."""

_RUN = "nothing: the run gives it"
_OWNED = refuse(
    ("metadata.model_name, and environment.model_path for its files", "model model_path served_model_name"),
    (_RUN, "namespace endpoint disaggregation_mode is_prefill_worker is_decode_worker"),
    ("the discovery block of the file", "discovery_backend request_plane event_plane"),
)
_NODES = refuse(
    ("nothing: the run places nodes and ranks", "nnodes node_rank headless"),
    (_RUN, "host port dist_init_addr master_addr master_port"),
)
_NO_MEETING = "nothing: a mocker that decodes takes a request when it has been prefilled, without a port to meet at"
_SIZE = f"{TENSOR}, {PIPELINE}: they are what places a server, too"
TRTLLM_OPTIONS = keys(
    "allowed_local_media_path connector conversation_affinity conversation_affinity_dp_rank_source "
    "custom_jinja_template dump_config_to enable_multimodal encode_endpoint endpoint_types engine_request_limit "
    "exclude_tools_when_tool_choice_none fpm_trace frontend_decoding health_check_payload kv_block_size "
    "kv_state_endpoint max_file_size_mb modality model_loader_extra_config output_modalities override_engine_args "
    "publish_kv_events publish_metrics response_plane"
)
TRTLLM_FAMILIES = ("dyn_", "router_", "tcp_tls_", "nats_tls_")
"""Options of ``dynamo.trtllm`` itself, and what others of them begin with. All other keys are TensorRT-LLM's, and go to
its file."""

ON = keys(
    "exclude_tools_when_tool_choice_none dyn_enable_structural_tag router_kv_events router_track_active_blocks "
    "router_assume_kv_reuse router_track_prefill_tokens"
)
"""Switches of Dynamo's own that are on unless they are told otherwise."""
MOCKER = Style(two_way=ON | keys("enable_prefix_caching enable_chunked_prefill"))
SGLANG = Style(two_way=ON)
"""SGLang's own switches have no ``--no-``."""


@dataclass(frozen=True)
class Worker:
    """Words after ``python -m dynamo.<backend>``, variables, files (path -> text), and facts for its other nodes."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Backend:
    """``build`` is told the request and the worker's own keys. ``sizes``: which of the parallel sizes it takes.

    ``owned`` maps a key that must not be in its block to what is expected instead; ``problems`` finds what else is
    wrong with the block of a server, which lies at a key. ``every_node``: each node of a server starts a process.
    ``launcher`` is what ranks of several nodes run under.
    """

    build: Callable[[ServerRequest, Mapping[str, Any]], Worker]
    owned: Mapping[str, str]
    sizes: tuple[str, ...]
    problems: Callable[[Case, ServerSpec, str], Iterator[Problem]] = lambda case, spec, where: iter(())
    every_node: bool = False
    launcher: tuple[str, ...] = ()


def _mocker(request: ServerRequest, block: Mapping[str, Any]) -> Worker:
    """One process, whatever its sizes: what is served there takes only as long as work on that many GPUs would."""
    options = without(block, SIZES)
    if options.get("ais_perf_model") and request.spec.tp > 1:
        options = {"ais_tp_size": request.spec.tp, **options}
    model = ("--model-path", _path(request), "--model-name", request.spec.model)
    return Worker((*model, *MODES[request.spec.kind], *MOCKER.words(options)))


def _sglang(request: ServerRequest, block: Mapping[str, Any]) -> Worker:
    """Every node runs the same command with its rank.

    Nothing listens on ``--port``, but on ports that SGLang counts from it where its attention is data-parallel, which
    for two workers of a node have to be others. The bootstrap server of a prefill worker is asked by decode workers and
    by all of its own ranks, so those of other nodes are told the leader's port.
    """
    spec, host, facts = request.spec, request.host, {}
    argv = ["--model-path", _path(request), "--served-model-name", spec.model, *MODES[spec.kind]]
    argv += ["--host", host, "--port", str(request.site.port(highest=UNDRAWN))]
    if request.nodes > 1:
        argv += ["--nnodes", str(request.nodes), "--node-rank", str(request.node_rank)]
        argv += ["--dist-init-addr", request.rendezvous]
    else:
        argv += ["--nccl-port", str(request.site.port())]
    if spec.kind == "ctx":
        port = request.lead.get(BOOTSTRAP) or str(request.site.port())
        argv += ["--disaggregation-bootstrap-port", port]
        facts = {BOOTSTRAP: port}
    argv += [*_size("--tp-size", spec.tp), *_size("--pp-size", spec.pp)]
    return Worker((*argv, *SGLANG.words(without(block, SIZES))), {"SGLANG_HOST_IP": host}, facts=facts)


def _trtllm(request: ServerRequest, block: Mapping[str, Any]) -> Worker:
    """TensorRT-LLM's keys of the block are its file, as for ``trtllm-serve``; the file lies over Dynamo's defaults."""
    spec = request.spec
    own = {key: value for key, value in block.items() if key in TRTLLM_OPTIONS or str(key).startswith(TRTLLM_FAMILIES)}
    rest = without(block, own)
    path = request.config_dir / f"engine.{spec.kind}.{safe_name(spec.name)}.yaml"
    text: str = pyyaml.safe_dump(rest, sort_keys=False, default_flow_style=False)
    model = ("--model-path", _path(request), "--served-model-name", spec.model)
    options = (*MODES[spec.kind], "--extra-engine-args", str(path), *SERVE.words(own))
    return Worker((*model, *options), files={path: text})


def _vllm(request: ServerRequest, block: Mapping[str, Any]) -> Worker:
    """Of several nodes the first registers the worker, the others are ``--headless``.

    A worker of a disaggregated case hands over KV caches as one of engine ``vllm`` does: by NIXL, unless its block has
    a ``kv_transfer_config``.
    """
    spec, kv = request.spec, transfer(request)
    env = dict(kv.env)
    argv = ["--model", _path(request), "--served-model-name", spec.model, *MODES[spec.kind]]
    argv += [*_size("--tensor-parallel-size", spec.tp), *_size("--pipeline-parallel-size", spec.pp)]
    nodes, _ = among_nodes(request)
    argv += nodes
    if nodes:
        env["VLLM_HOST_IP"] = request.host
    if kv.config:
        argv += [f"--{OPTION.replace('_', '-')}", as_json(kv.config)]
    return Worker((*argv, *SERVE.words(without(block, (*SIZES, OPTION)))), env, facts=kv.facts)


def _vllm_problems(case: Case, spec: ServerSpec, where: str) -> Iterator[Problem]:
    """As of engine ``vllm``, but that the nodes of a server are told of no replicas."""
    yield from size_problems(case, spec, where)
    yield from transfer_problems(case, spec, where)
    replicas = spec.engine_config.get(DATA_PARALLEL) or 1
    if replicas != 1 and spec.world_size > case.gpus_per_node:
        expected = (
            f"1, or servers of one node ({case.gpus_per_node} GPUs): nodes are told of {TENSOR} and {PIPELINE} only"
        )
        yield problem(case, f"{where}.{DATA_PARALLEL}", str(replicas), expected)


BACKENDS: Mapping[str, Backend] = {
    "mocker": Backend(_mocker, {**_OWNED, **refuse((_NO_MEETING, "bootstrap_ports"))}, SIZES),
    "sglang": Backend(
        _sglang,
        {
            **_OWNED,
            **_NODES,
            **refuse(
                (_RUN, "disaggregation_bootstrap_port nccl_port disagg_config disagg_config_key"),
                (_SIZE, "tp tp_size pp pp_size"),
            ),
        },
        (TENSOR, PIPELINE),
        every_node=True,
    ),
    "trtllm": Backend(
        _trtllm,
        {**_OWNED, **refuse(("the engine's keys themselves, in this block", "extra_engine_args"))},
        SIZES,
        launcher=("trtllm-llmapi-launch",),
    ),
    "vllm": Backend(
        _vllm,
        {**_OWNED, **_NODES, **refuse((_SIZE, "tp pp"), (OPTION, "connector"))},
        (TENSOR, PIPELINE),
        _vllm_problems,
        every_node=True,
    ),
}


def backend_of(case: Case, spec: ServerSpec) -> Backend:
    """What serves ``spec``.

    Raises:
        ConfigError: its block names no backend that there is.
    """
    name = spec.engine_config.get(BACKEND)
    if isinstance(name, str) and name in BACKENDS:
        return BACKENDS[name]
    found, hint = ("nothing", "") if name is None else (repr(name), did_you_mean(str(name), BACKENDS))
    raise ConfigError([problem(case, f"{block_of(case, spec)}.{BACKEND}", found, one_of(BACKENDS), hint)])


def build_worker(request: ServerRequest) -> Worker:
    """What Dynamo's module is started with. The block has been looked at by :func:`block_problems`."""
    return backend_of(request.case, request.spec).build(request, _own(request.spec))


def block_problems(case: Case, spec: ServerSpec) -> Iterator[Problem]:
    """What is wrong with a server's block.

    Raises:
        ConfigError: see :func:`backend_of`.
    """
    backend, at = backend_of(case, spec), block_of(case, spec)
    block = _own(spec)
    flags = block if backend.build is not _trtllm else {key: block[key] for key in block if key in backend.owned}
    yield from key_problems(case, at, flags, backend.owned)
    for key in SIZES:
        if key not in backend.sizes and int(block.get(key) or 1) > 1:
            expected = f"{', '.join(backend.sizes)}: dynamo.{spec.engine_config[BACKEND]} has no other size"
            yield problem(case, f"{at}.{key}", str(block[key]), expected)
    yield from backend.problems(case, spec, at)


def _own(spec: ServerSpec) -> dict[str, Any]:
    return {key: value for key, value in unshared(dict(spec.engine_config)).items() if key not in OF_THE_HARNESS}


def _size(option: str, count: int) -> tuple[str, ...]:
    return (option, str(count)) if count > 1 else ()


def _path(request: ServerRequest) -> str:
    return model_path(request.case, request.spec.model, request.site)
