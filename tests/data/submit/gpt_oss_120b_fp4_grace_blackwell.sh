#!/bin/bash
#SBATCH --nodes=2
set -Eeuo pipefail
export jobWorkspace="/ws"
export pytestCommand="LLM_ROOT=/src __LUNOWUD="-thread_pool_size=12" /src/tensorrt_llm/llmapi/trtllm-llmapi-launch pytest -vv --output-dir=$jobWorkspace/ --csv=$jobWorkspace/report.csv --periodic-junit --periodic-junit-xmlpath $jobWorkspace/results.xml --test-list=$jobWorkspace/list.txt"
export partialPytestCommand="LLM_ROOT=/src __LUNOWUD=-thread_pool_size=12 /src/tensorrt_llm/llmapi/trtllm-llmapi-launch pytest -vv --output-dir=$jobWorkspace/ --csv=$jobWorkspace/report.csv --periodic-junit --periodic-junit-xmlpath $jobWorkspace/results.xml --test-list=$jobWorkspace/list.txt"
export pytestCommand="$partialPytestCommand"
export runScript="/ws/slurm_run"
export installScript="/ws/slurm_install"
export configYamlPath="/cases/gpt_oss_120b_fp4_grace_blackwell.yaml"
export gpusPerNode="4"
export gpusPerNodePerServer="1"
export nodesPerServer="1"
export totalNodes="1"
export world_size="1"
export testOutputDir="$jobWorkspace/aggr-gpt_oss_120b_fp4_grace_blackwell-gpt_oss_fp4_tp1_mtp0_8k1k"
srunArgs=(
  "--container-name=job-${SLURM_JOB_ID}"
  "--container-image=/images/i.sqsh"
  "--container-mounts=/a b:/a b"
  "--mpi=pmix"
  "--container-env=pytestCommand"
)
