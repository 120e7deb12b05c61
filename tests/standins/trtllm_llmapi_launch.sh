#!/bin/bash
# Stand-in for TensorRT-LLM's trtllm-llmapi-launch: every rank of a step runs it around the same command. Rank 0 starts
# the command without Slurm's and MPI's variables and tells the others when it has ended; they do nothing but wait.
set -u
rank=${SLURM_PROCID:-${PMIX_RANK:-0}}
world=${SLURM_NTASKS:-1}
stop=${DISAGG_RUN_DIR:?the ranks of the stand-in meet there}/.stand-in.${DISAGG_SERVING_TYPE:?}.${SLURM_STEP_ID:-0}.stop
say() { echo "[stand-in trtllm-llmapi-launch] rank $rank of $world on ${SLURMD_NODENAME:-?}: $*"; }

if [ "$rank" != 0 ]; then
    say "mgmn_worker_node of a stand-in: waits for rank 0"
    while [ ! -e "$stop" ]; do sleep 0.1; done
    say "rank 0 has ended"
    exit 0
fi

say "mgmn_leader_node of a stand-in: starts $1"
export TLLM_SPAWN_PROXY_PROCESS=1 tllm_mpi_size=$world
(
    for prefix in OMPI_ PMIX_ PMI_ SLURM_ MPI_ UCX_; do
        for name in $(compgen -v "$prefix"); do unset "$name"; done
    done
    exec "$@"
)
code=$?
: >"$stop"
say "the command ended: exit code $code"
exit "$code"
