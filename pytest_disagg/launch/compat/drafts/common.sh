# The launch draft of pytest-disagg. It needs Slurm, bash and the exports above; of pytest-disagg nothing on any node.
# Install everywhere, then every role at once, each a step on nodes of its own; when one fails, all end; the job's exit
# code is the first failure of any step.
set +x # what follows is no news, and tracing would print the environment
set -Eeuo pipefail
set -m # each step is a process group, so that its srun can be reached even when slurmctld cannot

stop_s=${DISAGG_STOP_S:-120}  # how long the others may go on once the results are there
alone_s=600                   # how long once a server has ended by itself before that
failed_s=$((stop_s < 10 ? stop_s : 10)) # how long once a step has failed
grace_s=$((${DISAGG_STOP_GRACE_S:-10} + 5)) # between TERM and KILL; slurm_run takes the former for its command
dump_lines=100
dump_files=16

declare -A pid_of=() code_of=() log_of=() stopped=()
started=()
nodes=()
where=()
worker_args=() # srunArgs of servers, which are MPI ranks
earlier_exit=()
plain_args=()  # the same without MPI: in coordinator and benchmark it makes libraries call MPI_Init, which fails
token=$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.$$
results_role=none first_ended="" first_failed="" closing="" force=TERM ticker="" stage=launch

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

# Lines of a log without what must not be read there.
redacted() {
    sed -E \
        -e 's/([A-Za-z0-9_]*(TOKEN|SECRET|PASSWORD|PASSWD|PSW|CREDENTIALS?|API_?KEY|ACCESS_?KEY|SECRET_?KEY|[Tt]oken|[Pp]assword|[Ss]ecret)["'\'']?[[:space:]]*[=:][[:space:]]*)[^[:space:],;]+/\1***/g' \
        -e 's/([Bb]earer[[:space:]]+)[A-Za-z0-9._~+\/=-]{6,}/\1***/g' \
        -e 's#(://)[^/@[:space:]]+@#\1***@#g' \
        -e 's/(hf_|ghp_|glpat-|nvapi-|sk-)[A-Za-z0-9_-]{16,}/\1***/g'
}

# The last lines of what the roles wrote, the first failure first: their logs may be gone when the job is looked at.
dump_logs() {
    local name count=0
    local -A done_with=()
    for name in ${first_failed:+"$first_failed"} ${started[@]+"${started[@]}"}; do
        if [ -n "${done_with[$name]:-}" ] || [ ! -s "${log_of[$name]}" ] || [ "$count" -ge "$dump_files" ]; then continue; fi
        done_with[$name]=yes
        count=$((count + 1))
        printf '===== %s: last %s lines of %s\n' "$name" "$dump_lines" "${log_of[$name]}"
        tail -n "$dump_lines" -- "${log_of[$name]}" | cut -c1-2000 | redacted || true
    done
}

# hosts POSITION...: the nodes there in the allocation, comma-separated.
hosts() {
    local position list=""
    for position in "$@"; do list+=,${nodes[position]}; done
    printf '%s' "${list#,}"
}

# start NAME LOG PROGRAM SRUN-OPTION...: a step in the background; its exit code goes to a file.
start() {
    local name=$1 log=$2 program=$3
    shift 3
    started+=("$name")
    log_of[$name]=$log
    rm -f -- "${log%.log}.done"
    (
        trap - ERR EXIT
        trap '' TERM # the code has to be written; srun minds TERM by itself
        set +eE +m
        start_srun() {
            if [ "$name" = "$results_role" ]; then
                srun "$@" --job-name="$token/$name" "$program" </dev/null 2>&1 | tee -- "$log"
                return "${PIPESTATUS[0]}"
            fi
            srun "$@" --job-name="$token/$name" "$program" </dev/null >"$log" 2>&1
        }
        start_srun "$@"
        code=$?
        # Steps that enter one named container at the same moment can miss each other's namespaces; then nothing ran.
        if [ "$code" != 0 ] && grep -Eqs 'pyxis: .*namespace' "$log" && ! grep -Eqv '^(pyxis|slurmstepd|srun):' "$log"; then
            say "step $name: its container did not start (exit code $code): once more"
            start_srun "$@"
            code=$?
        fi
        # srun says 143 where it ended the other tasks because of one: that one's code is meant.
        if [ "$code" -gt 128 ]; then
            cause=$(sed -nE 's/^srun: error: .*: tasks? .*: Exited with exit code ([0-9]+)$/\1/p' "$log" | head -n 1)
            code=${cause:-$code}
        fi
        echo "$code" >"$state/$name.tmp"
        # The test reads a GEN server's log once this is there: whoever wrote the log has ended.
        [[ $name != GEN_* ]] || cp -- "$state/$name.tmp" "${log%.log}.done"
        mv -- "$state/$name.tmp" "$state/$name.code"
    ) &
    pid_of[$name]=$!
}

