"""Case files of real size and shape, made up: what benchmarks/collect.py lets pytest collect.

Disaggregated files in the TensorRT-LLM form offer 8 test ids each, aggregated ones of 4 to 8 servers 2 for each server
and 2 for the file, files of our own (``cases:``) 1 or 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

MODELS = ("deepseek-r1-fp4", "gpt-oss-120b-fp4", "k2-thinking-fp4", "llama-405b-fp8")
GPUS = ("b200", "gb200", "gb300")
TRANSCEIVERS = ("NIXL", "UCX")
SHAPES = (("1k1k", 1024, 1024), ("8k1k", 8192, 1024), ("1k8k", 1024, 8192))
MIXES: Mapping[str, Sequence[str]] = {
    "mixed": ("disagg",) * 12 + ("aggr",) * 4 + ("own_disagg",) * 3 + ("own_aggr",),
    "tensorrt-llm": ("disagg",) * 3 + ("aggr",),
    "own": ("own_disagg",) * 3 + ("own_aggr",),
}
"""Which kinds take turns. ``own`` has the fewest ids for each file to open, so there a plugin has the least to win."""

_WORKER = """\
  {kind}:
    print_iter_log: true
    max_batch_size: {batch}
    max_num_tokens: {tokens}
    max_seq_len: {seq_len}
    tensor_parallel_size: {tp}
    moe_expert_parallel_size: {tp}
    pipeline_parallel_size: 1
    context_parallel_size: 1
    enable_attention_dp: true
    enable_lm_head_tp_in_adp: false
    attention_dp_config:
      enable_balance: true
      batching_wait_iters: 10
      timeout_iters: 50
    cuda_graph_config: {graphs}
    kv_cache_config:
      enable_block_reuse: false
      free_gpu_memory_fraction: 0.7
      dtype: fp8
      tokens_per_block: 64
    moe_config:
      backend: CUTEDSL
      use_low_precision_moe_combine: true
      load_balancer:
        num_slots: 288
        layer_updates_per_iter: 0
    cache_transceiver_config:
      backend: {transceiver}
      max_tokens_in_buffer: {tokens}
      kv_transfer_timeout_ms: 120000
    speculative_config: {draft}
    disable_overlap_scheduler: false
    num_postprocess_workers: 4
    stream_interval: 20
"""

_DISAGG = """\
# Decoding across {nodes} nodes; the batch of a GEN server is the concurrency divided by
# its attention-DP ranks, so the two numbers below change together.
{own}metadata:
  model_name: {model}
  precision: fp4
  model_dir_name: {model}
  supported_gpus: [{gpu}]
  benchmark_type: {shape}
slurm:
  script_file: launch.slurm
  partition: <partition>
  account: <account>
  job_time: 02:00:00
  job_name: perf-{index}
  extra_args: "--gres=gpu:4"
  numa_bind: true
benchmark:
  mode: e2e
  use_nv_sa_benchmark: false
  multi_round: 8
  benchmark_ratio: 0.8
  streaming: true
  concurrency_list: '{concurrency}'
  input_length: {isl}
  output_length: {osl}
  dataset_file: <dataset_file>
hardware:
  gpus_per_node: 4
  num_ctx_servers: {ctx}
  num_gen_servers: {gen}
environment:
  container_mount: <container_mount>
  container_image: <container_image>
  model_path: <model_path>
  trtllm_repo: ''
  build_wheel: false
  work_dir: <work_dir>
  worker_env_var: LOG_LEVEL=INFO DISABLE_GC=1 ENABLE_PDL=1 "PYTHONWARNINGS=ignore::DeprecationWarning:some.module"
  server_env_var: DISABLE_GC=1
profiling:
  nsys_on: false
worker_config:
"""

_AGGR_HEAD = """\
# One server after the other on the same node.
{own}metadata:
  model_name: {model}
  supported_gpus:
  - {gpu}
hardware:
  gpus_per_node: 8
