
# server KIND INDEX COMMAND: the step of a server, on the nodes of the slice.
server() {
    export DISAGG_SERVING_TYPE=$1_$2 pytestCommand=$3
    start "$DISAGG_SERVING_TYPE" "$testOutputDir/${1,,}_server_$2.log" "$runScript" "${worker_args[@]}" "${where[@]}"
}

# beside NAME LOG COMMAND: one task beside the first server.
beside() {
    export DISAGG_SERVING_TYPE=$1 pytestCommand=$3
    start "$1" "$2" "$runScript" "${plain_args[@]}" --overlap --nodes=1 --nodelist="$(hosts 0)" --ntasks=1 \
        --ntasks-per-node=1
}

stage=install
start install "$jobWorkspace/install.log" "$installScript" "${plain_args[@]}" --nodes="${#nodes[@]}" \
    --ntasks="${#nodes[@]}" --ntasks-per-node=1
supervise
[ "${code_of[install]}" = 0 ] || exit "${code_of[install]}"
first_ended="" closing="" force=TERM

stage=run
results_role=BENCHMARK
at=0
for ((index = 0; index < numGenServers; index++)); do
    slice "$at" "$nodesPerGenServer" "$gpusPerGenServer" "$gpusPerNodePerGenServer"
    server GEN "$index" "$pytestCommandGENWorker"
    at=$((at + nodesPerGenServer))
done
for ((index = 0; index < numCtxServers; index++)); do
    slice "$at" "$nodesPerCtxServer" "$gpusPerCtxServer" "$gpusPerNodePerCtxServer"
    server CTX "$index" "$pytestCommandCTXWorker"
    at=$((at + nodesPerCtxServer))
done
beside DISAGG_SERVER "$testOutputDir/disagg_server.log" "$pytestCommandDisaggServer"
beside BENCHMARK "$testOutputDir/benchmark.log" "$pytestCommandBenchmark"
supervise
[ -n "$first_failed" ] || stage=ended
