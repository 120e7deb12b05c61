
# One process plays all roles. Its step installs first: slurm_run does so where no role is set.
stage=run
results_role=aggregated
unset DISAGG_SERVING_TYPE
slice 0 "$totalNodes" "$world_size" "$gpusPerNodePerServer"
start aggregated "$testOutputDir/benchmark.log" "$runScript" "${worker_args[@]}" "${where[@]}"
supervise
[ -n "$first_failed" ] || stage=ended