# slice FIRST-NODE NODES TASKS TASKS-PER-NODE: sets where, the srun arguments of a server on nodes of its own.
slice() {
    local first=$1 count=$2 tasks=$3 per_node=$4 i list=() distribution=(--ntasks-per-node="$4")
    if [ "$tasks" -eq $((count * per_node)) ]; then
        for ((i = 0; i < count; i++)); do list+=("$((first + i))"); done
    else
        # One host for each task, in rank order: full nodes first.
        distribution=(--distribution=arbitrary)
        for ((i = 0; i < tasks; i++)); do list+=("$((first + i / per_node))"); done
    fi
    where=(--nodes="$count" --nodelist="$(hosts "${list[@]}")" --ntasks="$tasks" "${distribution[@]}")
}

# TERM to every task of this launch. srun would turn a TERM of its own into KILL, so Slurm is asked to send it.
signal_steps() {
    local ids name
    for name in "${started[@]}"; do [ -n "${code_of[$name]:-}" ] || stopped[$name]=yes; done
    ids=$(squeue --steps --noheader --jobs="$SLURM_JOB_ID" --format='%i %j' 2>/dev/null |
        awk -v prefix="$token/" 'index($0, " " prefix) {print $1}') || ids=""
    # Refused where Slurm itself is ending the job: then they have been signalled.
    # shellcheck disable=SC2086 # one word for each step
    [ -z "$ids" ] || scancel --quiet --signal=TERM $ids 2>/dev/null || true
}

# KILL to every task that is left, through srun, which needs no slurmctld for it.
kill_steps() {
    local name
    for name in ${started[@]+"${started[@]}"}; do
        [ -n "${code_of[$name]:-}" ] || kill -TERM -- "-${pid_of[$name]}" 2>/dev/null || true
    done
}

# Take note of the steps that have ended since the last look; sets running to how many have not.
look() {
    local name code
    running=0
    for name in ${started[@]+"${started[@]}"}; do
        [ -z "${code_of[$name]:-}" ] || continue
        if [ -e "$state/$name.code" ]; then
            code=$(<"$state/$name.code")
        elif ! kill -0 "${pid_of[$name]}" 2>/dev/null && [ ! -e "$state/$name.code" ]; then
            code=137 # its subshell was killed
        else
            running=$((running + 1))
            continue
        fi
        # A server that was stopped after the results were there has not failed.
        if [ "$code" = 143 ] && [ -n "${stopped[$name]:-}" ] && [ "${code_of[$results_role]:-}" = 0 ]; then code=0; fi
        code_of[$name]=$code
        say "step $name ended: exit code $code"
        first_ended=${first_ended:-$name}
        [ "$code" = 0 ] || first_failed=${first_failed:-$name}
    done
}

# How long the steps that still run may go on, once another has ended.
set_limit() {
    local limit_s=$alone_s
    if [ -n "$first_failed" ]; then limit_s=$failed_s; elif [ -n "${code_of[$results_role]:-}" ]; then limit_s=$stop_s; fi
    if [ -z "$closing" ] || [ "$closing" -gt $((SECONDS + limit_s)) ]; then closing=$((SECONDS + limit_s)); fi
}