server_configs:
"""

_SERVER = """\
  # Attention DP pays off from concurrency {concurrency} on.
  - name: "{name}"
    model_name: "{model}"
    tensor_parallel_size: {tp}
    moe_expert_parallel_size: {tp}
    pipeline_parallel_size: 1
    max_batch_size: {batch}
    max_num_tokens: 16384
    attn_backend: "TRTLLM"
    enable_attention_dp: true
    attention_dp_config:
      enable_balance: true
    moe_config:
      backend: 'CUTLASS'
    cuda_graph_config:
      enable_padding: true
      max_batch_size: {batch}
    kv_cache_config:
      dtype: 'fp8'
      enable_block_reuse: false
      free_gpu_memory_fraction: 0.8
    num_postprocess_workers: 4
    stream_interval: 10
    client_configs:
      - name: "con{concurrency}_iter10_{shape}"
        concurrency: {concurrency}
        iterations: 10
        isl: {isl}
        osl: {osl}
        backend: "openai"
        dataset_file: <dataset_file>

"""


def write_config_files(directory: Path, count: int, mix: str) -> int:
    """Write ``count`` files below ``directory``, in two folders as in a TensorRT-LLM checkout; returns their bytes."""
    kinds = MIXES[mix]
    size = 0
    for folder in ("aggregated", "disaggregated"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        name, text = config_file(kinds[index % len(kinds)], index)
        size += (directory / name).write_bytes(text.encode())
    return size


def config_file(kind: str, index: int) -> tuple[str, str]:
    """Path below the config directory and text of file number ``index``; the same ones every time."""
    own = kind.startswith("own")
    return _aggregated(index, own) if kind.endswith("aggr") else _disaggregated(index, own)


def _disaggregated(index: int, own: bool) -> tuple[str, str]:
    model, gpu = MODELS[index % 4], GPUS[index % 3]
    shape, isl, osl = SHAPES[index % 3]
    transceiver = TRANSCEIVERS[index % 2]
    concurrency, ctx, gen, tp = 2 ** (3 + index % 9), 1 + index % 4, 1 + index % 2, 2 ** (1 + index % 4)
    text = _DISAGG.format(
        nodes=ctx + gen * tp // 4,
        own=f"engine: sim\ncases: [disagg-e2e{', disagg-gen_only' if index % 2 else ''}]\n" if own else "",
        model=model.replace("-", "_"),
        gpu=gpu.upper(),
        shape=shape,
        index=index,
        concurrency=concurrency,
        isl=isl,
        osl=osl,
        ctx=ctx,
        gen=gen,
    )
    graphs = "{enable_padding: true, batch_sizes: [1, 2, 4, 8, 16, 32, 64, 128]}"
    common = {"tokens": 8448, "seq_len": isl + osl + 64, "transceiver": transceiver}
    text += _WORKER.format(
        kind="gen", batch=concurrency, tp=tp, graphs=graphs, draft="&draft\n      decoding_type: MTP", **common
    )
    text += _WORKER.format(kind="ctx", batch=2, tp=4, graphs="null", draft="*draft", **common)
    stem = f"{gpu}_{model}_{shape}_con{concurrency}_ctx{ctx}_dep4_gen{gen}_dep{tp}_eplb0_mtp1_ccb-{transceiver}"
    return f"disaggregated/{stem}-{index:05d}.yaml", text


def _aggregated(index: int, own: bool) -> tuple[str, str]:
    model, gpu = MODELS[index % 4].replace("-", "_"), GPUS[index % 3]
    text = _AGGR_HEAD.format(own="engine: sim\ncases: [aggr]\n" if own else "", model=model, gpu=gpu.upper())
    for server in range(1 if own else 4 + index % 5):
        shape, isl, osl = SHAPES[server % 3]
        concurrency, tp = 2 ** (2 + server), 2 ** (server % 4)
        text += _SERVER.format(
            name=f"{model}_tp{tp}_{shape}_{server}",
            model=model,
            concurrency=concurrency,
            tp=tp,
            batch=concurrency,
            shape=shape,
            isl=isl,
            osl=osl,
        )
    return f"aggregated/{model}_{gpu}_{index:05d}.yaml", text
