#!/bin/bash
#SBATCH --nodes=2
set -Eeuo pipefail
export jobWorkspace="/ws"
export pytestCommand="LLM_ROOT=/src __LUNOWUD="-thread_pool_size=12" /src/tensorrt_llm/llmapi/trtllm-llmapi-launch pytest -vv --output-dir=$jobWorkspace/ --csv=$jobWorkspace/report.csv --periodic-junit --periodic-junit-xmlpath $jobWorkspace/results.xml --test-list=$jobWorkspace/list.txt"
export partialPytestCommand="LLM_ROOT=/src __LUNOWUD=-thread_pool_size=12 /src/tensorrt_llm/llmapi/trtllm-llmapi-launch pytest -vv --output-dir=$jobWorkspace/ --csv=$jobWorkspace/report.csv --periodic-junit --periodic-junit-xmlpath $jobWorkspace/results.xml --test-list=$jobWorkspace/list.txt"
export pytestCommand="unset UCX_CUDA_IPC_ENABLE_MNNVL UCX_TLS UCX_TCP_AF_PRIO UCX_IB_GID_INDEX UCX_IB_TRAFFIC_CLASS UCX_IB_SL UCX_IB_MLX5_DEVX && TRTLLM_PRESERVE_UCX_ENV=1 UCX_NET_DEVICES=mlx5_0:1,mlx5_1:1,mlx5_3:1,mlx5_4:1,eth0 $partialPytestCommand"
export runScript="/ws/slurm_run"
export installScript="/ws/slurm_install"
export configYamlPath="/cases/k25_thinking_fp4_blackwell.yaml"
export gpusPerNode="8"
export gpusPerNodePerServer="8"
export nodesPerServer="1"
export totalNodes="1"
export world_size="8"
export testOutputDir="$jobWorkspace/aggr-k25_thinking_fp4_blackwell-k25_thinking_fp4_dep8_32k8k"
srunArgs=(
  "--container-name=job-${SLURM_JOB_ID}"
  "--container-image=/images/i.sqsh"
  "--container-mounts=/a b:/a b"
  "--mpi=pmix"
  "--container-env=pytestCommand"
)