# Wait until every started step has ended.
supervise() {
    local running seen=""
    while look && [ "$running" -gt 0 ]; do
        if [ -n "$first_ended" ] && [ "$force" = TERM ] && [ "$seen" != "$first_failed ${code_of[$results_role]:-}" ]; then
            seen="$first_failed ${code_of[$results_role]:-}"
            set_limit
        fi
        if [ -n "$closing" ] && [ "$SECONDS" -ge "$closing" ]; then
            say "$running steps are still running: $force"
            case $force in
                TERM) signal_steps && force=KILL ;;
                KILL) kill_steps && force=none ;;
                *) break ;;
            esac
            closing=$((SECONDS + grace_s))
        fi
        # Woken by the end of any step; the ticker bounds the wait, so that the limits above are looked at.
        { [ -n "$ticker" ] && kill -0 "$ticker" 2>/dev/null; } || { sleep 1 & ticker=$!; }
        wait -n || true
    done
}

on_term() {
    say "got SIGTERM in stage $stage: stopping every step"
    signaled=yes
    signal_steps
    force=KILL
    closing=$((SECONDS + grace_s))
}

# However this script ends: nothing is left running, failures show their logs, the first failure is the exit code.
finish() {
    local code=$? name running
    trap '' TERM
    trap - EXIT ERR
    set +e
    look
    [ "$running" -eq 0 ] || kill_steps
    for name in ${started[@]+"${started[@]}"}; do
        [ -n "${code_of[$name]:-}" ] || { code_of[$name]=137 && first_failed=${first_failed:-$name}; }
    done
    [ -z "$first_failed" ] || code=${code_of[$first_failed]}
    [ "$signaled" = no ] || [ "$code" != 0 ] || [ "$stage" = ended ] || code=143
    if [ "$code" != 0 ]; then
        dump_logs
        say "failed in stage $stage: ${first_failed:-this script}, exit code $code"
    else
        say "passed: every step ended with exit code 0"
    fi
    [ -z "$ticker" ] || { kill "$ticker" && wait "$ticker"; } 2>/dev/null
    rm -rf -- "$state"
    # What the text before this draft wanted done at the end: the third word of what trap said.
    if [ "${#earlier_exit[@]}" -gt 2 ]; then (exit "$code") || true; eval "${earlier_exit[2]}"; fi
    exit "$code"
}

signaled=no
state=$(mktemp -d "/tmp/disagg-launch-$SLURM_JOB_ID-XXXXXX")
eval "earlier_exit=($(trap -p EXIT))" # bash prints it so that it can be read again
trap on_term TERM
trap finish EXIT
trap 'say "line $LINENO: $BASH_COMMAND: exit code $?" >&2' ERR

for name in jobWorkspace testOutputDir runScript installScript; do
    [ -n "${!name:-}" ] || { say "$name is not set: the script prefix exports it, or disagg submit does" >&2 && exit 2; }
done
mkdir -p -- "$jobWorkspace" "$testOutputDir"
chmod +x -- "$runScript" "$installScript" 2>/dev/null || true
mpi=(--mpi=pmix)
for ((i = 0; i < ${#srunArgs[@]}; i++)); do
    case ${srunArgs[i]} in
        --mpi=*) mpi=("${srunArgs[i]}") ;;
        --mpi) mpi=("${srunArgs[i]}" "${srunArgs[i + 1]:-}") && i=$((i + 1)) ;;
        *) plain_args+=("${srunArgs[i]}") ;;
    esac
done
plain_args+=(--wait=0 --kill-on-bad-exit=1)
worker_args=("${plain_args[@]}" "${mpi[@]}")
# What the batch step was given must not shape the steps: each says what it needs.
unset SLURM_NTASKS SLURM_NPROCS SLURM_NTASKS_PER_NODE SLURM_DISTRIBUTION SLURM_MPI_TYPE SLURM_CPUS_PER_TASK
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
if [ "${#nodes[@]}" -lt "$totalNodes" ]; then
    say "the allocation has ${#nodes[@]} nodes (${nodes[*]}), the case needs $totalNodes" >&2
    exit 8
fi
